"""Which combinations of attributes can happen at all; they are what is exported as 0 at start.

Part of the catalogue: the product of the closed sets would be thousands of series that no event
can ever reach. What is missing here is still counted when it happens, only its first count is
born at 1.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from runguard_otel.core.signatures import (
    MISFIRE_SIGNATURES,
    ROOM_RECONNECT,
    SIGNATURES,
    TRACK_SUBSCRIBE,
    GuardName,
)
from runguard_otel.core.verdict import Mode
from runguard_otel.telemetry.attributes import COMPONENTS

__all__ = ["POSSIBLE", "possible_outcomes"]

Row = Mapping[str, str]


def possible_outcomes(signature: str) -> tuple[str, ...]:
    """The outcomes an event of this signature can have; bounds the number of series."""
    kind = signature.partition(":")[0]
    if signature == "vad_misfire:no_transcript":
        return ("observed",)
    if signature == "job_claim:refused":
        return ("observed", "refused")
    if kind == "job_claim":
        return ("observed", "allowed")
    if kind == "vad_misfire":
        return ("observed", "allowed", "suppressed")
    if kind == "room_reconnect":
        return ("observed", "allowed", "refused")
    return ("observed", "allowed", "reused")


_TRIPS: Final = (  # guard, signature, what enforce does
    (GuardName.ROOM_RECONNECT, ROOM_RECONNECT, ("refuse_connect", "shutdown_job")),
    (GuardName.VAD_MISFIRE, "vad_misfire:empty_transcript", ("suppress", "close_input")),
    (GuardName.VAD_MISFIRE, "vad_misfire:low_confidence", ("suppress", "close_input")),
    (GuardName.VAD_MISFIRE, "vad_misfire:echo", ("mute_while_speaking", "close_input")),
    (GuardName.JOB_DISPATCH, "job_claim:refused", ("refuse_job",)),
    (GuardName.TRACK_SUBSCRIBE, TRACK_SUBSCRIBE, ("reuse_stream",)),
)
assert {s for _, s, _ in _TRIPS} >= set(MISFIRE_SIGNATURES) - {"vad_misfire:no_transcript"}

_COSTS: Final = {  # what a loop of each guard is made of
    GuardName.ROOM_RECONNECT: ("transport", "agent"),
    GuardName.VAD_MISFIRE: ("llm", "tts"),
    GuardName.JOB_DISPATCH: COMPONENTS,
    GuardName.TRACK_SUBSCRIBE: ("stt",),
}


def _trips() -> Iterator[Row]:
    for guard, signature, actions in _TRIPS:
        row = {"guard": str(guard), "signature": signature}
        yield {**row, "mode": str(Mode.OBSERVE), "action": "none"}
        for action in actions:
            yield {**row, "mode": str(Mode.ENFORCE), "action": action}


def _costs() -> Iterator[Row]:
    for guard, components in _COSTS.items():
        for component in components:
            yield {"guard": str(guard), "component": component}


POSSIBLE: Final[Mapping[str, tuple[Row, ...]]] = {
    "runguard.signatures": tuple(
        {"signature": s, "outcome": o} for s in SIGNATURES for o in possible_outcomes(s)
    ),
    "runguard.trips": tuple(_trips()),
    "runguard.cost.wasted": tuple(_costs()),
    "runguard.cost.avoided": tuple(_costs()),
}
"""By metric: the attribute sets that can happen. Metrics not named here: the product."""
