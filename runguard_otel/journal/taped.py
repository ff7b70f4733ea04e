"""The policies of a process, writing down what they are told and what they say to it.

Each line holds all that its policy was given, and the time the policy saw, so that a replay gives
the same policy the same. Words are not kept: what was asked of them (is it an echo? has it been
said before?) is kept as it was answered.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Hashable
from functools import partial
from typing import Any

from runguard_otel.core.guards.misfire import PASS, MisfireDecision, MisfireGuard, MisfireKind
from runguard_otel.core.guards.overrun import JobPolicy
from runguard_otel.core.guards.recogniser import StreamPolicy
from runguard_otel.core.guards.reconnect import ReconnectPolicy
from runguard_otel.core.guards.subscription import SubscriptionPolicy
from runguard_otel.core.ports import AttributeValue
from runguard_otel.core.verdict import Clock, Decision, Mode, Subject, Trip, Verdict
from runguard_otel.journal.book import Book
from runguard_otel.journal.record import SURE, TIMED, Tail, sure, tail_of, timed
from runguard_otel.policies import Policies
from runguard_otel.settings import Settings

__all__ = ["HeldClock", "TapedPolicies", "said", "tripped"]


class HeldClock:
    """A clock that stands still while a policy thinks, so that one time tells all it saw.

    Args:
        real: Monotonic seconds.
    """

    __slots__ = ("_now", "_real")

    def __init__(self, real: Clock) -> None:
        self._real = real
        self._now: float | None = None

    def __call__(self) -> float:
        """Monotonic seconds."""
        now = self._now
        return self._real() if now is None else now

    def __enter__(self) -> float:
        """Stand still, at the time it is."""
        self._now = now = self._real()
        return now

    def __exit__(self, *_: object) -> None:
        """Go on."""
        self._now = None


def said(decision: Decision) -> dict[str, Any]:
    """What a policy said, as the journal has it; what is left out is ``allow`` and ``genuine``."""
    found: dict[str, Any] = {}
    if decision.verdict is not Verdict.ALLOW:
        found["verdict"] = decision.verdict.value
    if decision.signature:
        found["signature"] = decision.signature
    if decision.open:
        found["open"] = True
    if isinstance(decision, MisfireDecision):
        if decision.kind is not MisfireKind.GENUINE:
            found["kind"] = decision.kind.value
        if decision.closed:
            found["closed"] = True
    if decision.trip is not None:
        found["trip"] = tripped(decision.trip)
    return found


def tripped(trip: Trip) -> dict[str, Any]:
    """What a trip says, as the journal has it beside its policy's inputs."""
    return {
        "signature": trip.signature,
        "count": trip.count,
        "window_seconds": trip.window_seconds,
        "threshold": trip.threshold,
        "evidence": [list(one) for one in trip.evidence],
    }


class _Pen:
    """Writes the lines of one policy.

    Args:
        book: Keeps them.
        kind: What kind of policy.
        now: When it was made, monotonic seconds.
        job: Whose job it judges, if that is known.
    """

    __slots__ = ("_bare", "head", "put")

    def __init__(self, book: Book, kind: str, now: float, job: str = "") -> None:
        number = book.number()
        self.put = book.write
        self.head = f'"e":"in","p":{number},"op":'
        self._bare: dict[str, Tail] = {}
        row = {"t": now, "e": "policy", "p": number, "kind": kind}
        book.put({**row, "job": job} if job else row, job)

    def write(self, now: float, op: str, **rest: Any) -> None:
        """One input, and what was said to it."""
        if rest:
            tail = tail_of(f'{self.head}"{op}",{_pairs(rest)}}}'.encode())
        else:
            tail = self._bare.get(op) or self._told(op)
        self.put(timed(TIMED, now), tail)

    def _told(self, op: str) -> Tail:
        tail = self._bare[op] = tail_of(f'{self.head}"{op}"}}'.encode())
        return tail


class _Misfire(MisfireGuard):
    """Its results are what a busy call has most of: whatever can be made ahead of them is."""

    __slots__ = ("_healthy", "_pen", "_put")

    def __init__(self, pen: _Pen, *args: Any, **kwargs: Any) -> None:
        self._pen = pen
        self._put = pen.put
        self._healthy: dict[int, Tail] = {}
        super().__init__(*args, **kwargs)

    def on_final(
        self,
        text: str,
        confidence: float | None,
        *,
        echo: bool = False,
        joins: bool = False,
        duplicate: bool = False,
        now: float,
    ) -> MisfireDecision:
        # Not super(), which costs more.
        decision = MisfireGuard.on_final(
            self, text, confidence, echo=echo, joins=joins, duplicate=duplicate, now=now
        )
        if decision is PASS and not (echo or joins or duplicate):
            words = text.count(" ") + 1
            tail = self._healthy.get(words) or self._heard(words)
        else:
            flags = {"echo": echo, "joins": joins, "duplicate": duplicate}
            given = {name: True for name, flag in flags.items() if flag}
            words = text.count(" ") + 1 if text and not text.isspace() else 0
            tail = self._final(words, {**given, **said(decision)})
        head = timed(TIMED, now) if confidence is None else sure(SURE, now, confidence)
        self._put(head, tail)
        return decision

    def next_turn(self) -> None:
        super().next_turn()
        self._pen.write(time.monotonic(), "next_turn")

    def reset(self) -> None:
        super().reset()
        self._pen.write(time.monotonic(), "reset")

    def _heard(self, words: int) -> Tail:
        tail = self._final(words, {})
        if words < 100:
            self._healthy[words] = tail
        return tail

    def _final(self, words: int, more: dict[str, Any]) -> Tail:
        return tail_of(f'{self._pen.head}"final",{_pairs({"words": words, **more})}}}'.encode())


def _pairs(facts: dict[str, Any]) -> str:
    return json.dumps(facts, separators=(",", ":"))[1:-1]


class _Reconnect(ReconnectPolicy):
    __slots__ = ("_held", "_pen")

    def __init__(self, pen: _Pen, held: HeldClock, **kwargs: Any) -> None:
        self._pen = pen
        self._held = held
        super().__init__(**kwargs)

    def on_connect(self, subject: Subject, mode: Mode, action: str) -> Decision:
        with self._held as now:
            decision = super().on_connect(subject, mode, action)
        self._pen.write(now, "connect", **said(decision))
        return decision

    def on_leave(self) -> None:
        with self._held as now:
            super().on_leave()
        self._pen.write(now, "leave")

    def on_disconnect(self, reason: str) -> None:
        with self._held as now:
            super().on_disconnect(reason)
        self._pen.write(now, "disconnect", reason=reason)


class _Subscription(SubscriptionPolicy):
    __slots__ = ("_held", "_pen")

    def __init__(self, pen: _Pen, held: HeldClock, **kwargs: Any) -> None:
        self._pen = pen
        self._held = held
        super().__init__(**kwargs)

    def on_subscribe(
        self, subject: Subject, mode: Mode, action: str, *, counts: bool = True
    ) -> Decision:
        with self._held as now:
            decision = super().on_subscribe(subject, mode, action, counts=counts)
        source = subject.track_source
        self._pen.write(now, "subscribe", counts=counts, source=source, **said(decision))
        return decision


class _Stream(StreamPolicy):
    __slots__ = ("_held", "_pen")

    def __init__(self, pen: _Pen, held: HeldClock, *args: Any, **kwargs: Any) -> None:
        self._pen = pen
        self._held = held
        super().__init__(*args, **kwargs)

    def connected(self, subject: Subject) -> Decision:
        with self._held as now:
            decision = super().connected(subject)
        self._pen.write(now, "connected", **said(decision))
        return decision

    def genuine(self) -> None:
        with self._held as now:
            super().genuine()
        self._pen.write(now, "genuine")


class _Job(JobPolicy):
    def __init__(self, pen: _Pen, held: HeldClock, heard: list[bool], *a: Any, **kw: Any) -> None:
        self._pen = pen
        self._held = held
        self._heard = heard
        self._keys: dict[Hashable, int] = {}
        self._made = 0
        super().__init__(*a, **kw)

    def job_started(self) -> None:
        with self._held as now:
            super().job_started()
        self._pen.write(now, "job_started")

    def job_ended(self) -> None:
        with self._held as now:
            super().job_ended()
        self._pen.write(now, "job_ended")

    def callers(self, room: Hashable, callers: int) -> None:
        with self._held as now:
            super().callers(room, callers)
        self._pen.write(now, "callers", room=self._key(room), callers=callers)

    def left(self, room: Hashable) -> None:
        with self._held as now:
            super().left(room)
        self._pen.write(now, "left", room=self._key(room, last=True))

    def stream_opened(self, stream: Hashable) -> None:
        with self._held as now:
            super().stream_opened(stream)
        self._pen.write(now, "stream_opened", stream=self._key(stream))

    def stream_closed(self, stream: Hashable) -> None:
        with self._held as now:
            super().stream_closed(stream)
        self._pen.write(now, "stream_closed", stream=self._key(stream, last=True))

    def session_started(self, session: Hashable) -> None:
        with self._held as now:
            super().session_started(session)
        self._pen.write(now, "session_started", session=self._key(session))

    def session_closing(self, session: Hashable) -> None:
        with self._held as now:
            super().session_closing(session)
        self._pen.write(now, "session_closing", session=self._key(session))

    def session_closed(self, session: Hashable) -> tuple[float, float] | None:
        with self._held as now:
            found = super().session_closed(session)
        self._pen.write(now, "session_closed", session=self._key(session, last=True))
        return found

    def active(self) -> bool:
        with self._held as now:
            broken = super().active()
        self._pen.write(now, "active")
        return broken

    def ending(self, cause: str) -> None:
        with self._held as now:
            super().ending(cause)
        self._pen.write(now, "ending", cause=cause)

    def check(self) -> list[Trip]:
        with self._held as now:
            trips = super().check()
        if trips or self._heard:
            rest: dict[str, Any] = {"trips": [tripped(trip) for trip in trips]}
            if self._heard:
                rest["listening"] = self._heard[-1]
                self._heard.clear()
            self._pen.write(now, "check", **rest)
        return trips

    def _key(self, thing: Hashable, *, last: bool = False) -> int:
        """A number for what the host's code knows by an address, which is used again."""
        number = self._keys.get(thing)
        if number is None:
            self._made += 1
            number = self._keys[thing] = self._made
        if last:
            del self._keys[thing]
        return number


class TapedPolicies(Policies):
    """Makes policies that write down what they are told.

    Args:
        settings: Frozen settings.
        book: Keeps the lines.
        clock: Monotonic seconds, of what brings no clock of its own.
    """

    def __init__(self, settings: Settings, book: Book, clock: Clock = time.monotonic) -> None:
        super().__init__(settings)
        self._book = book
        self._clock = clock

    def misfire(self, subject: Subject) -> MisfireGuard:
        """See :class:`~runguard_otel.policies.Policies`."""
        pen = _Pen(self._book, "misfire", self._clock(), subject.job_id)
        return self._misfire(subject, partial(_Misfire, pen))

    def reconnect(self, clock: Clock = time.monotonic) -> ReconnectPolicy:
        """See :class:`~runguard_otel.policies.Policies`."""
        pen, held = self._pen("reconnect", clock)
        return self._reconnect(held, partial(_Reconnect, pen, held))

    def subscription(self, clock: Clock = time.monotonic) -> SubscriptionPolicy:
        """See :class:`~runguard_otel.policies.Policies`."""
        pen, held = self._pen("subscription", clock)
        return self._subscription(held, partial(_Subscription, pen, held))

    def stream(self, clock: Clock = time.monotonic) -> StreamPolicy:
        """See :class:`~runguard_otel.policies.Policies`."""
        pen, held = self._pen("stream", clock)
        return self._stream(held, partial(_Stream, pen, held))

    def job(
        self, subject: Subject, listening: Callable[[], bool], clock: Clock = time.monotonic
    ) -> JobPolicy:
        """See :class:`~runguard_otel.policies.Policies`."""
        held, heard = HeldClock(clock), list[bool]()

        def asked() -> bool:
            heard.append(listening())
            return heard[-1]

        with held as now:
            pen = _Pen(self._book, "job", now, subject.job_id)
            return self._job(subject, asked, held, partial(_Job, pen, held, heard))

    def note(self, what: str, /, **facts: AttributeValue) -> None:
        """See :class:`~runguard_otel.policies.Policies`."""
        self._book.put({"t": self._clock(), "e": "note", "what": what, **facts})

    def _pen(self, kind: str, clock: Clock) -> tuple[_Pen, HeldClock]:
        return _Pen(self._book, kind, clock()), HeldClock(clock)
