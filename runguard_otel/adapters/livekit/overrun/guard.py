"""What happens to jobs, told to their policies."""

from __future__ import annotations

import time
import weakref
from contextvars import ContextVar
from typing import Any, Final

from runguard_otel.adapters.hooks import Failed, Hook
from runguard_otel.adapters.livekit.facts import job as host
from runguard_otel.adapters.livekit.facts.room import callers, left_unwillingly
from runguard_otel.adapters.livekit.overrun.watch import JobWatch, Watchdog
from runguard_otel.adapters.livekit.services import Services
from runguard_otel.adapters.notes import forget, note, noted
from runguard_otel.adapters.safety import shield
from runguard_otel.core.keyed import BoundedMap
from runguard_otel.core.verdict import Clock, Subject

__all__ = ["OverrunGuard"]

_WHO: frozenset[str] = frozenset(
    {"participant_connected", "participant_disconnected", "participant_attributes_changed"}
)

_WATCH: Final = "_runguard_watch"
"""Set on a session that has started: the :class:`JobWatch` of its job."""

_unasked: ContextVar[list[bool] | None] = ContextVar("runguard_unasked", default=None)
"""Not empty while a silence is what asks for a reply."""


class OverrunGuard:
    """The hooks of rooms, jobs and sessions.

    Args:
        services: Settings and recorder.
        clock: Monotonic seconds.
    """

    def __init__(self, services: Services, clock: Clock = time.monotonic) -> None:
        self._services = services
        self.watchdog = Watchdog(services.recorder, clock)
        self._jobs: BoundedMap[str, JobWatch] = BoundedMap(self._make, 10_000)
        self._rooms: weakref.WeakKeyDictionary[Any, JobWatch] = weakref.WeakKeyDictionary()
        services.signs_of_life.append(self._genuine)
        services.on_close.append(self.close)

    def close(self) -> None:
        """Nothing is guarded any more."""
        self.watchdog.close()
        for watch in self._jobs:
            watch.close()

    def current(self) -> JobWatch | None:
        """The watch of the running job, or of this script; ``None`` in a rehearsal."""
        ctx = host.current_job()
        if ctx is not None and host.is_fake_job(ctx):
            return None
        watch = self._jobs.get(host.id_in(ctx))
        if ctx is not None:
            watch.belongs_to(ctx)
        return watch

    # -- rooms ----------------------------------------------------------------------------------

    def joined(self, room: Any, *_: Any, **__: Any) -> None:
        """``Room.connect`` has returned."""
        watch = self.current()
        if watch is None:
            return
        watch.remember(room)
        self._rooms[room] = watch
        self._count(watch, room)

    def room_event(self, room: Any, event: str, *args: Any, **__: Any) -> None:
        """``Room.emit``: who comes, who goes, keys that a caller presses."""
        watch = self._rooms.get(room)
        if watch is None:
            return
        if event == "disconnected":
            self._rooms.pop(room, None)
            watch.left(room)
        elif event == "sip_dtmf_received":
            watch.active()
        elif event in _WHO:
            if event == "participant_disconnected" and args and not callers(room):
                watch.lost = left_unwillingly(args[0])
            self._count(watch, room)

    def _count(self, watch: JobWatch, room: Any) -> None:
        found = len(callers(room))
        if found:
            watch.lost = False
        watch.tell(lambda policy: policy.callers(id(room), found))

    # -- jobs -----------------------------------------------------------------------------------

    async def run_job(self, wrapped: Any, job_proc: Any, args: Any, kwargs: Any) -> Any:
        """``_JobProc._run_job_task``: until it returns there is a process to end."""
        watch: JobWatch | None = None
        with shield(self._services.recorder, "_JobProc._run_job_task"):
            ctx = host.context_of(job_proc)
            if ctx is not None and not host.is_fake_job(ctx):
                watch = self._jobs.get(host.job_id(job_proc))
                watch.belongs_to(ctx)
                watch.tell(lambda policy: policy.job_started())
                host.when_asked_to_end(job_proc, watch.ending)
        try:
            return await wrapped(*args, **kwargs)
        finally:
            if watch is not None:
                with shield(self._services.recorder, "_JobProc._run_job_task"):
                    watch.over()
                    self._jobs.pop(watch.job_id)

    def _make(self, job_id: str) -> JobWatch:
        return JobWatch(self._services, self.watchdog, Subject(job_id=job_id))

    # -- sessions -------------------------------------------------------------------------------

    def session_started(self, session: Any, *_: Any, **__: Any) -> None:
        """``AgentSession.start`` has returned."""
        watch = self.current()
        if watch is not None:
            note(session, _WATCH, watch)
            watch.session_started(session)

    async def closing(self, wrapped: Any, session: Any, args: Any, kwargs: Any) -> Any:
        """``AgentSession._aclose_impl``, where all ends of a session meet."""
        watch: JobWatch | None = noted(session, _WATCH)
        if watch is not None:
            with shield(self._services.recorder, "AgentSession.aclose"):
                watch.tell(lambda policy: policy.session_closing(id(session)))
        try:
            return await wrapped(*args, **kwargs)
        finally:
            if watch is not None:
                with shield(self._services.recorder, "AgentSession.aclose"):
                    forget(session, _WATCH)
                    watch.session_closed(session)

    def asking(self, original: Hook, live: list[bool], failed: Failed) -> Hook:
        """``AgentSession.say`` and ``generate_reply``: also what a typed text ends in.

        Written out, for every typed turn has it.
        """

        def asked(session: Any, *args: Any, **kwargs: Any) -> Any:
            if live:
                try:
                    try:
                        watch = session._runguard_watch
                    except AttributeError:
                        watch = None
                    if watch is not None and not _unasked.get():
                        watch.active()
                except Exception:  # noqa: BLE001 - the contract that hooks.written leaves to it
                    failed(original.__qualname__)
            return original(session, *args, **kwargs)

        return asked

    async def silence_asks(self, wrapped: Any, _: Any, args: Any, kwargs: Any) -> Any:
        """``IVRActivity._on_silence_detected``: what it asks for, nobody has asked for."""
        now = [True]
        token = _unasked.set(now)
        try:
            return await wrapped(*args, **kwargs)
        finally:
            now.clear()  # what was started meanwhile keeps this context for as long as it lives
            _unasked.reset(token)

    def _genuine(self, session: Any) -> None:
        watch = noted(session, _WATCH) or self.current()
        if watch is not None:
            watch.active()
