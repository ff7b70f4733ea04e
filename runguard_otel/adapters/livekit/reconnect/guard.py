"""Is the application connecting to a room in a loop? Asks the policy, and does what it says.

The SDK's own retries and resumes happen in its native library, so every ``Room.connect`` is a
decision of the application. One Room object per attempt is the usual loop, hence state per key
(server, room, own identity) for the whole process instead of per object.
"""

from __future__ import annotations

import asyncio
import threading
import time
import weakref
from dataclasses import dataclass
from typing import Any

from livekit import rtc

from runguard_otel.adapters.livekit.facts.job import (
    current_job,
    id_in,
    is_fake_job,
    room_deletion,
)
from runguard_otel.adapters.livekit.facts.room import RoomKey, reason_name, room_key
from runguard_otel.adapters.livekit.open_periods import OpenPeriods
from runguard_otel.adapters.livekit.reconnect.outages import Connection
from runguard_otel.adapters.livekit.services import Services
from runguard_otel.adapters.safety import shield
from runguard_otel.core.guards.reconnect import ReconnectPolicy
from runguard_otel.core.keyed import BoundedMap
from runguard_otel.core.signatures import ROOM_REDIAL, GuardName
from runguard_otel.core.verdict import Mode, Outcome, Subject, Trip, Verdict
from runguard_otel.errors import ReconnectLoopError

__all__ = ["GUARD", "RoomGuard"]

GUARD = GuardName.ROOM_RECONNECT
_EVENTS = frozenset({"reconnecting", "reconnected", "disconnected"})


@dataclass(eq=False)
class _Link:
    """One connection of a ``Room``, from the attempt on.

    Args:
        key: Which.
        number: Counts the connections of the key.
        ended: Whether ``disconnected`` has been said.
        leaving: Whether the application ends it by itself.
        deleting: Whether the application has asked the server to delete its room.
    """

    key: RoomKey
    number: int
    ended: bool = False
    leaving: bool = False
    deleting: bool = False


@dataclass
class _Attempt:
    link: _Link | None
    refusal: ReconnectLoopError | None = None


@dataclass
class _Key:
    """What is known of a key: the policy, and how many connections there were."""

    policy: ReconnectPolicy
    connections: int = 0


class RoomGuard:
    """Counts reconnects per key and refuses the connects of a loop.

    Args:
        services: Settings, the recorder, and where to leave what ``uninstrument()`` must end.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self._recorder = services.recorder
        self._mode = services.mode(GUARD)
        self._lock = threading.Lock()
        self._known: BoundedMap[RoomKey, _Key] = BoundedMap(
            lambda _: _Key(services.policies.reconnect()), services.settings.max_keys
        )
        self._links: weakref.WeakKeyDictionary[rtc.Room, _Link] = weakref.WeakKeyDictionary()
        self._connections: weakref.WeakKeyDictionary[rtc.Room, Connection] = (
            weakref.WeakKeyDictionary()
        )
        self._ending: weakref.WeakSet[Any] = weakref.WeakSet()
        self._deleting: set[asyncio.Future[Any]] = set()
        self._periods = OpenPeriods(services.recorder)
        services.on_close.append(self._periods.close)

    async def connect(
        self, wrapped: Any, room: rtc.Room, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """``Room.connect(url, token, options)``: refused, or counted when it is over.

        Raises:
            ReconnectLoopError: If it is one of a loop, before anything is sent.
        """
        attempt: _Attempt | None = None
        started = time.perf_counter()
        with shield(self._recorder, "Room.connect"):
            url = args[0] if args else kwargs["url"]
            attempt = self.begin(room, url, args[1] if len(args) > 1 else kwargs["token"])
            self._recorder.observe(
                "runguard.guard.duration", time.perf_counter() - started, guard=GUARD.value
            )
        if attempt is None:
            return await wrapped(*args, **kwargs)
        if attempt.refusal is not None:
            raise attempt.refusal
        ok = False
        try:
            result = await wrapped(*args, **kwargs)
            ok = True
        finally:
            with shield(self._recorder, "Room.connect"):
                self.ended(attempt, ok=ok)
        return result

    def begin(self, room: rtc.Room, url: str, token: str) -> _Attempt | None:
        """The application connects ``room``; ``None`` where nothing is guarded (fake jobs)."""
        job = current_job()
        if is_fake_job(job):
            return None
        self._periods.sweep()
        if self._mode is Mode.OFF:
            return _Attempt(None)
        key = room_key(url, token)
        own = job is not None and getattr(job, "room", None) is room
        subject = Subject(room=key.room, job_id=id_in(job))
        with self._lock:
            known = self._known.get(key)
            policy = known.policy
            decision = policy.on_connect(subject, self._mode, self._action(job, own))
            trip, reason = policy.trip, policy.reason
            refused = decision.verdict is Verdict.REFUSE and self._mode is Mode.ENFORCE
            if not refused:
                known.connections += 1
                link = self._links[room] = _Link(key, known.connections)
        if not decision.signature:
            return _Attempt(link)
        wanted = decision.signature == ROOM_REDIAL and not decision.open
        self._recorder.event(
            decision.signature,
            Outcome.OBSERVED if wanted else Outcome.of(decision.verdict, self._mode),
            subject,
            attributes={"runguard.reason": reason},
        )
        if decision.trip is not None:
            self._periods.opened(decision.trip, lambda: self._quiet_left(policy))
            self._recorder.trip(decision.trip)
        if not refused:
            return _Attempt(link)
        self._recorder.add("runguard.room.connects", connect="refused")
        return _Attempt(None, self._refuse(job, own, key, trip, first=decision.trip is not None))

    def ended(self, attempt: _Attempt, *, ok: bool) -> None:
        """An attempt that was let through is over."""
        self._recorder.add("runguard.room.connects", connect="ok" if ok else "failed")
        if not ok and attempt.link is not None:
            self._over(attempt.link, "join_failure")

    def leaves(self, room: rtc.Room, *_: Any, **__: Any) -> None:
        """``Room.disconnect()``: the application's own end, unless there is nothing left to end.

        What LiveKit does at the end of a job is one as well: that connection was not lost.
        """
        with self._lock:
            link = self._links.get(room)
            if link is None or link.ended or not room.isconnected():
                return
            link.leaving = True
            known = self._known.peek(link.key)
            if known is not None and known.connections == link.number:
                known.policy.on_leave()

    def deletes(self, _: Any, delete: Any, *__: Any, **___: Any) -> None:
        """``RoomService.delete_room(request)``: so may an application end its connection, too."""
        with self._lock:
            for link in self._links.values():
                if link.key.room == delete.room:
                    link.deleting = True

    def event(self, room: rtc.Room, event: str, *args: Any, **_: Any) -> None:
        """``Room.emit``: what it says about its connection."""
        if event not in _EVENTS:
            return
        with self._lock:
            connection = self._connections.get(room)
            if connection is None:
                connection = self._connections[room] = Connection(self._recorder)
            link = self._links.get(room)
        if event == "reconnecting":
            connection.reconnecting()
        elif event == "reconnected":
            connection.reconnected()
        else:
            reason = reason_name(args[0]) if args else "unknown"
            if link is not None and link.leaving and reason == "unknown":
                reason = "client_initiated"  # the native layer does not always know
            connection.disconnected(reason)
            if link is not None:
                self._over(link, reason)

    def _over(self, link: _Link, reason: str) -> None:
        """A connection is over. What happened to one that has a successor changes nothing."""
        wanted = (
            reason == "client_initiated"
            or (link.leaving and reason != "duplicate_identity")
            or (link.deleting and reason == "room_deleted")
        )
        with self._lock:
            link.ended = True
            known = self._known.peek(link.key)
            if known is None or known.connections != link.number:
                return
            if wanted:
                known.policy.on_leave()
            else:
                known.policy.on_disconnect(reason)

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
                deleting = asyncio.ensure_future(self._delete_room(job, key.room))
                self._deleting.add(deleting)
                deleting.add_done_callback(self._deleting.discard)
            if own and job not in self._ending:
                self._ending.add(job)
                with shield(self._recorder, "JobContext.shutdown"):
                    job.shutdown(reason="runguard: room reconnect loop")
        explained = trip.explain() if trip is not None else "the guard is open"
        return ReconnectLoopError(f"connect refused, no request was made: {explained}", trip=trip)

    async def _delete_room(self, job: Any, name: str) -> None:
        with shield(self._recorder, "RoomService.delete_room"):
            await room_deletion(job, name)
