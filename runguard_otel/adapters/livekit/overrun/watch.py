"""One job under watch, and the thread that wakes when something is due.

A thread and not the job's loop: what hangs may be the loop. It sleeps until the earliest moment at
which something will have lasted too long, so a healthy call costs nothing.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any, TypeVar

from runguard_otel.adapters.livekit.facts.room import hears_caller
from runguard_otel.adapters.livekit.facts.turn import may_answer
from runguard_otel.adapters.livekit.overrun import remedies
from runguard_otel.adapters.livekit.services import Services
from runguard_otel.adapters.safety import shield
from runguard_otel.core.guards.overrun import AGENT_ALONE, CLOSE_HUNG, JobPolicy
from runguard_otel.core.ports import Lasting, Recorder
from runguard_otel.core.signatures import GuardName
from runguard_otel.core.verdict import Clock, Outcome, Subject, Trip, Verdict

__all__ = ["JobWatch", "Watchdog"]

GUARD = GuardName.SESSION_OVERRUN
WHERE = "session_overrun"
LONGEST_SLEEP = 3600.0

T = TypeVar("T")


class Watchdog:
    """A daemon thread that checks jobs when something of theirs is due, and ends with the last.

    Args:
        recorder: Gets what fails.
        clock: Monotonic seconds.
    """

    def __init__(self, recorder: Recorder, clock: Clock = time.monotonic) -> None:
        self._recorder = recorder
        self.clock = clock
        self._changed = threading.Condition()
        self._watched: set[JobWatch] = set()
        self._thread: threading.Thread | None = None
        self._wake_at = float("inf")
        self._closed = False

    def watch(self, job: JobWatch, due: float) -> None:
        """Something of ``job`` is due at ``due``; infinity: nothing is."""
        with self._changed:
            if due == float("inf") or self._closed:
                self._watched.discard(job)
                return
            self._watched.add(job)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="runguard-overrun")
                self._thread.daemon = True
                self._thread.start()
            elif due < self._wake_at:
                self._changed.notify()

    def step(self) -> float:
        """Check what is due, and say when something is due next."""
        for job in list(self._watched):
            with shield(self._recorder, WHERE):
                job.check()
        with self._changed:
            return min((job.due for job in self._watched), default=float("inf"))

    def close(self) -> None:
        """Watch nothing any more."""
        with self._changed:
            self._closed = True
            self._watched.clear()
            self._changed.notify()

    def _run(self) -> None:
        while True:
            due = self.step()
            with self._changed:
                if not self._watched:
                    self._thread = None
                    return
                due = min(due, min(job.due for job in self._watched))
                self._wake_at = due
                self._changed.wait(min(max(0.0, due - self.clock()), LONGEST_SLEEP))
                self._wake_at = float("inf")


class JobWatch:
    """One job, or a script: its policy, and what can be done about it.

    Args:
        services: Settings and recorder.
        watchdog: Checks it when something is due.
        subject: Which job.
    """

    def __init__(self, services: Services, watchdog: Watchdog, subject: Subject) -> None:
        self.services = services
        self.job_id = subject.job_id
        self.lost = False
        """Whether the last caller was lost, and did not hang up."""
        self.ctx: Any = None
        self.loop: asyncio.AbstractEventLoop | None = None
        self.rooms: weakref.WeakSet[Any] = weakref.WeakSet()
        self.sessions: weakref.WeakSet[Any] = weakref.WeakSet()
        self.streams: weakref.WeakSet[Any] = weakref.WeakSet()
        self._watchdog = watchdog
        self._recorder = services.recorder
        self._mode = services.mode(GUARD)
        self._context = contextvars.copy_context()
        self._lock = threading.Lock()
        self._shown: dict[int, Lasting] = {}
        self._counted_alone = False
        self._open: dict[str, int] = {}
        self.policy = services.policies.job(subject, self._listening, watchdog.clock)

    @property
    def due(self) -> float:
        """See :class:`JobPolicy`."""
        return self.policy.due

    def belongs_to(self, ctx: Any) -> None:
        """The ``JobContext`` to shut down."""
        self.ctx = ctx

    def remember(self, room: Any) -> None:
        """A room this job is connected to; trips are reported in the context of the last one."""
        self.loop = asyncio.get_running_loop()
        self._context = contextvars.copy_context()
        self.rooms.add(room)
        subject = self.policy.subject
        if not subject.room:
            self.policy.subject = subject._replace(room=str(room.name or ""))

    # -- facts ----------------------------------------------------------------------------------

    def tell(self, fact: Callable[[JobPolicy], T]) -> T:
        """Tell the policy one fact, and telemetry what follows from it."""
        with self._lock:
            result = fact(self.policy)
        self._follow()
        return result

    def active(self) -> None:
        """Tell it of a sign of life: every turn has one, and nearly always nothing follows."""
        with self._lock:
            follows = self.policy.active()
        if follows:
            self._follow()

    def _follow(self) -> None:
        with self._lock:
            alone, opened, due = self.policy.alone, self.policy.open, self.policy.due
            alone_changed = alone is not self._counted_alone
            self._counted_alone = alone
            closed = {s: n - opened.get(s, 0) for s, n in self._open.items()}
            self._open = {s: n for s, n in opened.items() if s in self._open}
        if alone_changed:
            self._recorder.add("runguard.jobs.alone", 1 if alone else -1)
        for signature, number in closed.items():
            for _ in range(number):
                self._context.copy().run(self._recorder.guard_closed, GUARD, signature, self._mode)
        self._watchdog.watch(self, due)

    def left(self, room: Any) -> None:
        """A connection is over."""
        self.rooms.discard(room)
        self.tell(lambda policy: policy.left(id(room)))

    def ending(self, cause: str) -> None:
        """The job was asked to end."""
        with shield(self._recorder, WHERE):
            if self.lost:
                self.services.ends.setdefault(self.job_id, "caller_lost")
            self.tell(lambda policy: policy.ending(cause))

    def over(self) -> None:
        """The job is over."""
        self.tell(lambda policy: policy.job_ended())

    def session_started(self, session: Any) -> None:
        """A session talks to callers from now on."""
        self.loop = asyncio.get_running_loop()
        self.sessions.add(session)
        lifecycle = self.services.lifecycle
        shown = lifecycle.begin_period("session", {}) if lifecycle is not None else None
        if shown is not None:
            self._shown[id(session)] = shown
        self.tell(lambda policy: policy.session_started(id(session)))

    def session_closed(self, session: Any) -> None:
        """It is over: how long was it, and how long did nothing happen in it?"""
        self.sessions.discard(session)
        shown = self._shown.pop(id(session), None)
        if shown is not None:
            shown.end()
        found = self.tell(lambda policy: policy.session_closed(id(session)))
        if found is not None:
            lasted, idle = found
            self._recorder.observe("runguard.session.duration", lasted)
            self._recorder.observe("runguard.session.idle", idle)

    def close(self) -> None:
        """Nothing is guarded any more: count everything as closed."""
        self.over()

    # -- what follows ---------------------------------------------------------------------------

    def check(self) -> None:
        """Report what has lasted too long; in enforce, end it. Runs in the watchdog's thread."""
        with self._lock:
            trips = self.policy.check()
            for trip in trips:
                self._open[trip.signature] = self._open.get(trip.signature, 0) + 1
            due = self.policy.due
        self._watchdog.watch(self, due)
        for trip in trips:
            self._context.copy().run(self._report, trip)
        if self.services.enforcing(GUARD):
            for trip in trips:
                with shield(self._recorder, WHERE):
                    remedies.carry_out(self, trip.signature)

    def _report(self, trip: Trip) -> None:
        with shield(self._recorder, WHERE):
            if trip.signature == AGENT_ALONE:
                self.services.ends[self.job_id] = "alone"
            elif trip.signature == CLOSE_HUNG and self.policy.to_end:
                self.services.ends[self.job_id] = "hung"
            outcome = Outcome.of(Verdict.REFUSE, trip.mode)
            self._recorder.event(trip.signature, outcome, trip.subject)
            self._recorder.guard_opened(GUARD, trip.signature, trip.mode)
            self._recorder.trip(trip)

    def _listening(self) -> bool:
        """Whether a caller could be heard at this moment, and would be answered."""
        return any(may_answer(session) for session in list(self.sessions)) and any(
            hears_caller(room) for room in list(self.rooms)
        )
