"""The words in which an alert's story is told: series, what happens, what must fire and when.

Notation of values is promtool's: ``0x40`` is 41 samples of 0, one every 15 seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from runguard_otel.telemetry.catalogue import ATTRIBUTES, prometheus_label, prometheus_name

__all__ = [
    "ONE_AT_10",
    "OWNER",
    "RECONNECT",
    "TRIP",
    "Case",
    "Silence",
    "calls",
    "event",
    "heartbeat",
    "series",
    "up",
]

OWNER = {"cluster": "eu", "service_name": "front-desk"}
INSTANCE = {"instance": "10.0.0.1:9464", "job": "agents"}


def series(
    metric: str, suffix: str = "", owner: Mapping[str, str] = OWNER, /, **labels: str
) -> str:
    """A series of the catalogue with the labels that a scrape adds.

    Raises:
        KeyError: If a label is not of the catalogue.
    """
    found = {**owner, **INSTANCE}
    for name, value in labels.items():
        if name in ("instance", "job", "le"):
            found[name] = value
            continue
        closed = ATTRIBUTES[name].values
        if closed and value not in closed:
            raise KeyError(f"{name} has no value {value!r}")
        found[prometheus_label(name)] = value
    inside = ", ".join(f'{k}="{v}"' for k, v in found.items())
    return f"{prometheus_name(metric)}{suffix}{{{inside}}}"


def heartbeat(**labels: str) -> str:
    """The heartbeat's series."""
    return series("runguard.worker.heartbeat", **labels)


def up(**labels: str) -> str:
    """Prometheus' own series about a scrape of it."""
    return (
        f'up{{job="{INSTANCE["job"]}", instance="{labels.get("instance", INSTANCE["instance"])}"}}'
    )


def calls(an_hour: int, minutes: float, agent: str = "reservations") -> dict[str, str]:
    """So many calls an hour, of three minutes each."""
    return {
        series("runguard.jobs", agent=agent): f"{max(1, an_hour // 20)}x{round(minutes * 4)}",
        series("runguard.jobs.ended", agent=agent, job_outcome="clean"): (
            f"0+{an_hour / 240:g}x{round(minutes * 4)}"
        ),
    }


@dataclass(frozen=True)
class Case:
    """One alert: silent, firing, quiet again.

    Args:
        alert: Its name.
        story: What happens, in words.
        input: Series and their values.
        silent: Minutes at which it must be silent.
        firing: Minutes at which it must fire.
        quiet: Minutes at which it must be silent again.
        labels: Short names and values of the labels it fires with, besides the owner's.
        value: How its value reads in the description.
        values: By minute, where it changes.
        owners: The owners it fires for.
    """

    alert: str
    story: str
    input: Mapping[str, str]
    silent: tuple[float, ...]
    firing: tuple[float, ...]
    quiet: tuple[float, ...]
    labels: Mapping[str, str] = field(default_factory=dict)
    value: str = "1"
    values: Mapping[float, str] = field(default_factory=dict)
    owners: tuple[Mapping[str, str], ...] = (OWNER,)


@dataclass(frozen=True)
class Silence:
    """Something healthy, or none of our business: no alert fires at these minutes."""

    story: str
    input: Mapping[str, str]
    minutes: tuple[float, ...]


RECONNECT = {
    "agent": "reservations", "guard": "room_reconnect", "signature": "room_reconnect",
    "mode": "enforce",
}  # fmt: skip
TRIP = {**RECONNECT, "action": "refuse_connect"}
ONE_AT_10 = "0x40 1x240"  # nothing for ten minutes, then one event


def event(alert: str, metric: str, fires: Mapping[str, str], also: Mapping[str, str]) -> Case:
    """An event alert: fires at once, is kept for half an hour after its window, then is quiet."""
    return Case(
        alert,
        "one event after ten quiet minutes",
        {series(metric, **fires, **also): ONE_AT_10},
        silent=(5, 10),
        firing=(11, 15, 24, 44),
        quiet=(46,),
        labels=fires,
    )
