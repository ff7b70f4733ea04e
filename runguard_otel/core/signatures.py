"""The closed list of signatures: what happened, as ``class`` or ``class:kind``.

Metrics carry these words as label values, so the list is closed: a new signature is an addition to
the public interface (dashboards and alert rules in the field depend on it).
"""

from __future__ import annotations

from enum import Enum
from typing import Final

__all__ = [
    "CLAIM_SIGNATURES",
    "DISPATCHED_TWICE",
    "DUPLICATE",
    "MISFIRE_SIGNATURES",
    "OVERRUN_SIGNATURES",
    "ROOM_RECONNECT",
    "ROOM_REDIAL",
    "SEEN_FROM_OUTSIDE",
    "SERVER_SIGNATURES",
    "SIGNATURES",
    "TRACK_SUBSCRIBE",
    "UNANSWERED",
    "GuardName",
    "guard_of",
]


class GuardName(str, Enum):
    """The guards. The value is the class part of the guard's signatures, except for claims."""

    ROOM_RECONNECT = "room_reconnect"
    VAD_MISFIRE = "vad_misfire"
    JOB_DISPATCH = "job_dispatch"
    TRACK_SUBSCRIBE = "track_subscribe"
    SESSION_OVERRUN = "session_overrun"

    def __str__(self) -> str:
        return self.value


ROOM_RECONNECT: Final = "room_reconnect"
ROOM_REDIAL: Final = "room_reconnect:redial"
TRACK_SUBSCRIBE: Final = "track_subscribe"
MISFIRE_SIGNATURES: Final = (
    "vad_misfire:empty_transcript",
    "vad_misfire:low_confidence",
    "vad_misfire:echo",
    "vad_misfire:no_transcript",
    "vad_misfire:duplicate_transcript",
    "vad_misfire:repeated_transcript",
)
CLAIM_SIGNATURES: Final = (
    "job_claim:acquired",
    "job_claim:reentered",
    "job_claim:handed_off",
    "job_claim:taken_over",
    "job_claim:passed_on",
    "job_claim:refused",
    "job_claim:unverified",
    "job_claim:ending",
    "job_claim:renewed",
    "job_claim:lost",
    "job_claim:released",
)
OVERRUN_SIGNATURES: Final = (
    "session_overrun:agent_alone",
    "session_overrun:silent_caller",
    "session_overrun:close_hung",
    "session_overrun:stt_reconnect",
    "session_overrun:duration",
)
DUPLICATE: Final = "job_claim:duplicate"
DISPATCHED_TWICE: Final = "job_claim:dispatched_twice"
UNANSWERED: Final = "job_claim:unanswered"
SERVER_SIGNATURES: Final = (DUPLICATE, DISPATCHED_TWICE, UNANSWERED)
"""What only ``runguard-otel watch`` can see: no job knows of the others, or that it never came."""
SIGNATURES: Final = (
    ROOM_RECONNECT,
    ROOM_REDIAL,
    *MISFIRE_SIGNATURES,
    *CLAIM_SIGNATURES,
    TRACK_SUBSCRIBE,
    *OVERRUN_SIGNATURES,
    *SERVER_SIGNATURES,
)

SEEN_FROM_OUTSIDE: Final = (
    ROOM_RECONNECT,
    TRACK_SUBSCRIBE,
    "session_overrun:agent_alone",
    "session_overrun:duration",
    *SERVER_SIGNATURES,
)
"""What ``runguard-otel watch`` can find in a room, by :class:`~.guards.presence.RoomPolicy`."""

_GUARD_OF_CLASS: Final = {
    "room_reconnect": GuardName.ROOM_RECONNECT,
    "vad_misfire": GuardName.VAD_MISFIRE,
    "job_claim": GuardName.JOB_DISPATCH,
    "track_subscribe": GuardName.TRACK_SUBSCRIBE,
    "session_overrun": GuardName.SESSION_OVERRUN,
}


def guard_of(signature: str) -> GuardName:
    """The guard a signature belongs to.

    Args:
        signature: A member of :data:`SIGNATURES`.

    Raises:
        KeyError: If the signature is not one of ours.
    """
    return _GUARD_OF_CLASS[signature.partition(":")[0]]
