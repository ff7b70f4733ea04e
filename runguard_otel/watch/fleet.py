"""All rooms of a server: which are known, and which of them has to be looked at next."""

from __future__ import annotations

import heapq
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from math import inf
from typing import NamedTuple

from runguard_otel.core.guards.overrun import JobPolicy
from runguard_otel.core.guards.presence import Change, Dispatch, Limits, Member, RoomPolicy
from runguard_otel.core.verdict import Clock
from runguard_otel.watch import seen as words
from runguard_otel.watch.seen import Seen

__all__ = ["Fleet", "Tell"]

Tell = Callable[["str", Change], None]
"""``tell(room_sid, change)``."""

_MOST_FINISHED = 10_000


class _Known(NamedTuple):
    policy: RoomPolicy
    since: float
    """When it was first heard of (monotonic)."""


class Fleet:
    """Rooms by LiveKit's id of one life of them, bounded: the longest unheard of is forgotten.

    An event costs the same however many rooms there are. Not thread-safe.

    Args:
        limits: What is a loop.
        tell: Told of every change, at once.
        max_rooms: The bound, >= 1.
        clock: Monotonic seconds.
        wall: Unix seconds.
        alone: ``alone(room_sid, name)`` makes the judge of agents alone in a new room; ``None``:
            the room does.
    """

    def __init__(
        self,
        limits: Limits,
        tell: Tell,
        *,
        max_rooms: int = 10_000,
        clock: Clock = time.monotonic,
        wall: Clock = time.time,
        alone: Callable[[str, str], JobPolicy] | None = None,
    ) -> None:
        self._alone = alone
        self._limits = limits
        self._tell = tell
        self._max_rooms = max_rooms
        self._clock = clock
        self._wall = wall
        self._rooms: OrderedDict[str, _Known] = OrderedDict()
        self._finished: OrderedDict[str, None] = OrderedDict()
        self._queue: list[tuple[float, str]] = []
        self._queued: dict[str, float] = {}
        self.forgotten = 0
        """Rooms given up because there were too many."""

    def __len__(self) -> int:
        return len(self._rooms)

    def __contains__(self, sid: str) -> bool:
        return sid in self._rooms

    def __iter__(self) -> Iterator[RoomPolicy]:
        """Every room."""
        return (known.policy for known in self._rooms.values())

    def named(self) -> Iterator[tuple[str, RoomPolicy]]:
        """Every room, with LiveKit's id of this life of it."""
        return ((sid, known.policy) for sid, known in self._rooms.items())

    def room(self, sid: str) -> RoomPolicy | None:
        """One of them."""
        known = self._rooms.get(sid)
        return known.policy if known else None

    # -- what is heard --------------------------------------------------------------------------

    def heard(self, event: Seen) -> None:
        """A webhook: perhaps late, doubled, or ahead of an earlier one."""
        sid = event.room_sid
        if event.kind == words.FINISHED:
            self._finish(sid)
            return
        room = self._open(sid, event.room, event.created)
        if room is None:
            return
        changes: list[Change] = []
        if event.member is not None:
            if event.kind in words.LEFT:
                changes = room.left(event.member)
            elif event.kind == words.JOINED:
                changes = room.joined(event.member)
        if event.track and event.member is not None:
            changes += room.published(event.member.identity, event.track, event.at)
        self._told(sid, room, changes)

    def rooms_are(self, sids: Iterable[str], asked: float) -> None:
        """The server was asked for its rooms; the others have ended.

        Args:
            sids: The rooms there are.
            asked: When it was asked (monotonic): later rooms may be missing.
        """
        there = set(sids)
        for sid, known in list(self._rooms.items()):
            if sid not in there and known.since < asked:
                self._finish(sid)

    def ended(self, sid: str) -> None:
        """That life of a room is over."""
        self._finish(sid)

    def listed(
        self,
        sid: str,
        name: str,
        created: float,
        members: Iterable[Member],
        asked: float,
        dispatches: Iterable[Dispatch] | None = None,
    ) -> None:
        """The server was asked about one room; what lasts too long by then is a loop.

        Args:
            sid: LiveKit's id of this life of the room.
            name: Its name.
            created: When it was opened; 0 if not known.
            members: Who is there.
            asked: When it was asked (monotonic).
            dispatches: What was dispatched to it; ``None`` if that is not known.
        """
        room = self._open(sid, name, created)
        if room is not None:
            changes = room.listed(members, asked, dispatches)
            self._told(sid, room, changes + room.check())

    # -- what is next ---------------------------------------------------------------------------

    @property
    def next_at(self) -> float:
        """When :meth:`due` has something to say (monotonic)."""
        return self._queue[0][0] if self._queue else inf

    def due(self) -> list[tuple[str, RoomPolicy]]:
        """The rooms that have to be asked for, because a state of theirs has lasted its time.

        Who cannot ask for one of them calls :meth:`again` with it.
        """
        now = self._clock()
        found: list[tuple[str, RoomPolicy]] = []
        while self._queue and self._queue[0][0] <= now:
            at, sid = heapq.heappop(self._queue)
            if self._queued.get(sid) != at:
                continue
            del self._queued[sid]
            room = self.room(sid)
            if room is None:
                continue
            for change in room.quieten():
                self._tell(sid, change)
            if room.due <= now:
                found.append((sid, room))
            else:
                self._queue_up(sid, room)
        return found

    def again(self, sid: str, seconds: float) -> None:
        """The server did not answer: ask for that room once more, later."""
        if sid in self._rooms:
            self._push(sid, self._clock() + seconds)

    # -- inside ---------------------------------------------------------------------------------

    def _open(self, sid: str, name: str, created: float) -> RoomPolicy | None:
        known = self._rooms.get(sid)
        if known is not None:
            self._rooms.move_to_end(sid)
            return known.policy
        if sid in self._finished:
            return None  # told late
        age = max(self._wall() - created, 0.0) if created else 0.0
        alone = self._alone(sid, name) if self._alone is not None else None
        room = RoomPolicy(name, self._limits, age=age, clock=self._clock, alone=alone)
        self._rooms[sid] = _Known(room, self._clock())
        if len(self._rooms) > self._max_rooms:
            self.forgotten += 1
            self._drop(next(iter(self._rooms)))
        return room

    def _finish(self, sid: str) -> None:
        self._finished[sid] = None
        if len(self._finished) > _MOST_FINISHED:
            self._finished.popitem(last=False)
        self._drop(sid)

    def _drop(self, sid: str) -> None:
        known = self._rooms.pop(sid, None)
        self._queued.pop(sid, None)
        if known is not None:
            for change in known.policy.finished():
                self._tell(sid, change)

    def _told(self, sid: str, room: RoomPolicy, changes: list[Change]) -> None:
        for change in changes:
            self._tell(sid, change)
        self._queue_up(sid, room)

    def _queue_up(self, sid: str, room: RoomPolicy) -> None:
        at = min(room.due, room.quiet_at)
        if at < self._queued.get(sid, inf):
            self._push(sid, at)

    def _push(self, sid: str, at: float) -> None:
        self._queued[sid] = at
        heapq.heappush(self._queue, (at, sid))
