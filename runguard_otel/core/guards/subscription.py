"""When does subscribing to the same participant become a cascade of STT sessions?"""

from __future__ import annotations

import threading
import time
from typing import Final

from runguard_otel.core.breaker import Breaker
from runguard_otel.core.keyed import BoundedMap
from runguard_otel.core.signatures import TRACK_SUBSCRIBE, GuardName
from runguard_otel.core.verdict import Clock, Decision, Evidence, Mode, Subject, Trip, Verdict
from runguard_otel.core.window import SlidingWindow
from runguard_otel.errors import LoopDetectedError

__all__ = ["SubscriptionPolicy", "TrackSubscriptionGuard"]

LIMIT: Final = 3
"""One clean hand-over of a phone makes two subscriptions; three in the window is flapping."""
_ADVICE: Final = (
    "each new track was given a recogniser or a reader while that of the track before was still "
    "open: close it when its track ends, or keep one for all tracks of the participant"
)


class SubscriptionPolicy:
    """Counts the subscriptions of one participant's one source.

    The first one in a window is allowed a stream of its own, every further one should reuse it, and
    the ``limit``-th trips (once per open period). Quiet for a window re-arms it. Unsubscribing
    changes nothing: it is half of the flapping. Not thread-safe: its owner holds a lock.

    Args:
        limit: Which subscription within the window trips, >= 1.
        window_seconds: The window in seconds, > 0.
        clock: Monotonic seconds.

    Raises:
        ValueError: If an argument is out of range.
    """

    __slots__ = ("_breaker", "_clock", "_earlier", "_last", "_limit", "_window")

    def __init__(
        self, *, limit: int = LIMIT, window_seconds: float = 30, clock: Clock = time.monotonic
    ) -> None:
        self._limit = limit
        self._clock = clock
        self._window = SlidingWindow(window_seconds, capacity=limit)
        self._breaker = Breaker(quiet_seconds=window_seconds)
        self._earlier: float | None = None
        self._last = 0.0

    @property
    def open(self) -> bool:
        """Whether the guard has tripped and not re-armed."""
        return self._breaker.is_open(self._clock())

    @property
    def quiet_left(self) -> float:
        """Seconds without a subscription until an open guard re-arms; 0 when it is closed."""
        now = self._clock()
        if not self._breaker.is_open(now):
            return 0.0
        return max(self._last + self._window.window_seconds - now, 0.001)

    def on_subscribe(
        self, subject: Subject, mode: Mode, action: str, *, counts: bool = True
    ) -> Decision:
        """One subscription.

        Args:
            subject: Whom it is about, for the trip.
            mode: For the trip: whether its verdict is carried out.
            action: For the trip: what that is.
            counts: Whether what the one before it opened is still open. If not, it is no part of a
                cascade; the next one may make it the first of one.
        """
        now = self._clock()
        was_open = self._breaker.is_open(now)
        if not counts:
            self._earlier = now
            return Decision(Verdict.ALLOW, TRACK_SUBSCRIBE, open=was_open)
        self._last = now
        first, self._earlier = self._earlier, None
        recent = first is not None and now - first < self._window.window_seconds
        if first is not None and recent and not self._window.count(now):
            self._window.hit(first)
        count = self._window.hit(now)
        if was_open:
            self._breaker.bad(now)
            return Decision(Verdict.REUSE, TRACK_SUBSCRIBE, open=True)
        if count < self._limit:
            verdict = Verdict.ALLOW if count == 1 else Verdict.REUSE
            return Decision(verdict, TRACK_SUBSCRIBE)
        self._breaker.open(now)
        trip = Trip(
            guard=GuardName.TRACK_SUBSCRIBE,
            signature=TRACK_SUBSCRIBE,
            subject=subject,
            count=count,
            window_seconds=self._window.window_seconds,
            threshold=self._limit,
            mode=mode,
            action=action if mode is Mode.ENFORCE else "none",
            evidence=tuple(Evidence(TRACK_SUBSCRIBE, now - at) for at in self._window.times()),
            reason=_ADVICE,
        )
        return Decision(Verdict.REUSE, TRACK_SUBSCRIBE, trip, open=True)


class TrackSubscriptionGuard:
    """Says whether a subscription deserves a new STT session; needs no ``instrument()``.

    Args:
        window_seconds: The window in seconds, > 0.
        max_participants: How many participants are remembered; the oldest is forgotten first.
        clock: Monotonic seconds; for tests.

    Raises:
        ValueError: If an argument is out of range.
    """

    def __init__(
        self,
        window_seconds: float = 30,
        *,
        max_participants: int = 10_000,
        clock: Clock = time.monotonic,
    ) -> None:
        SlidingWindow(window_seconds)  # a bad argument is an error now, not at the first call
        self.window_seconds = window_seconds
        self._lock = threading.Lock()
        self._policies: BoundedMap[str, SubscriptionPolicy] = BoundedMap(
            lambda _: SubscriptionPolicy(window_seconds=window_seconds, clock=clock),
            max_participants,
        )

    def on_subscribe(self, participant_sid: str) -> bool:
        """A track of the participant was subscribed.

        Args:
            participant_sid: Whose; any stable name will do.

        Returns:
            True if a new STT session should start (the first subscription in the window); false if
            the existing one should be reused.

        Raises:
            LoopDetectedError: On the third subscription within the window, once per open period.
                Reuse the existing session then, too.
        """
        with self._lock:
            decision = self._policies.get(participant_sid).on_subscribe(
                Subject(participant=participant_sid), Mode.ENFORCE, "reuse_stream"
            )
        if decision.trip is not None:
            raise LoopDetectedError(
                f"subscription cascade of participant {participant_sid!r}: {decision.trip.count} "
                f"subscriptions within {self.window_seconds:g} s; reuse the STT session",
                trip=decision.trip,
            )
        return decision.verdict is Verdict.ALLOW

    def on_unsubscribe(self, participant_sid: str) -> None:
        """A track of the participant was unsubscribed.

        Deliberately forgets nothing: unsubscribing between subscriptions is what flapping is.

        Args:
            participant_sid: Whose.
        """
