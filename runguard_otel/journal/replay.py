"""What would have tripped? The inputs of recorded calls through the policies of today.

The same objects as live, made from settings by the same :class:`~runguard_otel.policies.Policies`;
only their clock is the journal's. What happened after a verdict is as recorded: a replay cannot
know what a caller would have said to an agent that did not answer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from runguard_otel.core.guards.misfire import PASS, MisfireDecision
from runguard_otel.core.guards.overrun import JobPolicy
from runguard_otel.core.signatures import GuardName
from runguard_otel.core.verdict import Decision, Mode, Subject, Verdict
from runguard_otel.journal.reading import History
from runguard_otel.journal.schema import Row
from runguard_otel.journal.taped import said, tripped
from runguard_otel.policies import Policies
from runguard_otel.settings import Settings

__all__ = ["REPLAYABLE", "Difference", "Replayed", "Tripped", "replay"]

REPLAYABLE: Final = (
    "mode",
    *(f"{guard}_mode" for guard in GuardName if guard is not GuardName.JOB_DISPATCH),
    "room_reconnect_limit",
    "room_reconnect_window_seconds",
    "room_reconnect_redial_limit",
    "vad_misfire_limit",
    "vad_misfire_window_seconds",
    "vad_misfire_min_confidence",
    "vad_misfire_floor_confidence",
    "track_subscribe_limit",
    "track_subscribe_window_seconds",
    "session_overrun_left_seconds",
    "session_overrun_unmet_seconds",
    "session_overrun_silent_seconds",
    "session_overrun_close_seconds",
    "session_overrun_stt_reconnects",
    "session_overrun_stt_reconnects_at_all",
    "session_overrun_session_seconds",
)
"""Settings a replay can answer for. The others decide what is done after a verdict, or ask the
words, which no journal holds."""

NOBODY: Final = Subject()
_SAID: Final = ("verdict", "signature", "open", "kind", "closed", "trip")
_GUARD: Final = {
    "misfire": GuardName.VAD_MISFIRE,
    "reconnect": GuardName.ROOM_RECONNECT,
    "subscription": GuardName.TRACK_SUBSCRIBE,
    "job": GuardName.SESSION_OVERRUN,
    "stream": GuardName.SESSION_OVERRUN,
}
_ANSWERED: Final = ("final", "connect", "subscribe", "connected", "check")


@dataclass(frozen=True)
class Tripped:
    """One trip, live or replayed.

    Args:
        at: Seconds since the history began.
        guard: Which guard.
        signature: What it tripped on.
        count: How many events were counted.
        window_seconds: In which window.
        threshold: How many are a loop.
    """

    at: float
    guard: str
    signature: str
    count: int
    window_seconds: float
    threshold: int

    @classmethod
    def of(cls, at: float, guard: GuardName, row: Mapping[str, Any]) -> Tripped:
        """From what the journal has of a trip."""
        return cls(
            round(at, 3),
            str(guard),
            str(row["signature"]),
            int(row["count"]),
            float(row["window_seconds"]),
            int(row["threshold"]),
        )


@dataclass(frozen=True)
class Difference:
    """One input to which a policy now says something else.

    Args:
        at: Seconds since the history began.
        guard: Which guard.
        op: The input.
        then: What was said live.
        now: What is said now.
    """

    at: float
    guard: str
    op: str
    then: Mapping[str, Any]
    now: Mapping[str, Any]


@dataclass
class Replayed:
    """What became of one history.

    Args:
        history: Which.
        events: Inputs that were replayed.
        then: Trips as they were, live.
        now: Trips as they would have been.
        differences: Inputs with another answer, the first hundred.
        changed: How many there were.
        unknown: Inputs of policies whose beginning is not in the journal.
        lost: Lines that the journal says it lost.
        acted: Verdicts other than ``allow`` now, by guard and signature.
        acted_then: The same, live.
    """

    history: History
    events: int = 0
    then: list[Tripped] = field(default_factory=list)
    now: list[Tripped] = field(default_factory=list)
    differences: list[Difference] = field(default_factory=list)
    changed: int = 0
    unknown: int = 0
    lost: int = 0
    acted: dict[tuple[str, str], int] = field(default_factory=dict)
    acted_then: dict[tuple[str, str], int] = field(default_factory=dict)

    @property
    def exact(self) -> bool:
        """Whether the history is all there, so that its answers hold."""
        return not (self.unknown or self.lost or self.history.torn) and self.history.whole

    @property
    def same(self) -> bool:
        """Whether every answer is what it was."""
        return not self.changed and self.then == self.now


class _Clock:
    """The time of the line that is replayed."""

    __slots__ = ("now",)

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def replay(history: History, changes: Mapping[str, Any] | None = None) -> Replayed:
    """Judge one history again.

    Args:
        history: Which.
        changes: Settings that differ from those it was live with.

    Raises:
        UnreadableError: If it cannot be read.
        SettingsError: If a change cannot be made.
    """
    live = history.settings()
    return _Run(history, live, Settings.load(live, **(changes or {}))).run()


class _Run:
    """One replay of one history."""

    def __init__(self, history: History, live: Settings, settings: Settings) -> None:
        self._result = Replayed(history)
        self._history = history
        self._live = live
        self._settings = settings
        self._policies = Policies(settings)
        self._clock = _Clock()
        self._began = 0.0
        self._told: dict[int, dict[str, Callable[[Row], None]]] = {}
        self._due: list[Callable[[float], None]] = []

    def run(self) -> Replayed:
        """All of it."""
        result, clock, told = self._result, self._clock, self._told
        self._began, events, last = float(self._history.header["t"]), 0, 0.0
        for row in self._history.inputs():
            try:
                if row["e"] == "in":
                    ops = told.get(row["p"])
                    if ops is None:
                        result.unknown += 1
                        continue
                    clock.now = last = row["t"]
                    op = ops.get(row["op"])
                    if op is not None:  # else: a later release's word, which decides nothing here
                        op(row)
                        events += 1
                elif row["e"] == "policy":
                    clock.now = row["t"]
                    self._make(row)
                else:
                    result.lost += int(row.get("lines", 1))
            except (KeyError, TypeError, ValueError, AttributeError):
                self._history.torn += 1
        for look in self._due:
            look(last)
        result.events = events
        return result

    def _make(self, row: Row) -> None:
        guard = _GUARD.get(row["kind"])
        if guard is None:
            return
        make: Callable[[GuardName], dict[str, Callable[[Row], None]]]
        make = getattr(self, f"_{row['kind']}")
        if self._settings.mode_of(guard) is Mode.OFF:
            tell = partial(self._unheard, guard)
            self._told[row["p"]] = dict.fromkeys(_ANSWERED, tell)
        else:
            self._told[row["p"]] = make(guard)

    # What each policy is told

    def _misfire(self, guard: GuardName) -> dict[str, Callable[[Row], None]]:
        policy = self._policies.misfire(Subject())
        judge = policy.on_final

        def final(row: Row) -> None:
            get = row.get
            decision = judge(
                "words" if row["words"] else "",
                get("confidence"),
                echo=get("echo", False),
                joins=get("joins", False),
                duplicate=get("duplicate", False),
                now=row["t"],
            )
            if decision is not PASS or "signature" in row or "closed" in row:
                self._answered(guard, row, decision)

        return {
            "final": final,
            "next_turn": lambda _: policy.next_turn(),
            "reset": lambda _: policy.reset(),
        }

    def _reconnect(self, guard: GuardName) -> dict[str, Callable[[Row], None]]:
        policy, mode = self._policies.reconnect(self._clock), self._settings.mode_of(guard)
        return {
            "connect": lambda row: self._answered(guard, row, policy.on_connect(NOBODY, mode, "")),
            "leave": lambda _: policy.on_leave(),
            "disconnect": lambda row: policy.on_disconnect(row["reason"]),
        }

    def _subscription(self, guard: GuardName) -> dict[str, Callable[[Row], None]]:
        policy, mode = self._policies.subscription(self._clock), self._settings.mode_of(guard)
        return {
            "subscribe": lambda row: self._answered(
                guard, row, policy.on_subscribe(NOBODY, mode, "", counts=row["counts"])
            )
        }

    def _stream(self, guard: GuardName) -> dict[str, Callable[[Row], None]]:
        policy = self._policies.stream(self._clock)
        return {
            "connected": lambda row: self._answered(guard, row, policy.connected(NOBODY)),
            "genuine": lambda _: policy.genuine(),
        }

    def _job(self, guard: GuardName) -> dict[str, Callable[[Row], None]]:
        heard = [True]  # as it was when it was last asked
        policy = self._policies.job(Subject(), lambda: heard[0], self._clock)
        ops: dict[str, Callable[[Row], None]] = {
            "job_started": lambda _: policy.job_started(),
            "job_ended": lambda _: policy.job_ended(),
            "callers": lambda row: policy.callers(row["room"], row["callers"]),
            "left": lambda row: policy.left(row["room"]),
            "stream_opened": lambda row: policy.stream_opened(row["stream"]),
            "stream_closed": lambda row: policy.stream_closed(row["stream"]),
            "session_started": lambda row: policy.session_started(row["session"]),
            "session_closing": lambda row: policy.session_closing(row["session"]),
            "session_closed": lambda row: _drop(policy.session_closed(row["session"])),
            "active": lambda _: _drop(policy.active()),
            "ending": lambda row: policy.ending(row["cause"]),
        }
        if self._policies.limits() == Policies(self._live).limits():
            ops["check"] = lambda row: self._check(guard, policy, row, heard)
            return ops
        self._due.append(lambda until: self._catch_up(guard, policy, until))
        told = {op: self._when_due(guard, policy, tell) for op, tell in ops.items()}
        told["check"] = lambda row: self._look_back(guard, policy, row, heard)
        return told

    # What follows

    def _check(self, guard: GuardName, policy: JobPolicy, row: Row, heard: list[bool]) -> None:
        """Limits are as they were, so the moments at which somebody looked are, too."""
        heard[0] = row.get("listening", heard[0])
        trips = [tripped(trip) for trip in policy.check()]
        then = row.get("trips", [])
        self._tripped(guard, row["t"], then, self._result.then)
        self._tripped(guard, row["t"], trips, self._result.now)
        if trips != then:
            self._differ(guard, row, {"trips": then}, {"trips": trips})

    def _look_back(self, guard: GuardName, policy: JobPolicy, row: Row, heard: list[bool]) -> None:
        """With other limits somebody would have looked at other moments: whenever it is due."""
        self._tripped(guard, row["t"], row.get("trips", []), self._result.then)
        self._catch_up(guard, policy, row["t"])
        heard[0] = row.get("listening", heard[0])

    def _when_due(
        self, guard: GuardName, policy: JobPolicy, tell: Callable[[Row], None]
    ) -> Callable[[Row], None]:
        def told(row: Row) -> None:
            self._catch_up(guard, policy, row["t"])
            tell(row)

        return told

    def _catch_up(self, guard: GuardName, policy: JobPolicy, until: float) -> None:
        while (due := policy.due) <= until and due < math.inf:
            self._clock.now = due
            self._tripped(guard, due, map(tripped, policy.check()), self._result.now)
        self._clock.now = until

    def _tripped(self, guard: GuardName, t: float, trips: Any, to: list[Tripped]) -> None:
        to.extend(Tripped.of(t - self._began, guard, trip) for trip in trips)

    def _answered(self, guard: GuardName, row: Row, decision: Decision) -> None:
        """Compare an answer with the live one; most are the same, and let an event pass."""
        get = row.get
        if (
            decision.verdict is Verdict.ALLOW
            and decision.trip is None
            and decision.signature == get("signature", "")
            and decision.open is get("open", False)
            and "verdict" not in row
            and "trip" not in row
            and "closed" not in row
            and not isinstance(decision, MisfireDecision)
        ):
            return
        self._compare(guard, row, said(decision))

    def _compare(self, guard: GuardName, row: Row, now: Mapping[str, Any]) -> None:
        then: dict[str, Any] = {key: row[key] for key in _SAID if key in row}
        if "trip" in then:
            self._tripped(guard, row["t"], [then["trip"]], self._result.then)
        if "trip" in now:
            self._tripped(guard, row["t"], [now["trip"]], self._result.now)
        for answer, acted in ((now, self._result.acted), (then, self._result.acted_then)):
            if answer.get("verdict", "allow") != "allow":
                key = (str(guard), str(answer.get("signature", "")))
                acted[key] = acted.get(key, 0) + 1
        if then != now:
            self._differ(guard, row, then, now)

    def _unheard(self, guard: GuardName, row: Row) -> None:
        """The guard is off now: it says nothing."""
        self._tripped(guard, row["t"], row.get("trips", []), self._result.then)
        self._compare(guard, row, {})

    def _differ(
        self, guard: GuardName, row: Row, then: Mapping[str, Any], now: Mapping[str, Any]
    ) -> None:
        self._result.changed += 1
        if len(self._result.differences) < 100:
            at = round(row["t"] - self._began, 3)
            self._result.differences.append(Difference(at, str(guard), row["op"], then, now))


def _drop(_: object) -> None:
    pass
