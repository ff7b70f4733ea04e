"""When does reconnecting a room become a loop?

One :class:`ReconnectPolicy` per key (server, room, own identity). It is told of connects that the
*application* makes; what the LiveKit SDK resumes by itself never comes here.
"""

from __future__ import annotations

import threading
import time
from typing import Final

from runguard_otel.core.breaker import Breaker
from runguard_otel.core.loop import LoopDetector
from runguard_otel.core.signatures import ROOM_RECONNECT, ROOM_REDIAL, GuardName
from runguard_otel.core.verdict import Clock, Decision, Evidence, Mode, Subject, Trip, Verdict
from runguard_otel.core.window import SlidingWindow
from runguard_otel.errors import LoopDetectedError

__all__ = ["ReconnectPolicy", "RoomReconnectGuard"]

CYCLE_REPEATS: Final = 3
CYCLE_LENGTH: Final = 4
CYCLE_WINDOWS: Final = 5
_EVIDENCE: Final = 16
REDIAL_LIMIT: Final = 10
"""Dialling one busy colleague after the other takes seconds for each: ten a minute are a loop."""
_ANOTHER_OF_US: Final = "another participant joins with the same identity: give each its own"
_SENT_AWAY: Final = "the server ends the connection each time: leave the room instead of returning"
_ADVICE: Final = {
    ROOM_REDIAL: "the application leaves the room by itself and joins again: stay connected, or "
    "wait between the tries",
    "duplicate_identity": _ANOTHER_OF_US,
    "participant_removed": _SENT_AWAY,
    "room_deleted": _SENT_AWAY,
    "room_closed": _SENT_AWAY,
    "join_failure": "connects fail: check the server's URL, the token and the network, and wait "
    "longer between the tries",
    "unknown": "the application connects while its earlier connection is still there: keep that "
    "one, or wait for its end",
}
_ADVICE_FOR_LOSSES: Final = (
    "connections are lost: the SDK resumes them by itself, so wait longer before a new one, and "
    "check server and network"
)


class ReconnectPolicy:
    """Counts the reconnects of one key and says when they are a loop.

    A connect after a connection that the application ended by itself is a redial: wanted, so it is
    counted apart. Three rules, any one trips:

    - ``limit`` reconnects within the window, whatever their reasons.
    - ``redial_limit`` redials within the window: no person dials that fast.
    - A cycle of 2 to 4 *different* reasons in a row, three times over, within five windows: two
      faults that trade off slowly enough to stay below the limit. A cycle of length 1 is left out
      on purpose: the same reason three times in five windows is what the count is for, and without
      the count's window three ordinary drops of a long call would end it.

    While open it lets one attempt per window through, to find out whether the fault is over, and
    refuses the others: an application that retries with a pause shorter than the window would
    else stay outside after the shortest outage. Every attempt keeps it open; a window without any
    re-arms it. Not thread-safe: its owner holds a lock.

    Args:
        limit: How many reconnects within the window trip, >= 1.
        window_seconds: The window in seconds, > 0.
        redial_limit: How many redials within the window trip, >= 1.
        clock: Monotonic seconds.

    Raises:
        ValueError: If a limit or ``window_seconds`` is out of range.
    """

    __slots__ = (
        "_breaker",
        "_clock",
        "_cycles",
        "_last",
        "_left",
        "_limit",
        "_passed",
        "_reason",
        "_recent",
        "_redial_limit",
        "_redials",
        "_window",
        "trip",
    )

    def __init__(
        self,
        *,
        limit: int = 3,
        window_seconds: float = 60,
        redial_limit: int = REDIAL_LIMIT,
        clock: Clock = time.monotonic,
    ) -> None:
        self._limit = limit
        self._redial_limit = redial_limit
        self._clock = clock
        self._window = SlidingWindow(window_seconds, capacity=limit)
        self._redials = SlidingWindow(window_seconds, capacity=redial_limit)
        self._breaker = Breaker(quiet_seconds=window_seconds)
        self._cycles: LoopDetector | None = None  # most keys never reconnect: made on first use
        self._recent: list[tuple[float, str, str]] = []
        self._last: float | None = None
        self._passed = 0.0
        self._reason = ""
        self._left = False
        self.trip: Trip | None = None
        """The trip of the open period, if the guard has ever opened."""

    @property
    def open(self) -> bool:
        """Whether connects are refused right now."""
        return self._breaker.is_open(self._clock())

    @property
    def quiet_left(self) -> float:
        """Seconds without an attempt until an open guard re-arms; 0 when it is closed."""
        now = self._clock()
        if not self._breaker.is_open(now) or self._last is None:
            return 0.0
        return max(self._last + self._window.window_seconds - now, 0.001)

    @property
    def reason(self) -> str:
        """What the latest reconnect was due to."""
        return self._recent[-1][2] if self._recent else "unknown"

    def on_connect(self, subject: Subject, mode: Mode, action: str) -> Decision:
        """The application connects: again, if the key was in use within the window.

        Args:
            subject: Whom it is about, for the trip.
            mode: For the trip: whether its verdict is carried out.
            action: For the trip: what that is.
        """
        now = self._clock()
        if self._last is not None and now - self._last < self._window.window_seconds:
            signature = ROOM_REDIAL if self._left else ROOM_RECONNECT
            decision = self._again(signature, subject, mode, action)
            if decision.verdict is Verdict.ALLOW or mode is not Mode.ENFORCE:
                self._left = False
            return decision
        self._rearm()
        self._last = now
        return Decision(Verdict.ALLOW)

    def on_reconnect(self, subject: Subject, mode: Mode, action: str) -> Decision:
        """The application reconnects, as its caller knows. Arguments: :meth:`on_connect`."""
        return self._again(ROOM_RECONNECT, subject, mode, action)

    def on_leave(self) -> None:
        """The application ends the latest connection by itself; the next connect is a redial."""
        self._left = True
        self._ended("client_initiated")

    def on_disconnect(self, reason: str) -> None:
        """The connection ended, or a connect failed; the next connect is due to that.

        Args:
            reason: A word from a closed list, for example ``server_shutdown``.
        """
        self._left = False
        self._ended(reason)

    def _ended(self, reason: str) -> None:
        self._reason = reason
        if not self._breaker.is_open(self._clock()):
            self._last = self._clock()  # it was in use until now

    def _again(self, signature: str, subject: Subject, mode: Mode, action: str) -> Decision:
        now = self._clock()
        if not self._breaker.is_open(now) and self.trip is not None:
            left = self._left
            self._rearm()
            self._left = left
        reason, self._reason, self._last = self._reason or "unknown", "", now
        self._recent = [*self._recent[1 - _EVIDENCE :], (now, signature, reason)]
        if self._breaker.is_open(now):
            self._breaker.bad(now)
            if now - self._passed < self._window.window_seconds:
                return Decision(Verdict.REFUSE, signature, open=True)
            self._passed = now
            return Decision(Verdict.ALLOW, signature, open=True)
        found = self._judge(now, signature, reason)
        if found is None:
            return Decision(Verdict.ALLOW, signature)
        self._breaker.open(now)
        self._passed = now
        count, window, threshold = found
        evidence = [
            Evidence(signature, now - at, why)
            for at, what, why in self._recent
            if what == signature
        ]
        self.trip = Trip(
            guard=GuardName.ROOM_RECONNECT,
            signature=signature,
            subject=subject,
            count=count,
            window_seconds=window,
            threshold=threshold,
            mode=mode,
            action=action if mode is Mode.ENFORCE else "none",
            evidence=tuple(evidence[-count:]),
            reason=_advice(signature, [e.detail for e in evidence[-count:]]),
        )
        return Decision(Verdict.REFUSE, signature, self.trip, open=True)

    def _judge(self, now: float, signature: str, reason: str) -> tuple[int, float, int] | None:
        """Count, window and threshold of the rule that found a loop, if one did."""
        window = self._window.window_seconds
        if signature == ROOM_REDIAL:
            count = self._redials.hit(now)
            limit = self._redial_limit
            return (count, window, limit) if count >= limit else None
        count = self._window.hit(now)
        if self._cycles is None:
            self._cycles = LoopDetector(
                CYCLE_REPEATS, CYCLE_LENGTH, CYCLE_WINDOWS * window, clock=self._clock
            )
        cycle = self._cycles.push(reason)
        if count >= self._limit:
            return count, window, self._limit
        if cycle is not None and cycle.period > 1:
            return cycle.count, CYCLE_WINDOWS * window, cycle.count
        return None

    def _rearm(self) -> None:
        self._breaker.close()
        self._window.clear()
        self._redials.clear()
        self._recent = []
        self._cycles = None
        self._reason = ""
        self._left = False
        self.trip = None


def _advice(signature: str, reasons: list[str]) -> str:
    """Why it may be, and what to do, for the most frequent of the reasons; the latest of equals."""
    if signature == ROOM_REDIAL:
        return _ADVICE[ROOM_REDIAL]
    most = max(reversed(reasons), key=reasons.count, default="unknown")
    return _ADVICE.get(most, _ADVICE_FOR_LOSSES)


class RoomReconnectGuard:
    """Stops the application's own reconnect loop; needs neither ``instrument()`` nor LiveKit.

    Call :meth:`check` before every reconnect. The limit is reached by the
    ``max_reconnects_per_window``-th reconnect within the window. From then on one per window is let
    through, to find out whether the fault is over; a window without any re-arms the guard.

    Args:
        room_name: Names the loop in the error: ``room_reconnect:<room_name>``.
        max_reconnects_per_window: The reconnect that is refused, >= 1.
        window_seconds: The window in seconds, > 0.
        clock: Monotonic seconds; for tests.

    Raises:
        ValueError: If an argument is out of range.
    """

    def __init__(
        self,
        room_name: str,
        max_reconnects_per_window: int = 3,
        window_seconds: float = 60,
        *,
        clock: Clock = time.monotonic,
    ) -> None:
        self.room_name = room_name
        self.max_reconnects_per_window = max_reconnects_per_window
        self.window_seconds = window_seconds
        self._lock = threading.Lock()
        self._subject = Subject(room=room_name)
        self._policy = ReconnectPolicy(
            limit=max_reconnects_per_window,
            window_seconds=window_seconds,
            clock=clock,
        )

    def check(self) -> None:
        """Count one reconnect.

        Raises:
            LoopDetectedError: If it is one too many, and for every further one but one per window,
                until a window has passed without any. All of them carry the same trip.
        """
        with self._lock:
            decision = self._policy.on_reconnect(self._subject, Mode.ENFORCE, "refuse_connect")
            trip = self._policy.trip
        if decision.verdict is Verdict.REFUSE and trip is not None:
            raise LoopDetectedError(
                f"reconnect loop of room {self.room_name!r}: {trip.count} reconnects within "
                f"{trip.window_seconds:g} s; leave the room instead of connecting again",
                trip=trip,
            )
