"""What is told, and when: one incident per signature and agent, for as long as it lasts.

The thresholds are those of the alert rules, seen from one worker: a loop that nobody stops is told
at once and until it has been over for ten minutes; one that a guard stops is told once it has come
often enough, and until it has stayed away for half an hour.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

from runguard_otel.core.signatures import GuardName
from runguard_otel.core.verdict import Mode

__all__ = ["ENDED_SECONDS", "STOPPED", "STOPPED_SECONDS", "Incidents", "Loop", "Notice", "Often"]

ENDED_SECONDS: Final = 600.0
"""How long a loop that nobody stopped must have been over."""

STOPPED_SECONDS: Final = 1800.0
"""How long a stopped loop must have stayed away."""

URGENT_SECONDS: Final = 600.0
"""How long one may go on unstopped before it is urgent, whatever it is."""

_MAX_LOOPS = 1000  # more than signatures times agents; a backstop, not a limit anybody meets
_MOMENT = 1.0


class Often(NamedTuple):
    """How many stopped loops are told of, within how many seconds."""

    trips: int
    seconds: float


STOPPED: Final = {
    GuardName.ROOM_RECONNECT: Often(1, 300.0),
    GuardName.JOB_DISPATCH: Often(3, 3600.0),
    GuardName.VAD_MISFIRE: Often(3, 3600.0),
    GuardName.TRACK_SUBSCRIBE: Often(3, 3600.0),
    GuardName.SESSION_OVERRUN: Often(3, 3600.0),
}

Severity = Literal["warning", "critical"]


class Loop(NamedTuple):
    """What one incident is about."""

    guard: GuardName
    signature: str
    agent: str


@dataclass(frozen=True)
class Notice:
    """Something to tell.

    Args:
        loop: What it is about.
        firing: Whether it lasts, or is over.
        severity: ``critical`` wakes someone.
        mode: ``observe`` where nothing stops it.
        trips: How often it tripped since it began.
        seconds: For how long it has lasted.
    """

    loop: Loop
    firing: bool
    severity: Severity
    mode: Mode
    trips: int
    seconds: float


@dataclass
class _State:
    open: float = 0
    unstopped_at: float = float("-inf")
    unstopped_since: float = 0.0
    stopped: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=3600))
    began: float | None = None
    trips: float = 0
    told: Severity | None = None
    mode: Mode = Mode.ENFORCE

    def unstopped(self, now: float) -> bool:
        """Whether one goes on, or has only just ended."""
        return self.open > 0 or now - self.unstopped_at < ENDED_SECONDS


class Incidents:
    """Keeps the loops of one worker. Not thread-safe; every time is of one monotonic clock."""

    def __init__(self) -> None:
        self._loops: dict[Loop, _State] = {}

    def tripped(self, loop: Loop, mode: Mode, times: float, now: float) -> None:
        """A guard found this loop.

        Args:
            loop: Which.
            mode: Whether it stopped it.
            times: How often.
            now: When.
        """
        state = self._of(loop)
        if state is None:
            return
        state.trips += times
        if mode is Mode.OBSERVE:
            self._goes_on(state, now)
        elif state.stopped and now - state.stopped[-1][0] < _MOMENT:
            at, before = state.stopped.pop()
            state.stopped.append((at, before + times))
        else:
            state.stopped.append((now, times))

    def opened(self, loop: Loop, change: float, now: float) -> None:
        """Guards that only observe opened for this loop, or (negative) closed."""
        state = self._of(loop)
        if state is not None:
            self._goes_on(state, now)
            state.open = max(0.0, state.open + change)

    def due(self, now: float) -> list[Notice]:
        """What has not been told yet, urgent and firing first; forgets what is over."""
        found = []
        for loop, state in list(self._loops.items()):
            notice = self._due(loop, state, now)
            if notice is not None:
                found.append(notice)
        return sorted(found, key=lambda n: (not n.firing, n.severity != "critical"))

    def told(self, notice: Notice) -> None:
        """It has been told, or never will be."""
        if notice.firing:
            self._loops[notice.loop].told = notice.severity
        else:
            del self._loops[notice.loop]

    def over(self, now: float) -> list[Notice]:
        """The worker ends, and its calls with it: an end for everything that was told."""
        return [
            _notice(loop, state, False, state.told, now)
            for loop, state in self._loops.items()
            if state.told is not None
        ]

    def _of(self, loop: Loop) -> _State | None:
        state = self._loops.get(loop)
        if state is None and len(self._loops) < _MAX_LOOPS:
            state = self._loops[loop] = _State()
        return state

    @staticmethod
    def _goes_on(state: _State, now: float) -> None:
        if not state.unstopped(now):
            state.unstopped_since = now
        state.unstopped_at = now

    def _due(self, loop: Loop, state: _State, now: float) -> Notice | None:
        if state.open:
            state.unstopped_at = now
        unstopped = state.unstopped(now)
        if not unstopped and not self._often(loop, state, now):
            if state.told is not None:
                return _notice(loop, state, False, state.told, now)
            if not state.stopped or now - state.stopped[-1][0] >= STOPPED[loop.guard].seconds:
                del self._loops[loop]
            return None
        if state.began is None:
            state.began = now
        state.mode = Mode.OBSERVE if unstopped else Mode.ENFORCE
        severity = _severity(loop, unstopped, now - state.unstopped_since)
        if state.told is None or (state.told, severity) == ("warning", "critical"):
            return _notice(loop, state, True, severity, now)
        return None

    @staticmethod
    def _often(loop: Loop, state: _State, now: float) -> bool:
        """Whether stopped ones come often enough, or did until lately."""
        if not state.stopped:
            return False
        if state.began is not None:
            return now - state.stopped[-1][0] < STOPPED_SECONDS
        rule = STOPPED[loop.guard]
        recent = sum(times for at, times in state.stopped if now - at < rule.seconds)
        return recent >= rule.trips


def _severity(loop: Loop, unstopped: bool, seconds: float) -> Severity:
    """As the alert rules have it by default."""
    if loop.guard is GuardName.ROOM_RECONNECT:
        return "critical"
    if not unstopped:
        return "warning"
    if loop.guard is GuardName.JOB_DISPATCH:  # two agents in one room
        return "critical"
    return "critical" if seconds >= URGENT_SECONDS else "warning"


def _notice(
    loop: Loop, state: _State, firing: bool, severity: Severity | None, now: float
) -> Notice:
    began = now if state.began is None else state.began
    return Notice(loop, firing, severity or "warning", state.mode, round(state.trips), now - began)
