"""What a guard says: verdicts, decisions and trips."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from runguard_otel.core.signatures import GuardName

__all__ = ["Clock", "Decision", "Evidence", "Mode", "Outcome", "Subject", "Trip", "Verdict"]

Clock = Callable[[], float]
"""A monotonic clock in seconds. Injected everywhere, so that tests need no sleeping."""


class Mode(str, Enum):
    """How far a guard may go."""

    OFF = "off"
    OBSERVE = "observe"
    ENFORCE = "enforce"

    def __str__(self) -> str:
        return self.value


class Verdict(str, Enum):
    """What a guard would do with one event."""

    ALLOW = "allow"
    SUPPRESS = "suppress"
    REUSE = "reuse"
    REFUSE = "refuse"

    def __str__(self) -> str:
        return self.value


class Outcome(str, Enum):
    """What was done with one event; the ``outcome`` label of ``runguard.signatures``."""

    OBSERVED = "observed"
    ALLOWED = "allowed"
    SUPPRESSED = "suppressed"
    REUSED = "reused"
    REFUSED = "refused"

    def __str__(self) -> str:
        return self.value

    @staticmethod
    def of(verdict: Verdict, mode: Mode) -> Outcome:
        """What ``verdict`` amounts to in ``mode``: only enforce acts, the rest only watches."""
        return _OUTCOME_OF[verdict] if mode is Mode.ENFORCE else Outcome.OBSERVED


_OUTCOME_OF = {
    Verdict.ALLOW: Outcome.ALLOWED,
    Verdict.SUPPRESS: Outcome.SUPPRESSED,
    Verdict.REUSE: Outcome.REUSED,
    Verdict.REFUSE: Outcome.REFUSED,
}


class Subject(NamedTuple):
    """Which room, participant or job something happened to. Never a metric label.

    Telemetry writes the names under LiveKit's own ``lk.pii.*`` keys, next to a salted hash.
    """

    room: str = ""
    participant: str = ""
    job_id: str = ""
    track_source: str = ""
    session: str = ""
    participant_sid: str = ""

    @property
    def key(self) -> str:
        """The most specific name: ``room_reconnect:<room>``, ``track_subscribe:<participant_sid>``.

        A participant's sid names one stay in a room, not a person, so it goes before the identity.
        """
        return self.participant_sid or self.participant or self.room or self.session or self.job_id


class Evidence(NamedTuple):
    """One event that led to a trip.

    Args:
        signature: What happened.
        seconds_before: How long before the trip it happened, in seconds (0 for the last one).
        detail: A word or two from a closed list, such as a disconnect reason. Never user content.
    """

    signature: str
    seconds_before: float
    detail: str = ""


@dataclass(frozen=True)
class Trip:
    """The verdict that a pattern is a loop. One per open period of a guard.

    Args:
        guard: Which guard tripped.
        signature: The signature of the event that tripped it.
        subject: Whom it happened to.
        count: How many events were counted.
        window_seconds: In which window, in seconds.
        threshold: How many were allowed before this counts as a loop.
        mode: Whether the guard acted (enforce) or only said so (observe).
        action: What was done, as a word (``refuse_connect``, ``suppress``, ``close_input``,
            ``reuse_stream``, ``refuse_job``) or ``none``.
        evidence: The events that led to it, oldest first.
        at: Wall-clock time of the trip, unix seconds. For people; decisions never use it.
        cost: What the session had cost so far, in USD by component, where that is known.
        reason: Why, and what to do, in words that name no room and no person; ``""`` where the
            counts say it all.
    """

    guard: GuardName
    signature: str
    subject: Subject
    count: int
    window_seconds: float
    threshold: int
    mode: Mode
    action: str
    evidence: tuple[Evidence, ...] = ()
    at: float = field(default_factory=time.time)
    cost: dict[str, str] | None = None
    reason: str = ""

    @property
    def key(self) -> str:
        """Whom it happened to, as one word."""
        return self.subject.key

    @property
    def signature_with_key(self) -> str:
        """The published form, ``class:<key>``, for example ``room_reconnect:support-42``."""
        return f"{self.signature.partition(':')[0]}:{self.key}"

    def explain(self) -> str:
        """The trip in one sentence that holds no names, fit for a log message."""
        done = "observed only" if self.mode is not Mode.ENFORCE else f"action: {self.action}"
        why = f": {self.reason}" if self.reason else ""
        return (
            f"{self.guard} tripped: {self.count} x {self.signature} within "
            f"{self.window_seconds:g} s (threshold {self.threshold}); {done}{why}"
        )


@dataclass(frozen=True)
class Decision:
    """A guard's answer to one event.

    Args:
        verdict: What to do with the event.
        signature: The event's signature, or ``""`` when it was a healthy event.
        trip: Set on the one event that opened the guard.
        open: Whether the guard is open after this event.
    """

    verdict: Verdict
    signature: str = ""
    trip: Trip | None = None
    open: bool = False
