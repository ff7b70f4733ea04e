"""Room reconnects: wraps ``rtc.Room.connect``, which only applications call.

The SDK's own retries and resumes happen in its native library and never pass here, so every call
is a decision of the application. One Room object per attempt is the usual loop, hence state per
key (server, room, own identity) for the whole process instead of per object.
"""

from __future__ import annotations

import asyncio
import threading
import time
import weakref
from dataclasses import dataclass
from typing import Any

from livekit import rtc

from runguard_otel.adapters.agents_v1.context import current_job
from runguard_otel.adapters.agents_v1.open_periods import OpenPeriods
from runguard_otel.adapters.agents_v1.rehearsal import is_rehearsal
from runguard_otel.adapters.agents_v1.room_events import Connection
from runguard_otel.adapters.agents_v1.room_key import RoomKey, reason_name, room_key
from runguard_otel.adapters.agents_v1.services import Services
from runguard_otel.adapters.patching import Patch
from runguard_otel.adapters.safety import shield
from runguard_otel.core.guards.reconnect import ReconnectPolicy
from runguard_otel.core.keyed import BoundedMap
from runguard_otel.core.signatures import GuardName
from runguard_otel.core.verdict import Mode, Outcome, Subject, Trip, Verdict
from runguard_otel.errors import LoopDetectedError

__all__ = ["ReconnectLoopError", "patches"]

GUARD = GuardName.ROOM_RECONNECT
_EVENTS = frozenset({"reconnecting", "reconnected", "disconnected"})


class ReconnectLoopError(LoopDetectedError, rtc.ConnectError):
    """A connect that was refused because the application reconnects in a loop.

    An ``except rtc.ConnectError`` written for a failed connect catches it, too.
    """


@dataclass
class _Attempt:
    key: RoomKey | None
    refusal: ReconnectLoopError | None = None


class _RoomGuard:
    """Asks the policy, and does what it says."""

    def __init__(self, services: Services) -> None:
        settings = services.settings
        self._services = services
        self._recorder = services.recorder
        self._mode = services.mode(GUARD)
        self._lock = threading.Lock()
        self._policies: BoundedMap[RoomKey, ReconnectPolicy] = BoundedMap(
            lambda _: ReconnectPolicy(
                limit=settings.room_reconnect_limit,
                window_seconds=settings.room_reconnect_window_seconds,
            ),
            settings.max_keys,
        )
        self._keys: weakref.WeakKeyDictionary[rtc.Room, RoomKey] = weakref.WeakKeyDictionary()
        self._connections: weakref.WeakKeyDictionary[rtc.Room, Connection] = (
            weakref.WeakKeyDictionary()
        )
        self._ending: weakref.WeakSet[Any] = weakref.WeakSet()
        self._deleting: set[asyncio.Future[Any]] = set()
        self._periods = OpenPeriods(services.recorder, str(GUARD))
        services.on_close.append(self._periods.close)

    def begin(self, room: rtc.Room, url: str, token: str) -> _Attempt | None:
        """The application connects ``room``; ``None`` where nothing is guarded (fake jobs)."""
        job = current_job()
        if is_rehearsal(job):
            return None
        self._periods.sweep()
        key = room_key(url, token)
        if key is None or self._mode is Mode.OFF:
            return _Attempt(key)
        own = job is not None and getattr(job, "room", None) is room
        subject = Subject(room=key.room, job_id=_job_id(job))
        with self._lock:
            self._keys[room] = key
            policy = self._policies.get(key)
            decision = policy.on_connect(subject, self._mode, self._action(job, own))
            trip, reason = policy.trip, policy.reason
        if not decision.signature:
            return _Attempt(key)
        self._recorder.event(
            decision.signature,
            Outcome.of(decision.verdict, self._mode),
            subject,
            attributes={"runguard.reason": reason},
        )
        if decision.trip is not None:
            self._periods.opened(lambda: self._quiet_left(policy))
            self._recorder.trip(decision.trip)
        if decision.verdict is not Verdict.REFUSE or self._mode is not Mode.ENFORCE:
            return _Attempt(key)
        self._recorder.add("runguard.room.connects", connect="refused")
        return _Attempt(key, self._refuse(job, own, key, trip, first=decision.trip is not None))

    def ended(self, attempt: _Attempt, *, ok: bool) -> None:
        """An attempt that was let through is over."""
        self._recorder.add("runguard.room.connects", connect="ok" if ok else "failed")
        if not ok and attempt.key is not None:
            self._left(attempt.key, "join_failure")

    def observe(self, room: rtc.Room, event: str, args: tuple[Any, ...]) -> None:
        """``Room`` emits one of ``_EVENTS``."""
        with self._lock:
            connection = self._connections.get(room)
            if connection is None:
                connection = self._connections[room] = Connection(self._recorder)
            key = self._keys.get(room)
        if event == "reconnecting":
            connection.reconnecting()
        elif event == "reconnected":
            connection.reconnected()
        else:
            reason = reason_name(args[0]) if args else "unknown"
            connection.disconnected(reason)
            if key is not None:
                self._left(key, reason)

    def _left(self, key: RoomKey, reason: str) -> None:
        with self._lock:
            policy = self._policies.peek(key)
            if policy is not None:
                policy.on_disconnect(reason)

    def _quiet_left(self, policy: ReconnectPolicy) -> float:
        with self._lock:
            return policy.quiet_left

    def _action(self, job: Any | None, own: bool) -> str:
        if job is not None and self._services.settings.room_reconnect_delete_room:
            return "delete_room"
        return "shutdown_job" if own else "refuse_connect"

    def _refuse(
        self, job: Any | None, own: bool, key: RoomKey, trip: Trip | None, *, first: bool
    ) -> ReconnectLoopError:
        """The error to raise; a job whose own room it is has nothing left to do."""
        if job is not None:
            if first and self._services.settings.room_reconnect_delete_room:
                with shield(self._recorder, "JobContext.delete_room"):
                    self._delete_room(job, key.room)
            if own and job not in self._ending:
                self._ending.add(job)
                with shield(self._recorder, "JobContext.shutdown"):
                    job.shutdown(reason="runguard: room reconnect loop")
        explained = trip.explain() if trip is not None else "the guard is open"
        return ReconnectLoopError(f"connect refused, no request was made: {explained}", trip=trip)

    def _delete_room(self, job: Any, name: str) -> None:
        if hasattr(job, "delete_room"):
            job.delete_room(name)
            return
        from livekit import api  # 0.12 leaves this to the server's API

        request = job.api.room.delete_room(api.DeleteRoomRequest(room=name))
        deleting = asyncio.ensure_future(request)
        self._deleting.add(deleting)
        deleting.add_done_callback(self._deleting.discard)


def patches(services: Services) -> list[Patch]:
    """What this module touches in the host."""
    guard = _RoomGuard(services)
    recorder = services.recorder

    async def connect(
        wrapped: Any, room: rtc.Room, args: tuple[Any, ...], kw: dict[str, Any]
    ) -> Any:
        attempt: _Attempt | None = None
        started = time.perf_counter()
        with shield(recorder, "Room.connect"):
            url = args[0] if args else kw["url"]
            attempt = guard.begin(room, url, args[1] if len(args) > 1 else kw["token"])
            recorder.observe(
                "runguard.guard.duration", time.perf_counter() - started, guard=GUARD.value
            )
        if attempt is None:
            return await wrapped(*args, **kw)
        if attempt.refusal is not None:
            raise attempt.refusal
        ok = False
        try:
            result = await wrapped(*args, **kw)
            ok = True
        finally:
            with shield(recorder, "Room.connect"):
                guard.ended(attempt, ok=ok)
        return result

    def emit(wrapped: Any, room: rtc.Room, args: tuple[Any, ...], kw: dict[str, Any]) -> Any:
        if args and args[0] in _EVENTS:
            with shield(recorder, "Room.emit"):
                guard.observe(room, args[0], args[1:])
        return wrapped(*args, **kw)

    return [
        Patch(rtc.Room, "connect", connect, GUARD, "only applications call it: counts reconnects"),
        Patch(
            rtc.Room, "emit", emit, GUARD, "outages of the SDK and why a room was left; observes"
        ),
    ]


def _job_id(job: Any | None) -> str:
    return str(getattr(getattr(job, "job", None), "id", "") or "")
