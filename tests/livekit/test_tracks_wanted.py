"""Subscriptions that leave nothing open are no cascade, however often they come."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from livekit import rtc

from runguard_otel.testing.ffi import StageServer
from runguard_otel.testing.listening import ScriptedSTT
from tests.kit.tracks import Guarded, Transcriber
from tests.kit.tracks_scenes import Source, close, flap

pytestmark = pytest.mark.livekit

MODES = pytest.mark.parametrize("mode", ["enforce", "observe"])


@MODES
@pytest.mark.parametrize("ending", ["end_input", "aclose"])
async def test_must_not_fire_push_to_talk_that_ends_its_stream_at_each_release(
    server: StageServer, room: rtc.Room, mode: str, ending: str
) -> None:
    """Mutant: every subscription counts (a trip at the third press)."""
    with Guarded(mode=mode) as guarded:
        transcriber = Transcriber(room, ending=ending)
        await flap(server, transcriber, 6)
        assert guarded.recorder.trips == []
        assert len(guarded.outcomes()) == 6
        await transcriber.aclose()


@MODES
async def test_streams_that_are_left_open_still_trip_at_the_third(
    server: StageServer, room: rtc.Room, mode: str
) -> None:
    """Mutant: no subscription counts."""
    with Guarded(mode=mode) as guarded:
        transcriber = Transcriber(room)
        await flap(server, transcriber, 3)
        assert [t.count for t in guarded.recorder.trips] == [3]
        await transcriber.aclose()


@MODES
async def test_must_not_fire_six_cycles_of_screen_share_audio_without_any_stream(
    server: StageServer, room: rtc.Room, mode: str
) -> None:
    with Guarded(mode=mode) as guarded:
        for _ in range(6):
            server.unpublish(server.publish("lobby", "alice", Source.SOURCE_SCREENSHARE_AUDIO))
            await server.settle()
    assert guarded.recorder.trips == []


async def test_must_not_fire_one_stream_for_all_tracks_of_a_participant(
    server: StageServer, room: rtc.Room
) -> None:
    """Opened by the first handler and fed by whichever track there is: nothing piles up."""
    with Guarded() as guarded:
        model = ScriptedSTT()
        room.once("track_subscribed", lambda *_: model.stream())
        for _ in range(8):
            server.unpublish(server.publish("lobby", "alice"))
            await server.settle()
        assert guarded.recorder.trips == []
        await close(*model.streams)


@pytest.mark.parametrize("left", [True, False])
async def test_without_streams_readers_that_are_left_behind_count(
    server: StageServer, room: rtc.Room, left: bool
) -> None:
    """One that follows the participant outlives each track; one of a track ends with it."""
    readers: list[Any] = []
    with Guarded() as guarded:

        def subscribed(track: rtc.RemoteTrack, *_: Any) -> None:
            readers.append(rtc.AudioStream(track))

        room.on("track_subscribed", subscribed)
        tracks = []
        for _ in range(3):
            tracks.append(server.publish("lobby", "alice"))
            await server.settle()
            if not left:
                server.unpublish(tracks[-1])
            else:  # the end is announced, and the reader's own never comes
                (alice,) = room.remote_participants.values()
                publication = alice.track_publications[tracks[-1]]
                room.emit("track_unsubscribed", publication.track, publication, alice)
            await server.settle()
        assert [t.action for t in guarded.recorder.trips] == (["none"] if left else [])
        for track in tracks if left else []:
            server.unpublish(track)
        await asyncio.gather(*(reader.aclose() for reader in readers))
