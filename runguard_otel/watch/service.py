"""``runguard-otel watch`` as a process: it hears webhooks, asks the server, and says what loops."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, Protocol

from runguard_otel.core.guards.presence import Change, Limits, RoomPolicy
from runguard_otel.core.verdict import Clock
from runguard_otel.watch import seen as words
from runguard_otel.watch.costing import Costs, serving
from runguard_otel.watch.diary import Diary
from runguard_otel.watch.fleet import Fleet
from runguard_otel.watch.reporting import Reporter
from runguard_otel.watch.seen import Seen
from runguard_otel.watch.server import Credentials, Room, Server, ServerError
from runguard_otel.watch.standby import Duty, Standby
from runguard_otel.watch.voice import Voice
from runguard_otel.watch.webhooks import Verifier, WebhookServer

__all__ = ["Actor", "Address", "Watch", "until_signalled"]

logger = logging.getLogger("runguard_otel.watch")

TICK: Final = 0.25
"""How late a state that has lasted its time may be looked at, in seconds."""
AGAIN: Final = 5.0
"""After a question that was not answered."""
AT_ONCE: Final = 8
MOST_QUESTIONS: Final = 50.0
"""A second, on a round through all rooms."""
CENSUS: Final = 5.0


class Actor(Protocol):
    """Does something about a loop."""

    def consider(self, sid: str, change: Change) -> None:
        """A loop was found in the room of that sid; returns at once."""

    async def run(self, server: Server, fleet: Fleet) -> None:
        """Act until cancelled."""


@dataclass(frozen=True)
class Address:
    """Where to listen.

    Args:
        host: An address of this machine.
        port: 0 for any.
    """

    host: str
    port: int


class Watch:
    """One watcher of one server.

    Args:
        credentials: Which server.
        limits: What is a loop.
        reporter: Where it is said.
        address: Where webhooks are heard.
        poll: Seconds between the beginnings of two rounds of questions.
        actor: Acts; ``None``: nothing is changed on the server.
        standby: Says whose turn it is; ``None``: there is only this watcher.
        voice: Tells what is found, in our turn; the one that ``standby`` knows.
        costs: Counts what the rooms cost; ``None``: nobody does.
        diary: Keeps the rooms' histories; ``None``: nobody does.
        max_rooms: The bound on rooms.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        credentials: Credentials,
        limits: Limits,
        reporter: Reporter,
        address: Address,
        *,
        poll: float,
        actor: Actor | None = None,
        standby: Standby | None = None,
        voice: Voice | None = None,
        costs: Costs | None = None,
        diary: Diary | None = None,
        max_rooms: int = 10_000,
        clock: Clock = time.monotonic,
    ) -> None:
        self._credentials = credentials
        self._reporter = reporter
        self._address = address
        self._poll = poll
        self._actor = actor
        self._clock = clock
        consider = [actor.consider] if actor is not None else []
        self._voice = voice or Voice(reporter, *consider)
        self._standby = standby
        self._costs = costs
        self._diary = diary
        self.fleet = Fleet(
            limits, self._tell, max_rooms=max_rooms, clock=clock,
            alone=diary.alone if diary is not None else None,
        )  # fmt: skip
        self.webhooks = WebhookServer(
            Verifier(credentials), self._heard, reporter.webhook, self.status, self._lost
        )
        self._ready = False
        self._round_at = 0.0
        self._again = asyncio.Event()
        self._ill = ""

    async def run(self) -> None:
        """Watch until cancelled.

        Raises:
            OSError: If the address cannot be had.
        """
        await self.webhooks.start(self._address.host, self._address.port)
        try:
            async with Server(self._credentials, self._clock) as server:
                loops = [self._rounds(server), self._states(server), self._census()]
                if self._actor is not None:
                    loops.append(self._actor.run(server, self.fleet))
                if self._standby is not None:
                    loops.append(self._standby.run())
                await _all(loops)
        finally:
            await self.webhooks.stop()
            if self._standby is not None:
                await self._standby.stop()
            if self._diary is not None:
                self._diary.close()

    def status(self) -> dict[str, Any]:
        """For health checks: names nobody."""
        return {
            "ready": self._ready,
            **self._duty(),
            "rooms": len(self.fleet),
            "seconds_since_answer": round(self._clock() - self._round_at) if self._ready else None,
            "trouble": self._ill,
        }

    def _duty(self) -> dict[str, Any]:
        standby = self._standby
        if standby is None:
            return {"duty": str(Duty.ALONE), "active": True}
        return {
            "duty": str(standby.duty),
            "active": standby.duty is not Duty.STANDBY,
            "registry": "silent" if standby.blind else "ok",
            "untold": self._voice.kept,
        }

    # -- what is heard --------------------------------------------------------------------------

    def _heard(self, event: Seen) -> None:
        self.fleet.heard(event)
        if self._costs is not None and event.member is not None:
            room = self.fleet.room(event.room_sid)
            agent = serving(room) if room is not None else ""
            if event.kind in words.LEFT:
                self._costs.left(event.room_sid, event.member, event.at, agent)
            elif event.kind == words.JOINED:
                self._costs.came(event.room_sid, event.member, agent)

    def _tell(self, sid: str, change: Change) -> None:
        if self._diary is not None:
            self._diary.told(sid, change)
        self._voice.tell(sid, change)

    def _lost(self, number: int) -> None:
        """The server says that webhooks were lost: look at everything soon."""
        self._reporter.webhook("lost", number)
        self._again.set()

    # -- what is asked --------------------------------------------------------------------------

    async def _rounds(self, server: Server) -> None:
        """Ask about every room, again and again; the first round rebuilds what a restart lost."""
        while True:
            began = self._clock()
            try:
                rooms = await server.rooms()
                self._reporter.question(True)
                self.fleet.rooms_are([room.sid for room in rooms], began)
                await self._ask_all(server, rooms)
                self._ready, self._round_at = True, self._clock()
                self._well()
            except ServerError as error:
                self._reporter.question(False)
                self._unwell(error)
            self._again.clear()
            left = max(self._poll - (self._clock() - began), 0.05)
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._again.wait(), left)

    async def _ask_all(self, server: Server, rooms: Iterable[Room]) -> None:
        turn = asyncio.Semaphore(AT_ONCE)

        async def ask(room: Room) -> None:
            async with turn:
                await self._ask(server, room.sid, room.name, room.created)
                await asyncio.sleep(AT_ONCE * 2 / MOST_QUESTIONS if many else 0)

        rooms = list(rooms)
        many = len(rooms) > MOST_QUESTIONS
        await asyncio.gather(*(ask(room) for room in rooms))

    async def _states(self, server: Server) -> None:
        """Look at rooms when something in them has lasted its time."""
        while True:
            due = self.fleet.due()
            if due:
                await asyncio.gather(*(self._confirm(server, *each) for each in due[:AT_ONCE]))
                for sid, _ in due[AT_ONCE:]:
                    self.fleet.again(sid, 0)
            await asyncio.sleep(TICK if len(due) <= AT_ONCE else 0)

    async def _confirm(self, server: Server, sid: str, room: RoomPolicy) -> None:
        """Ask about a room in doubt, unless another one has its name by now."""
        try:
            now = await server.room(room.name)
        except ServerError as error:
            self._reporter.question(False)
            self._unwell(error)
            self.fleet.again(sid, AGAIN)
            return
        if now is None or now.sid != sid:
            self.fleet.ended(sid)
        elif not await self._ask(server, sid, room.name, now.created):
            self.fleet.again(sid, AGAIN)

    async def _ask(self, server: Server, sid: str, name: str, created: float) -> bool:
        """Ask about one room; whether it was answered."""
        asked = self._clock()
        try:
            members = await server.members(name)
            dispatches = await server.dispatches(name) if members is not None else None
        except ServerError as error:
            self._reporter.question(False)
            self._unwell(error)
            return False
        self._reporter.question(True)
        self.fleet.listed(sid, name, created, members or (), asked, dispatches)
        return True

    async def _census(self) -> None:
        while True:
            self._reporter.census(self.fleet)
            if self._costs is not None:
                self._costs.look(self.fleet)
            if self._diary is not None:
                self._diary.look(self.fleet)
            await asyncio.sleep(CENSUS)

    def _unwell(self, error: ServerError) -> None:
        if not self._ill:
            logger.warning("%s; rooms are not confirmed until it answers", error)
        self._ill = str(error)

    def _well(self) -> None:
        if self._ill:
            logger.warning("the LiveKit server answers again")
        self._ill = ""


async def _all(loops: list[Any]) -> None:
    """Run until one of them fails, or the caller is cancelled; then end them all."""
    tasks = [asyncio.ensure_future(loop) for loop in loops]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def until_signalled(work: Any) -> None:
    """Run until it ends, or the process is asked to."""
    task = asyncio.ensure_future(work)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task
