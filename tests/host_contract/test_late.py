"""``instrument()`` after the fact: every row of the table "Called late" in ``docs/executors.md``.

A job and a worker that run already are in ``tests/chain/test_executor_start.py``.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from livekit import rtc

from runguard_otel.testing import (
    ScriptedLLM,
    ScriptedSTT,
    Stage,
    call,
    recording,
    simulate_storm,
)
from tests.kit.tracks import Transcriber, frame

pytestmark = pytest.mark.host_contract


async def test_a_session_that_runs_is_guarded_from_then_on() -> None:
    async with call() as phone:
        with recording() as seen:
            await simulate_storm("misfire", phone)
            await phone.hear("a table for two please")
            await phone.quiet()
            seen.assert_tripped("vad_misfire", action="suppress")
        assert phone.asked == ["a table for two please"]


async def test_what_a_running_session_said_before_is_not_known_as_an_echo() -> None:
    """The first sentence comes back and is taken for a caller's; of the second that is noticed."""
    model = ScriptedLLM("Your table is booked for eight tonight")
    async with call(model=model, voice=True) as phone:
        await phone.hear("a table for two please")
        await phone.quiet()
        (said,) = phone.said
        with recording() as seen:
            await phone.hear(said)
            await phone.quiet()
            assert not any("echo" in name for name in seen.signatures)
            assert phone.asked[-1] == said
            await simulate_storm("echo", phone, times=2)
            await phone.quiet()
            assert seen.signatures["vad_misfire:echo"]


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
            await simulate_storm("reconnect", stage, times=1)
            assert seen.counted("runguard.room.disconnects") == 1
            assert seen.counted("runguard.room.connects", connect="ok") == 1
            await simulate_storm("reconnect", stage, times=2)
            seen.assert_quiet()
            await simulate_storm("reconnect", stage, times=2)
            seen.assert_tripped("room_reconnect")
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_an_stt_stream_that_is_open_is_counted_and_priced_from_its_next_frame_on() -> None:
    model = ScriptedSTT("deepgram", "nova-3")
    stream = model.stream()
    for _ in range(500):
        stream.push_frame(frame())
    with recording() as seen:
        assert not seen.counted("runguard.stt.streams")
        for _ in range(300):
            stream.push_frame(frame())
        assert seen.counted("runguard.stt.streams", model="nova-3") == 1
        await stream.aclose()
        assert seen.counted("runguard.stt.streams") == 0
        assert seen.counted("runguard.stt.audio") == pytest.approx(3)  # of the eight
        assert seen.cost(component="stt", model="nova-3") > 0
        seen.assert_quiet()


@asynccontextmanager
async def transcribed() -> AsyncIterator[tuple[Stage, Transcriber]]:
    """A room with a transcriber in it that has one stream open, of a microphone that is there."""
    with Stage() as stage:
        room = rtc.Room()
        transcriber = Transcriber(room)
        await room.connect("wss://anywhere", stage.token("lobby", "transcriber"))
        stage.join("lobby", "caller")
        stage.publish("lobby", "caller")
        await stage.settle()
        assert len(transcriber.streams) == 1
        yield stage, transcriber
        await transcriber.aclose()
        await room.disconnect()


async def test_flapping_shares_streams_that_were_opened_from_then_on() -> None:
    async with transcribed() as (stage, transcriber):
        opened: list[Any] = transcriber.model.streams  # type: ignore[attr-defined]
        with recording() as seen:
            await simulate_storm("tracks", stage)
            assert len(opened) == 2  # the one before, and one that all later tracks share
            seen.assert_tripped("track_subscribe", action="reuse_stream")
