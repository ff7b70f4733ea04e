"""Which combinations of attributes can happen at all; they are what is exported as 0 at start.

Part of the catalogue: the product of the closed sets would be thousands of series that no event
can ever reach. What is missing here is still counted when it happens, only its first count is
born at 1.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from runguard_otel.core.guards.overrun import AGENT_ALONE
from runguard_otel.core.signatures import (
    DUPLICATE,
    MISFIRE_SIGNATURES,
    OVERRUN_SIGNATURES,
    ROOM_RECONNECT,
    ROOM_REDIAL,
    SEEN_FROM_OUTSIDE,
    SERVER_SIGNATURES,
    SIGNATURES,
    TRACK_SUBSCRIBE,
    GuardName,
    guard_of,
)
from runguard_otel.core.verdict import Mode
from runguard_otel.telemetry.catalogue.attributes import COMPONENTS, SERVER

__all__ = ["POSSIBLE", "possible_outcomes"]

Row = Mapping[str, str]


def possible_outcomes(signature: str) -> tuple[str, ...]:
    """The outcomes an event of this signature can have; bounds the number of series."""
    kind = signature.partition(":")[0]
    if signature in ("vad_misfire:no_transcript", "vad_misfire:repeated_transcript"):
        return ("observed",)
    if signature == "job_claim:refused":
        return ("observed", "refused")
    if signature in SERVER_SIGNATURES:
        return ("observed",)
    if kind == "job_claim":
        return ("observed", "allowed")
    if signature == "vad_misfire:duplicate_transcript":
        return ("observed", "suppressed")
    if kind == "vad_misfire":
        return ("observed", "allowed", "suppressed")
    if signature == "session_overrun:stt_reconnect":
        return ("observed", "allowed", "refused")
    if kind == "session_overrun":
        return ("observed", "refused")
    if kind == "room_reconnect":
        return ("observed", "allowed", "refused")
    return ("observed", "allowed", "reused")


_TRIPS: Final = (  # guard, signature, what enforce does
    (GuardName.ROOM_RECONNECT, ROOM_RECONNECT, ("refuse_connect", "shutdown_job")),
    (GuardName.ROOM_RECONNECT, ROOM_REDIAL, ("refuse_connect", "shutdown_job")),
    (GuardName.VAD_MISFIRE, "vad_misfire:empty_transcript", ("suppress", "close_input")),
    (GuardName.VAD_MISFIRE, "vad_misfire:low_confidence", ("suppress", "close_input")),
    (GuardName.VAD_MISFIRE, "vad_misfire:echo", ("mute_while_speaking", "close_input")),
    (GuardName.JOB_DISPATCH, "job_claim:refused", ("refuse_job",)),
    (GuardName.TRACK_SUBSCRIBE, TRACK_SUBSCRIBE, ("reuse_stream",)),
    (GuardName.SESSION_OVERRUN, "session_overrun:agent_alone", ("shutdown_job",)),
    (GuardName.SESSION_OVERRUN, "session_overrun:silent_caller", ("close_session",)),
    (GuardName.SESSION_OVERRUN, "session_overrun:close_hung", ("end_process",)),
    (GuardName.SESSION_OVERRUN, "session_overrun:stt_reconnect", ("fail_stream",)),
    (GuardName.SESSION_OVERRUN, "session_overrun:duration", ("shutdown_job",)),
)
assert {s for _, s, _ in _TRIPS} >= set(OVERRUN_SIGNATURES)
assert {s for _, s, _ in _TRIPS} >= set(MISFIRE_SIGNATURES) - {
    f"vad_misfire:{kind}_transcript" for kind in ("no", "duplicate", "repeated")
}

_ACTS: Final = {DUPLICATE: "remove_agent", AGENT_ALONE: "delete_room"}
"""What ``watch --act`` does, by signature."""

_COSTS: Final = {  # what a loop of each guard is made of
    GuardName.ROOM_RECONNECT: ("transport", "agent"),
    GuardName.VAD_MISFIRE: ("llm", "tts"),
    GuardName.JOB_DISPATCH: COMPONENTS,
    GuardName.TRACK_SUBSCRIBE: ("stt",),
    GuardName.SESSION_OVERRUN: COMPONENTS,
}


def _trips() -> Iterator[Row]:
    for guard, signature, actions in _TRIPS:
        row = {"guard": str(guard), "signature": signature}
        yield {**row, "mode": str(Mode.OBSERVE), "action": "none"}
        for action in actions:
            yield {**row, "mode": str(Mode.ENFORCE), "action": action}


def _server_trips() -> Iterator[Row]:
    for signature in SEEN_FROM_OUTSIDE:
        row = {"guard": str(guard_of(signature)), "signature": signature, "vantage": SERVER}
        yield {**row, "mode": str(Mode.OBSERVE), "action": "none"}
        if signature in _ACTS:
            yield {**row, "mode": str(Mode.ENFORCE), "action": _ACTS[signature]}


def _signatures() -> Iterator[Row]:
    for signature in SIGNATURES:
        if signature not in SERVER_SIGNATURES:
            for outcome in possible_outcomes(signature):
                yield {"signature": signature, "outcome": outcome}
    for signature in SEEN_FROM_OUTSIDE:
        yield {"signature": signature, "outcome": "observed", "vantage": SERVER}


def _costs() -> Iterator[Row]:
    for guard, components in _COSTS.items():
        for component in components:
            yield {"guard": str(guard), "component": component}


POSSIBLE: Final[Mapping[str, tuple[Row, ...]]] = {
    "runguard.signatures": tuple(_signatures()),
    "runguard.trips": (*_trips(), *_server_trips()),
    "runguard.cost.wasted": tuple(_costs()),
    "runguard.cost.avoided": tuple(_costs()),
}
"""By metric: the attribute sets that can happen. Metrics not named here: the product."""
