"""Duplicate dispatch, a killed worker and a deleted room, as a real LiveKit server sees them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
from livekit import api, rtc

from tests.kit.livekit_server import (
    needs_server,
    new_room,
    participants,
    server_api,
    token,
    until,
    url,
)
from tests.kit.workers import Crew, crew

pytestmark = [pytest.mark.chain, needs_server]

AGENT = "support"


async def agents_in(client: api.LiveKitAPI, room: str) -> int:
    """How many agents the server counts in ``room``."""
    kinds = [int(p.kind) for p in await participants(client, room)]
    return kinds.count(int(rtc.ParticipantKind.PARTICIPANT_KIND_AGENT))


async def no_agent(client: api.LiveKitAPI, room: str) -> bool:
    return await agents_in(client, room) == 0


async def dispatch(client: api.LiveKitAPI, room: str) -> None:
    """Ask for the agent: not idempotent, every call is another job."""
    request = api.CreateAgentDispatchRequest(agent_name=AGENT, room=room)
    await client.agent_dispatch.create_dispatch(request)


def alive(pid: int) -> bool:
    """Whether that process, of a worker and not of ours, still runs."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def caller(room: str) -> rtc.Room:
    """Somebody in the room, so that it does not close."""
    joined = rtc.Room()
    await joined.connect(url(), token(room, "caller"))
    return joined


def real(folder: Path, instrument: str, count: int = 2) -> AbstractAsyncContextManager[Crew]:
    return crew(folder, count, instrument=instrument, RG_AGENT=AGENT, RG_CONNECT="1")


async def twice(folder: Path, instrument: str) -> tuple[int, int]:
    """Dispatch an agent twice to one room: entrypoints that ran, agents the server counts."""
    room = new_room()
    async with real(folder, instrument) as here, server_api() as client:
        guest = await caller(room)
        await until(lambda: here.registered() == 2, 60, "two workers registered")
        await dispatch(client, room)
        await until(lambda: len(here.steps("connected")) >= 1, 60, "the first agent connected")
        await dispatch(client, room)
        if instrument == "no":
            await until(lambda: len(here.steps("connected")) >= 2, 60, "the second agent too")
        else:  # it stands by until the holder is known to serve
            await until(lambda: "job_dispatch tripped" in here.log(), 60, "the second job refused")
        await asyncio.sleep(1)  # long enough for a job that is not stopped to connect
        answer = len(here.steps()), await agents_in(client, room)
        await guest.disconnect()
    return answer


async def test_a_dispatch_created_twice_is_one_agent_in_the_room(tmp_path: Path) -> None:
    assert await twice(tmp_path, "main") == (1, 1)


async def test_without_us_a_dispatch_created_twice_is_two_agents(tmp_path: Path) -> None:
    assert await twice(tmp_path, "no") == (2, 2)


async def test_a_job_killed_while_serving_leaves_the_room_to_the_next(tmp_path: Path) -> None:
    room = new_room()
    async with real(tmp_path, "main") as here, server_api() as client:
        guest = await caller(room)
        await until(lambda: here.registered() == 2, 60, "two workers registered")
        await dispatch(client, room)
        await until(lambda: len(here.steps("connected")) == 1, 60, "the agent connected")
        os.kill(here.steps()[0]["pid"], signal.SIGKILL)
        await until(lambda: no_agent(client, room), 60, "the server saw it go")
        await dispatch(client, room)
        await until(lambda: len(here.steps("connected")) == 2, 60, "another agent took over")
        first, second = here.steps()
        assert second["token"] > first["token"], "the new claim fences the old one off"
        await guest.disconnect()


async def test_a_worker_killed_while_serving_leaves_the_room_to_another_worker(
    tmp_path: Path,
) -> None:
    """The first sign of the end gives the room away, which its old process may outlive by seconds.

    LiveKit ends the jobs of a worker that died; they leave their rooms at once.
    """
    room = new_room()
    async with real(tmp_path, "main") as here, server_api() as client:
        guest = await caller(room)
        await until(lambda: here.registered() == 2, 60, "two workers registered")
        await dispatch(client, room)
        await until(lambda: len(here.steps("connected")) == 1, 60, "the agent connected")
        (first,) = here.steps()
        here.worker_of(first["pid"]).kill()

        for _ in range(30):  # as whoever dispatches does that wants the room served
            await dispatch(client, room)
            with contextlib.suppress(TimeoutError):
                await until(lambda: len(here.steps("connected")) == 2, 2)
                break

        async def one_left() -> bool:  # the old one is on its way while the next one connects
            return await agents_in(client, room) <= 1

        await until(one_left, 1, "the one before has left the room")
        second = here.steps("entered")[1]
        assert second["token"] > first["token"], "the new claim fences the old one off"
        assert len(here.steps()) == 2

        async def one_agent() -> bool:
            return await agents_in(client, room) == 1

        await until(one_agent, 60, "the server forgot the agent that died")
        await until(lambda: not alive(first["pid"]), 60, "its process ended")
        await guest.disconnect()


async def test_a_deleted_room_ends_the_job_and_gives_the_claim_back(tmp_path: Path) -> None:
    room = new_room()
    async with real(tmp_path, "main", 1) as here, server_api() as client:
        guest = await caller(room)
        await until(lambda: here.registered() == 1, 60, "the worker registered")
        await dispatch(client, room)
        await until(lambda: len(here.steps("connected")) == 1, 60, "the agent connected")
        await client.room.delete_room(api.DeleteRoomRequest(room=room))
        await until(lambda: len(here.steps("left")) == 1, 60, "the job ended")
        guest = await caller(room)
        await dispatch(client, room)
        await until(lambda: len(here.steps("connected")) == 2, 60, "a new call gets its agent")
        await guest.disconnect()
