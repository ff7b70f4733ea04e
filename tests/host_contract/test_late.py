"""``instrument()`` after the fact: what it still does for rooms and sessions that exist already."""

from __future__ import annotations

import asyncio

import pytest
from livekit import rtc

from runguard_otel.testing import Stage, call, recording, simulate_storm

pytestmark = pytest.mark.host_contract


async def test_a_session_that_runs_is_guarded_from_then_on() -> None:
    async with call() as phone:
        with recording() as seen:
            await simulate_storm("misfire", phone)
            await phone.hear("a table for two please")
            await phone.quiet()
            seen.assert_tripped("vad_misfire", action="suppress")
        assert phone.asked == ["a table for two please"]


async def test_a_room_that_is_connected_is_guarded_from_its_next_connect_on() -> None:
    """The connection made before is not known, so the loop trips one reconnect later."""
    with Stage() as stage:
        tasks: set[asyncio.Task[None]] = set()

        async def join() -> None:
            room = rtc.Room()
            room.on("disconnected", lambda _: tasks.add(asyncio.ensure_future(join())))
            await room.connect("wss://anywhere", stage.token("lobby", "agent"))

        await join()
        with recording() as seen:
            await simulate_storm("reconnect", stage, times=3)
            seen.assert_quiet()
            await simulate_storm("reconnect", stage, times=2)
            seen.assert_tripped("room_reconnect")
        await asyncio.gather(*tasks, return_exceptions=True)
