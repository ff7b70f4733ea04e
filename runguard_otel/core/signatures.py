"""The closed list of signatures: what happened, as ``class`` or ``class:kind``.

Metrics carry these words as label values, so the list is closed: a new signature is an addition to
the public interface (dashboards and alert rules in the field depend on it).
"""

from __future__ import annotations

from enum import Enum
from typing import Final

__all__ = [
    "CLAIM_SIGNATURES",
    "MISFIRE_SIGNATURES",
    "ROOM_RECONNECT",
    "SIGNATURES",
    "TRACK_SUBSCRIBE",
    "GuardName",
    "guard_of",
]


class GuardName(str, Enum):
    """The four guards. The value is the class part of the guard's signatures (but for claims)."""

    ROOM_RECONNECT = "room_reconnect"
    VAD_MISFIRE = "vad_misfire"
    JOB_DISPATCH = "job_dispatch"
    TRACK_SUBSCRIBE = "track_subscribe"

    def __str__(self) -> str:
        return self.value


ROOM_RECONNECT: Final = "room_reconnect"
TRACK_SUBSCRIBE: Final = "track_subscribe"
MISFIRE_SIGNATURES: Final = (
    "vad_misfire:empty_transcript",
    "vad_misfire:low_confidence",
    "vad_misfire:echo",
    "vad_misfire:no_transcript",
)
CLAIM_SIGNATURES: Final = (
    "job_claim:acquired",
    "job_claim:reentered",
    "job_claim:handed_off",
    "job_claim:taken_over",
    "job_claim:refused",
    "job_claim:unverified",
    "job_claim:renewed",
    "job_claim:lost",
    "job_claim:released",
)
SIGNATURES: Final = (ROOM_RECONNECT, *MISFIRE_SIGNATURES, *CLAIM_SIGNATURES, TRACK_SUBSCRIBE)

_GUARD_OF_CLASS: Final = {
    "room_reconnect": GuardName.ROOM_RECONNECT,
    "vad_misfire": GuardName.VAD_MISFIRE,
    "job_claim": GuardName.JOB_DISPATCH,
    "track_subscribe": GuardName.TRACK_SUBSCRIBE,
}


def guard_of(signature: str) -> GuardName:
    """The guard a signature belongs to.

    Args:
        signature: A member of :data:`SIGNATURES`.

    Raises:
        KeyError: If the signature is not one of ours.
    """
    return _GUARD_OF_CLASS[signature.partition(":")[0]]
