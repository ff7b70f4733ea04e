"""``watch --act``: the few things it may do about a loop, and how it makes sure.

A duplicate that came later is removed, never the agent that serves; a room with agents only is
deleted. Each is done once per loop, to a room that is asked for at that moment and is still as it
was judged, not more often than so many times a minute, and said in one line of the audit log.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Final

from runguard_otel.core.guards.overrun import AGENT_ALONE
from runguard_otel.core.guards.presence import Change, Member, Role
from runguard_otel.core.signatures import DUPLICATE
from runguard_otel.core.verdict import Clock
from runguard_otel.core.window import SlidingWindow
from runguard_otel.watch.fleet import Fleet
from runguard_otel.watch.reporting import Reporter
from runguard_otel.watch.server import Server, ServerError

__all__ = ["ACTS", "Acting"]

logger = logging.getLogger("runguard_otel.watch.audit")

ACTS: Final = {DUPLICATE: "remove_agent", AGENT_ALONE: "delete_room"}
"""What is done about a signature."""
_MOST_WAITING = 1000


@dataclass(frozen=True)
class _Order:
    sid: str
    room: str
    signature: str
    agent: str


class Acting:
    """Does what ``ACTS`` says.

    Args:
        reporter: Told what became of each intervention.
        dry_run: Only say what would be done.
        per_minute: How many at most, all rooms together.
        clock: Monotonic seconds.
        may_for: For how many seconds this watcher is surely the only one that acts; 0: it is not.
    """

    def __init__(
        self,
        reporter: Reporter,
        *,
        dry_run: bool,
        per_minute: int = 10,
        clock: Clock = time.monotonic,
        may_for: Callable[[], float] = lambda: inf,
    ) -> None:
        self.may_for = may_for
        self._reporter = reporter
        self._dry_run = dry_run
        self._per_minute = per_minute
        self._clock = clock
        self._done = SlidingWindow(60, capacity=per_minute)
        self._orders: asyncio.Queue[_Order] = asyncio.Queue(_MOST_WAITING)

    def consider(self, sid: str, change: Change) -> None:
        """A loop was found in the room of that sid; returns at once."""
        if change.trip is None or change.signature not in ACTS:
            return
        order = _Order(sid, change.subject.room, change.signature, change.agent)
        try:
            self._orders.put_nowait(order)
        except asyncio.QueueFull:
            self._became(order, "limited", "")

    async def run(self, server: Server, fleet: Fleet) -> None:
        """Act until cancelled."""
        while True:
            await self.act(server, fleet, await self._orders.get())

    async def act(self, server: Server, fleet: Fleet, order: _Order) -> None:
        """One order, if it still holds."""
        if self._done.count(self._clock()) >= self._per_minute:
            self._became(order, "limited", "")
            return
        try:
            who = await self._still_so(server, fleet, order)
            if who is None:
                self._became(order, "changed", "")
                return
            seconds = self.may_for()
            if seconds <= 0:
                self._became(order, "not_ours", "")
                return
            self._done.hit(self._clock())
            if self._dry_run:
                self._became(order, "dry_run", who)
                return
            doing = (
                server.remove(order.room, who)
                if order.signature == DUPLICATE
                else server.delete(order.room)
            )
            await asyncio.wait_for(doing, None if seconds == inf else seconds)
            self._became(order, "done", who)
        except asyncio.TimeoutError:
            self._became(order, "failed", "the lease of this watcher ran out")
        except ServerError as error:
            self._became(order, "failed", str(error))

    async def _still_so(self, server: Server, fleet: Fleet, order: _Order) -> str | None:
        """Ask once more: whom it concerns, ``""`` for the room; ``None`` if the room changed."""
        judged = fleet.room(order.sid)
        if judged is None:
            return None
        before = {(m.sid, m.role) for m in judged.members}
        asked = self._clock()
        room = await server.room(order.room)
        if room is None or room.sid != order.sid:
            return None
        members = await server.members(order.room)
        if members is None or {(m.sid, m.role) for m in members} != before:
            return None
        dispatches = await server.dispatches(order.room)
        fleet.listed(order.sid, order.room, room.created, members, asked, dispatches)
        if order.signature == DUPLICATE:
            return _younger(judged.duplicates(order.agent), members)
        alone = not any(m.role is Role.CALLER for m in members)
        return "" if alone and members else None

    def _became(self, order: _Order, what: str, detail: str) -> None:
        action = ACTS[order.signature]
        self._reporter.act(action, what)
        # The audit log names the room, as whoever ended a call must be able to say which.
        logger.warning(
            "%s: %s in room %r (%s)%s", what, action, order.room, order.signature,
            f": {detail}" if detail else "",
        )  # fmt: skip


def _younger(duplicates: list[Member], members: list[Member]) -> str | None:
    """The identity of the one that came last; ``None`` if that is not certain."""
    if len(duplicates) < 2:
        return None
    first, last = duplicates[0], duplicates[-1]
    shared = sum(m.identity == last.identity for m in members) > 1
    return None if last.joined <= first.joined or shared else last.identity
