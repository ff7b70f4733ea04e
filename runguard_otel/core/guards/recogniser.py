"""Does a recogniser open its provider's connection again and again?

LiveKit never gives up: its budget of retries starts over with every attempt that lived for a while.
"""

from __future__ import annotations

import time
from typing import Final

from runguard_otel.core.breaker import Breaker
from runguard_otel.core.signatures import GuardName
from runguard_otel.core.verdict import Clock, Decision, Evidence, Mode, Subject, Trip, Verdict
from runguard_otel.core.window import SlidingWindow

__all__ = ["STT_RECONNECT", "StreamPolicy"]

STT_RECONNECT: Final = "session_overrun:stt_reconnect"
ACTION: Final = "fail_stream"
"""What enforce does, as a word."""


class StreamPolicy:
    """Counts how often one recogniser stream opens its provider's connection.

    Quiet for the first window, or genuine speech, re-arms it. Not thread-safe: a stream lives in
    one loop.

    Args:
        mode: For the trip: whether its verdict is carried out.
        reconnects: Connections within ``window_seconds`` with no genuine result between, that are
            too many; 0 counts none.
        window_seconds: See above.
        reconnects_at_all: Connections within ``total_seconds`` that are too many whatever was
            heard; 0 counts none.
        total_seconds: See above.
        clock: Monotonic seconds.
    """

    __slots__ = (
        "_breaker",
        "_clock",
        "_connected",
        "_mode",
        "_rules",
        "_seen",
        "_window_seconds",
    )

    def __init__(
        self,
        mode: Mode,
        *,
        reconnects: int = 5,
        window_seconds: float = 120,
        reconnects_at_all: int = 30,
        total_seconds: float = 600,
        clock: Clock = time.monotonic,
    ) -> None:
        self._mode = mode
        self._window_seconds = window_seconds
        self._clock = clock
        self._seen = False
        self._connected = False  # since somebody was recognised
        rules = ((reconnects, window_seconds), (reconnects_at_all, total_seconds))
        self._rules = [
            (count, SlidingWindow(seconds, capacity=count) if count else None)
            for count, seconds in rules
        ]
        self._breaker = Breaker(quiet_seconds=window_seconds)

    @property
    def open(self) -> bool:
        """Whether the guard has tripped and not re-armed."""
        return self._breaker.is_open(self._clock())

    @property
    def quiet_left(self) -> float:
        """Seconds until an open guard looks again whether it has re-armed; 0 when it is closed."""
        return self._window_seconds if self.open else 0.0

    def connected(self, subject: Subject) -> Decision:
        """The stream opens its provider's connection, the first time or again.

        Args:
            subject: Whom it is about, for the trip.
        """
        self._connected = True
        now = self._clock()
        was_open = self._breaker.is_open(now)
        counts = [window.hit(now) if window is not None else 0 for _, window in self._rules]
        if not self._seen:
            self._seen = True
            return Decision(Verdict.ALLOW)  # the first connection is healthy
        if was_open:
            self._breaker.bad(now)
            return Decision(Verdict.REFUSE, STT_RECONNECT, open=True)
        for count, (threshold, window) in zip(counts, self._rules, strict=True):
            if window is not None and count >= threshold:
                self._breaker.open(now)
                trip = self._trip(subject, count, threshold, window, now)
                return Decision(Verdict.REFUSE, STT_RECONNECT, trip, open=True)
        return Decision(Verdict.ALLOW, STT_RECONNECT)

    def genuine(self) -> None:
        """The stream has recognised somebody: reconnects before it were worth it."""
        if not self._connected:
            return  # as nearly always: somebody goes on to speak
        self._connected = False
        window = self._rules[0][1]
        if window is not None:
            window.clear()
        self._breaker.close()

    def _trip(
        self, subject: Subject, count: int, threshold: int, window: SlidingWindow, now: float
    ) -> Trip:
        enforce = self._mode is Mode.ENFORCE
        return Trip(
            guard=GuardName.SESSION_OVERRUN,
            signature=STT_RECONNECT,
            subject=subject,
            count=count,
            window_seconds=window.window_seconds,
            threshold=threshold,
            mode=self._mode,
            action=ACTION if enforce else "none",
            evidence=tuple(Evidence(STT_RECONNECT, round(now - at, 3)) for at in window.times()),
            reason="one recogniser stream opens its provider's connection again and again",
        )
