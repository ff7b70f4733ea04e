"""The same words for every receiver: what it is, whose, and whether something stops it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from runguard_otel.core.signatures import GuardName
from runguard_otel.core.verdict import Mode
from runguard_otel.notify.address import Address
from runguard_otel.notify.incidents import Notice

__all__ = ["Owner", "body", "headers"]

_WHAT: Final = {
    GuardName.ROOM_RECONNECT: "A room is joined again and again",
    GuardName.JOB_DISPATCH: "Rooms are dispatched to more than one job",
    GuardName.VAD_MISFIRE: "Noise or echo is taken for speech",
    GuardName.TRACK_SUBSCRIBE: "A track flaps and every subscription opens an STT stream",
    GuardName.SESSION_OVERRUN: "Calls go on that serve nobody",
}
_LONGEST = 1024  # of a summary, as PagerDuty has it; and 255 of a key


@dataclass(frozen=True)
class Owner:
    """Whose worker it is.

    Args:
        service: ``service.name``.
        cluster: ``k8s.cluster.name``, or empty.
    """

    service: str
    cluster: str = ""

    def __str__(self) -> str:
        return f"service {self.service}" + (f", cluster {self.cluster}" if self.cluster else "")


def headers(address: Address) -> dict[str, str]:
    """What is sent besides the body."""
    found = {"Content-Type": "application/json", "User-Agent": "runguard-otel"}
    if address.kind == "webhook" and address.key:
        found["Authorization"] = f"Bearer {address.key}"
    return found


def body(address: Address, owner: Owner, notice: Notice) -> bytes:
    """One notice as its receiver reads it.

    Args:
        address: Whom it goes to.
        owner: Whose worker it is.
        notice: What to say.
    """
    made = {"pagerduty": _pagerduty, "slack": _slack, "webhook": _webhook}[address.kind]
    return json.dumps(made(address, owner, notice)).encode()


def _summary(owner: Owner, notice: Notice) -> str:
    stopped = (
        "and nothing stops it"
        if notice.mode is Mode.OBSERVE
        else "and the guard stops it each time"
    )
    what = f"{_WHAT[notice.loop.guard]} on agent {notice.loop.agent}, {owner}"
    return (f"{what}, {stopped}." if notice.firing else f"Over: {what}.")[:_LONGEST]


def _key(owner: Owner, notice: Notice) -> str:
    """One incident, whichever worker of the service tells of it."""
    parts = (owner.cluster, owner.service, notice.loop.signature, notice.loop.agent)
    return "/".join(("runguard", *(part[:60] for part in parts)))


def _facts(owner: Owner, notice: Notice) -> dict[str, str]:
    return {
        "signature": notice.loop.signature,
        "guard": str(notice.loop.guard),
        "agent": notice.loop.agent,
        "service": owner.service,
        "cluster": owner.cluster,
        "mode": str(notice.mode),
    }


def _pagerduty(address: Address, owner: Owner, notice: Notice) -> Mapping[str, Any]:
    event: dict[str, Any] = {
        "routing_key": address.key,
        "event_action": "trigger" if notice.firing else "resolve",
        "dedup_key": _key(owner, notice),
    }
    if not notice.firing:
        return event
    facts = {name: text for name, text in _facts(owner, notice).items() if text}
    return {
        **event,
        "client": "runguard",
        "payload": {
            "summary": _summary(owner, notice),
            "severity": notice.severity,
            "source": f"{owner.service} in {owner.cluster}" if owner.cluster else owner.service,
            "component": owner.service,
            "group": owner.cluster or "no cluster",
            "class": notice.loop.signature,
            "custom_details": {**facts, "trips": f"{notice.trips} since it began"},
        },
    }


def _slack(address: Address, owner: Owner, notice: Notice) -> Mapping[str, Any]:
    text = _summary(owner, notice)
    for sign, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):  # no link, no @channel
        text = text.replace(sign, entity)
    mark = {"critical": ":rotating_light: ", "warning": ":warning: "}[notice.severity]
    count = f" {notice.trips} trips in {max(1, round(notice.seconds / 60))} min."
    end = f"{count} Signature {notice.loop.signature}." if notice.firing else count
    return {"text": f"{mark if notice.firing else ':white_check_mark: '}{text}{end}"}


def _webhook(address: Address, owner: Owner, notice: Notice) -> Mapping[str, Any]:
    return {
        "version": 1,
        "status": "firing" if notice.firing else "resolved",
        "key": _key(owner, notice),
        "severity": notice.severity,
        "summary": _summary(owner, notice),
        "trips": notice.trips,
        "seconds": round(notice.seconds),
        **_facts(owner, notice),
    }
