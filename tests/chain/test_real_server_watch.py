"""Agents without this package, in each loop, on a real LiveKit server: seen from outside."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator

import pytest
from livekit import api, rtc
from typer.testing import CliRunner

from runguard_otel.cli import commands
from runguard_otel.core.guards.presence import Change, Limits
from runguard_otel.watch.fleet import Fleet
from runguard_otel.watch.server import Credentials, Server
from tests.kit.livekit_server import Speaker, needs_server, new_room, server_api, until, url

pytestmark = [pytest.mark.chain, needs_server, pytest.mark.timeout(180)]


@contextlib.asynccontextmanager
async def agent(room: str, identity: str) -> AsyncIterator[rtc.Room]:
    """An agent of any language: a participant of that kind, with the name that LiveKit gives."""
    token = (
        api.AccessToken()
        .with_identity(identity)
        .with_kind("agent")
        .with_attributes({"lk.agent.name": "support"})
        .with_grants(api.VideoGrants(room_join=True, room=room, agent=True))
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
