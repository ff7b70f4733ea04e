"""Rooms and tracks against a real LiveKit server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from livekit import api, rtc
from livekit.agents import stt

import runguard_otel
from runguard_otel.testing.models import ScriptedSTT
from tests.kit.livekit_server import (
    Speaker,
    needs_server,
    new_room,
    participants,
    server_api,
    token,
    until,
    url,
)

pytestmark = [pytest.mark.chain, needs_server]


@pytest.fixture
async def trips() -> AsyncIterator[list[runguard_otel.Trip]]:
    seen: list[runguard_otel.Trip] = []
    runguard_otel.instrument(on_trip=seen.append, track_subscribe_linger_seconds=0.2)
    yield seen
    runguard_otel.uninstrument()


async def test_an_application_that_leaves_and_joins_in_a_loop_is_refused_at_the_tenth_redial(
    trips: list[runguard_otel.Trip],
) -> None:
    name = new_room()
    rooms: list[rtc.Room] = []
    with pytest.raises(rtc.ConnectError) as refused:
        for _ in range(20):
            room = rtc.Room()
            await room.connect(url(), token(name, "agent", agent=True))
            rooms.append(room)
            await room.disconnect()
    assert len(rooms) == 10, "one connect and nine redials, then no more"
    assert isinstance(refused.value, runguard_otel.LoopDetectedError)
    assert [(t.signature, t.signature_with_key) for t in trips] == [
        ("room_reconnect:redial", f"room_reconnect:{name}")
    ]
    assert {e.detail for e in trips[0].evidence} == {"client_initiated"}
    async with server_api() as client:
        assert await participants(client, name) == []


async def test_an_agent_that_is_thrown_out_and_returns_each_time_is_refused_at_the_third(
    trips: list[runguard_otel.Trip],
) -> None:
    """What the application calls after it was removed changes nothing."""
    name = new_room()
    with pytest.raises(runguard_otel.LoopDetectedError):
        for number in range(10):
            identity = token(name, "agent", agent=True)
            room, gone = rtc.Room(), asyncio.Event()
            room.on("disconnected", lambda _, gone=gone: gone.set())
            await room.connect(url(), identity)
            async with server_api() as client:
                request = api.RoomParticipantIdentity(room=name, identity="agent")
                await client.room.remove_participant(request)
            await asyncio.wait_for(gone.wait(), 10)
            await room.disconnect()
            assert number < 3
    assert [(t.signature, t.count) for t in trips] == [("room_reconnect", 3)]


async def test_a_room_deleted_under_the_agent_is_one_disconnect_and_no_loop(
    trips: list[runguard_otel.Trip],
) -> None:
    name = new_room()
    room = rtc.Room()
    gone = asyncio.Event()
    room.on("disconnected", lambda _: gone.set())
    await room.connect(url(), token(name, "agent", agent=True))
    async with server_api() as client:
        await client.room.delete_room(api.DeleteRoomRequest(room=name))
    await asyncio.wait_for(gone.wait(), 10)
    await room.connect(url(), token(name, "agent", agent=True))
    assert room.isconnected(), "coming back once is not a loop"
    assert trips == []
    await room.disconnect()


async def test_two_identities_in_one_room_do_not_count_against_each_other(
    trips: list[runguard_otel.Trip],
) -> None:
    name = new_room()
    for identity in ("a", "b", "c", "d"):
        room = rtc.Room()
        await room.connect(url(), token(name, identity))
        await room.disconnect()
    assert trips == []


class Transcriber:
    """What a user writes: a new STT stream for every track, never closed."""

    def __init__(self, room: rtc.Room) -> None:
        self.stt = ScriptedSTT()
        self.frames: dict[str, int] = {}
        self.tasks: list[asyncio.Task[Any]] = []
        room.on("track_subscribed", self._on_track)

    def _on_track(
        self, track: rtc.Track, publication: rtc.RemoteTrackPublication, _: rtc.RemoteParticipant
    ) -> None:
        self.tasks.append(asyncio.create_task(self._transcribe(track, publication.sid)))

    async def _transcribe(self, track: rtc.Track, sid: str) -> None:
        stream = self.stt.stream()
        audio = rtc.AudioStream(track, sample_rate=16_000)
        reader = asyncio.create_task(self._read(stream))
        self.tasks.append(reader)
        async for event in audio:
            stream.push_frame(event.frame)
            self.frames[sid] = self.frames.get(sid, 0) + 1

    async def _read(self, stream: stt.RecognizeStream) -> None:
        async for _ in stream:
            pass

    async def heard(self, tracks: int) -> None:
        """Wait until audio of so many tracks has been pushed."""
        await until(lambda: len(self.frames) >= tracks, what="audio of the new track")

    async def aclose(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


async def flap(name: str, times: int) -> tuple[Transcriber, int]:
    """A participant republishes its microphone; returns the transcriber and its open streams."""
    room = rtc.Room()
    transcriber = Transcriber(room)
    await room.connect(url(), token(name, "agent", agent=True))
    async with Speaker(name, "alice") as alice:
        for wanted in range(1, times + 1):
            await alice.publish()
            await transcriber.heard(wanted)
            if wanted < times:
                await alice.unpublish()
        opened = len(transcriber.stt.streams)
    await transcriber.aclose()
    await room.disconnect()
    return transcriber, opened


async def test_eight_republishes_are_one_stt_stream(trips: list[runguard_otel.Trip]) -> None:
    transcriber, opened = await flap(new_room(), 8)
    assert opened == 1
    assert len(transcriber.frames) == 8, "audio of every track reached the stream"
    assert [(t.signature, t.action) for t in trips] == [("track_subscribe", "reuse_stream")]


async def test_without_us_eight_republishes_are_eight_stt_streams() -> None:
    _, opened = await flap(new_room(), 8)
    assert opened == 8
