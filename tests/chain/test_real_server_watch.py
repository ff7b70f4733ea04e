"""Agents without this package, in each loop, on a real LiveKit server: seen from outside.

What hears webhooks needs a server that sends them to this machine; its configuration has

    webhook: {api_key: devkey, urls: ["http://127.0.0.1:7892/webhook"]}

and ``LIVEKIT_WEBHOOK_PORT=7892`` says so.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import os
import random
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from typing import Any, cast

import pytest
from livekit import api, rtc
from typer.testing import CliRunner

from runguard_otel.cli import commands
from runguard_otel.core.guards.presence import Change, Limits
from runguard_otel.watch.acting import ACTS, Acting
from runguard_otel.watch.fleet import Fleet
from runguard_otel.watch.reporting import Reporter
from runguard_otel.watch.seen import Seen
from runguard_otel.watch.server import Credentials, Server
from runguard_otel.watch.service import Address, Watch
from tests.kit.livekit_server import (
    Speaker,
    needs_server,
    new_room,
    participants,
    server_api,
    until,
    url,
)

pytestmark = [pytest.mark.chain, needs_server]


@contextlib.asynccontextmanager
async def agent(room: str, identity: str, name: str = "support") -> AsyncIterator[rtc.Room]:
    """An agent of any language: a participant of that kind, with the name that LiveKit gives."""
    async with participant(room, identity, "agent", {"lk.agent.name": name}) as joined:
        yield joined


@contextlib.asynccontextmanager
async def participant(
    room: str, identity: str, kind: Any = "standard", attributes: dict[str, str] | None = None
) -> AsyncIterator[rtc.Room]:
    """Somebody of that kind, without a microphone."""
    token = (
        api.AccessToken()
        .with_identity(identity)
        .with_kind(kind)
        .with_attributes(attributes or {})
        .with_grants(api.VideoGrants(room_join=True, room=room, agent=kind == "agent"))
    )
    joined = rtc.Room()
    await joined.connect(url(), token.to_jwt())
    yield joined
    await joined.disconnect()


class Polled:
    """A watcher that only asks."""

    def __init__(self, room: str, limits: Limits) -> None:
        self.room = room
        self.found: list[str] = []
        self.fleet = Fleet(limits, self._tell)

    def _tell(self, sid: str, change: Change) -> None:
        if change.trip is not None:
            self.found.append(change.signature)

    async def ask(self, server: Server) -> None:
        room = await server.room(self.room)
        if room is None:
            return
        asked = asyncio.get_running_loop().time()
        members = await server.members(self.room)
        dispatches = await server.dispatches(self.room)
        self.fleet.listed(room.sid, room.name, room.created, members or (), asked, dispatches)

    async def finds(self, signature: str) -> None:
        async with Server(Credentials.load()) as server:

            async def seen() -> bool:
                await self.ask(server)
                return signature in self.found

            await until(seen, 60, signature)


SOON = Limits(together_seconds=1, left_seconds=1, unmet_seconds=1, unanswered_seconds=1)


async def test_an_agent_that_joins_again_and_again_is_seen() -> None:
    room = new_room()
    polled = Polled(room, SOON)
    async with Speaker(room, "caller"), Server(Credentials.load()) as server:
        for _ in range(4):
            async with agent(room, "agent"):
                await polled.ask(server)
    assert polled.found == ["room_reconnect"]


async def test_two_agents_of_one_name_are_seen() -> None:
    room = new_room()
    async with Speaker(room, "caller"), agent(room, "first"), agent(room, "second"):
        await Polled(room, SOON).finds("job_claim:duplicate")


async def test_an_agent_alone_is_seen() -> None:
    room = new_room()
    async with agent(room, "agent"):
        await Polled(room, SOON).finds("session_overrun:agent_alone")


async def test_an_agent_that_never_comes_is_seen() -> None:
    room = new_room()
    async with Speaker(room, "caller"), server_api() as client:
        request = api.CreateAgentDispatchRequest(agent_name="nobody", room=room)
        await client.agent_dispatch.create_dispatch(request)
        await Polled(room, SOON).finds("job_claim:unanswered")


async def test_a_dispatch_made_twice_is_seen() -> None:
    room = new_room()
    async with Speaker(room, "caller"), server_api() as client:
        for _ in range(2):
            request = api.CreateAgentDispatchRequest(agent_name="nobody", room=room)
            await client.agent_dispatch.create_dispatch(request)
        await Polled(room, SOON).finds("job_claim:dispatched_twice")


async def test_the_picture_shows_a_healthy_call_as_one() -> None:
    room = new_room()
    async with Speaker(room, "caller"), agent(room, "agent"):
        command = ["watch", "--once", "--json"]
        answer = await asyncio.to_thread(CliRunner().invoke, commands(), command)
    (found,) = [r for r in json.loads(answer.stdout)["rooms"] if r["room"] == room]
    assert (found["agents"], found["callers"], found["loops"]) == (["support"], 1, [])


# -- a whole watcher, that hears the server's webhooks --------------------------------------------

PORT = int(os.environ.get("LIVEKIT_WEBHOOK_PORT", "0"))
needs_webhooks = pytest.mark.skipif(not PORT, reason="LIVEKIT_WEBHOOK_PORT is not set")


class Deeds(Acting):
    """Knows in which room it did something: other tests leave rooms behind."""

    def __init__(self, hearing: Hearing, **options: Any) -> None:
        super().__init__(cast("Reporter", hearing), **{"dry_run": False, **options})
        self._hearing = hearing

    def consider(self, sid: str, change: Change) -> None:
        if change.subject.room in self._hearing.rooms:
            super().consider(sid, change)

    def _became(self, order: Any, what: str, detail: str) -> None:
        super()._became(order, what, detail)
        self._hearing.acts.append((order.signature, what))


class Hearing:
    """``runguard-otel watch`` in this process: what it heard, found and did.

    Args:
        limits: What is a loop.
        act: Whether it acts, in these ``rooms``; ``options`` are those of ``Acting``.
    """

    def __init__(
        self, limits: Limits, act: bool = False, rooms: Sequence[str] = (), **options: Any
    ) -> None:
        self.rooms = rooms
        self.trips: list[tuple[str, str]] = []
        self.late: dict[tuple[str, str], float] = {}
        """Seconds between a room's last webhook and the trip."""
        self.webhooks: Counter[str] = Counter()
        self.acts: list[tuple[str, str]] = []
        """What it did, to rooms of this test."""
        self._last: dict[str, float] = {}
        reporter = cast("Reporter", self)
        self.watch = Watch(
            Credentials.load(), limits, reporter, Address("127.0.0.1", PORT),
            poll=3600,  # what is found is found by webhooks
            actor=Deeds(self, **options) if act else None,
        )  # fmt: skip
        heard = self.watch.fleet.heard

        def hear(event: Seen) -> None:
            self._last[event.room] = asyncio.get_running_loop().time()
            heard(event)

        self.watch.fleet.heard = hear  # type: ignore[method-assign]

    def tell(self, change: Change) -> None:
        if change.trip is not None:
            key = (change.signature, change.subject.room)
            self.trips.append(key)
            last = self._last.get(change.subject.room)
            if last is not None:
                self.late[key] = asyncio.get_running_loop().time() - last

    def opened(self, change: Change) -> None: ...

    def webhook(self, what: str, number: int = 1) -> None:
        self.webhooks[what] += number

    def question(self, answered: bool) -> None: ...

    def census(self, fleet: Fleet) -> None: ...

    def act(self, action: str, became: str) -> None: ...

    async def finds(self, signature: str, room: str) -> float:
        """Wait for it; returns how late it was."""
        await until(lambda: (signature, room) in self.trips, 60, signature)
        return self.late[signature, room]

    async def did(self, *acts: tuple[str, str]) -> None:
        with contextlib.suppress(TimeoutError):
            await until(lambda: len(self.acts) >= len(acts), 60)
        assert sorted(self.acts) == sorted(acts)


@contextlib.asynccontextmanager
async def hearing(limits: Limits, *rooms: str, **options: Any) -> AsyncIterator[Hearing]:
    it = Hearing(limits, bool(rooms), rooms, **options)
    task = asyncio.create_task(it.watch.run())
    await until(lambda: bool(it.watch.status()["ready"]), 60, "the watcher is ready")
    try:
        yield it
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert set(it.webhooks) <= {"accepted", "repeated"}, "every webhook was the server's"


@needs_webhooks
async def test_each_loop_is_seen_by_webhooks_soon() -> None:
    """A rate is found when the webhook comes; a state, when it has lasted its time (1 s here)."""
    rooms = {n: new_room(n) for n in ("again", "twice", "alone", "flaps", "mic", "old")}
    found: dict[str, float] = {}
    async with hearing(SOON) as it:
        async with Speaker(rooms["again"], "caller"):
            for _ in range(4):
                async with agent(rooms["again"], "agent"):
                    pass
            found["again"] = await it.finds("room_reconnect", rooms["again"])
        async with (
            Speaker(rooms["twice"], "caller"), agent(rooms["twice"], "a"),
            agent(rooms["twice"], "b"),
        ):  # fmt: skip
            found["twice"] = await it.finds("job_claim:duplicate", rooms["twice"])
        async with agent(rooms["alone"], "agent"):
            found["alone"] = await it.finds("session_overrun:agent_alone", rooms["alone"])
        async with agent(rooms["flaps"], "agent"):
            for _ in range(4):
                async with participant(rooms["flaps"], "caller"):
                    pass
            found["flaps"] = await it.finds("track_subscribe", rooms["flaps"])
        async with agent(rooms["mic"], "agent"), Speaker(rooms["mic"], "caller") as caller:
            for _ in range(4):
                before = it.webhooks["accepted"]
                await caller.publish()
                heard = functools.partial(lambda n: it.webhooks["accepted"] > n, before)
                await until(heard, 30, "the server tells of it")
                await caller.unpublish()
            found["mic"] = await it.finds("track_subscribe", rooms["mic"])
    async with (
        hearing(Limits(age_seconds=2)) as it,
        agent(rooms["old"], "agent"), Speaker(rooms["old"], "caller"),
    ):  # fmt: skip
        found["old"] = await it.finds("session_overrun:duration", rooms["old"])
    print({name: round(seconds, 2) for name, seconds in found.items()})
    assert max(found["again"], found["flaps"], found["mic"]) < 2, found


ACT = Limits(**{**{f: getattr(SOON, f) for f in SOON.__slots__}, "acts": ACTS})


async def there(room: str) -> list[str]:
    async with server_api() as client:
        return sorted(p.identity for p in await participants(client, room))


@needs_webhooks
async def test_the_younger_duplicate_is_removed_and_the_one_that_serves_stays(
    caplog: pytest.LogCaptureFixture,
) -> None:
    room = new_room()
    async with (
        hearing(ACT, room) as it, Speaker(room, "caller"), agent(room, "first"),
        agent(room, "other", "billing"),
    ):  # fmt: skip
        await asyncio.sleep(0.1)
        async with agent(room, "second"):
            await it.did(("job_claim:duplicate", "done"))
            await until(lambda: gone(room, "second"), 30, "it has left")
            assert await there(room) == ["caller", "first", "other"]
    (line,) = [r.getMessage() for r in caplog.records if r.name == "runguard_otel.watch.audit"]
    assert room in line and "second" in line


async def gone(room: str, identity: str) -> bool:
    return identity not in await there(room)


@needs_webhooks
async def test_a_room_with_agents_only_is_deleted_after_its_time_and_no_more_than_so_many() -> None:
    rooms = [new_room("alone") for _ in range(3)]
    async with (
        hearing(ACT, *rooms, per_minute=2) as it,
        agent(rooms[0], "agent"), agent(rooms[1], "agent"), agent(rooms[2], "agent"),
    ):  # fmt: skip
        done = ("session_overrun:agent_alone", "done")
        await it.did(done, done, ("session_overrun:agent_alone", "limited"))

        async def one_is_left() -> bool:
            return sorted([len(await there(room)) for room in rooms]) == [0, 0, 1]

        await until(one_is_left, 30, "one room is left")


@needs_webhooks
async def test_a_dry_run_only_says_it() -> None:
    room = new_room()
    async with hearing(ACT, room, dry_run=True) as it, agent(room, "agent"):
        await it.did(("session_overrun:agent_alone", "dry_run"))
        assert await there(room) == ["agent"]


@needs_webhooks
async def test_a_room_that_changed_since_it_was_judged_is_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A caller comes in the moment between the verdict and the deed."""
    room = new_room()
    asked = Server.room
    callers = contextlib.AsyncExitStack()

    async def meddle(self: Server, name: str) -> Any:
        found = await asked(self, name)
        if name == room and it.trips and await gone(room, "caller"):
            await callers.enter_async_context(participant(room, "caller"))
        return found

    async with callers, hearing(ACT, room) as it, agent(room, "agent"):
        monkeypatch.setattr(Server, "room", meddle)
        await it.did(("session_overrun:agent_alone", "changed"))
        assert await there(room) == ["agent", "caller"]


@needs_webhooks
async def test_a_healthy_evening_of_fifty_rooms_trips_nothing() -> None:
    dice = random.Random(18)
    turn = asyncio.Semaphore(5)

    async def call(number: int) -> str:
        room = new_room("evening")
        async with turn, contextlib.AsyncExitStack() as call:
            enter = call.enter_async_context
            if number % 3:
                await enter(agent(room, "agent"))  # the agent waits for its caller
            caller = await enter(Speaker(room, "caller"))
            if number % 3 == 0:
                await enter(agent(room, "agent"))
            await caller.publish()
            if number % 5 == 0:
                await enter(participant(room, "sip_1", "sip"))
            if number % 5 == 1:
                await enter(participant(room, "recorder", "egress"))
            if number % 5 == 2:
                on_behalf = {"lk.publish_on_behalf": "agent"}
                await enter(participant(room, "avatar", "agent", on_behalf))
            if number % 5 == 3:
                async with agent(room, "agent", "billing"):  # asks a colleague, who leaves again
                    await asyncio.sleep(dice.random())
                await enter(agent(room, "agent-2", "support"))  # a hand-over: the first left
            if number % 5 == 4:
                await enter(participant(room, "caller"))  # a reload: the same identity once more
            for muted in (True, False) * 3:
                await mute(room, "caller", muted)
            await asyncio.sleep(2 * dice.random())
        return room

    async with hearing(Limits()) as it:
        rooms = await asyncio.gather(*(call(number) for number in range(50)))
        async with server_api() as client:
            for room in rooms:
                with contextlib.suppress(api.TwirpError):
                    await client.room.delete_room(api.DeleteRoomRequest(room=room))

        def all_have_ended() -> bool:
            return bool(it.trips) or not {known.name for known in it.watch.fleet} & set(rooms)

        await until(all_have_ended, 60, "all have ended")
        assert it.trips == []
        print(f"{sum(it.webhooks.values())} webhooks: {dict(it.webhooks)}")
        assert it.webhooks["accepted"] >= 50 * 6


async def mute(room: str, identity: str, muted: bool) -> None:
    async with server_api() as client:
        for one in await participants(client, room):
            for track in one.tracks if one.identity == identity else ():
                with contextlib.suppress(api.TwirpError):
                    await client.room.mute_published_track(
                        api.MuteRoomTrackRequest(
                            room=room, identity=identity, track_sid=track.sid, muted=muted
                        )
                    )
