"""What waits for a next track costs: there is little of it, and never for long without a reason."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from livekit import rtc

from runguard_otel.testing.ffi import StageServer
from runguard_otel.testing.listening import ScriptedSTT
from tests.kit.tracks import Guarded, frame
from tests.kit.tracks_scenes import Tracks, close, until

pytestmark = pytest.mark.livekit


def still_open(*models: ScriptedSTT) -> int:
    return sum(not stream._task.done() for model in models for stream in model.streams)


async def test_muting_and_unmuting_one_track_leaves_no_streams_behind(
    server: StageServer, room: rtc.Room
) -> None:
    """User code closes its stream when the caller mutes: the track is there, no next one is due."""
    with Guarded(track_subscribe_grace_seconds=0.2):  # and it lingers for 30 s
        model = ScriptedSTT()
        most: list[int] = []

        async def speak_and_mute() -> None:
            for _ in range(8):
                stream = model.stream()
                await server.settle()
                most.append(still_open(model))
                stream.push_frame(frame())
                await stream.aclose()

        mic = Tracks(server, room, lambda: asyncio.ensure_future(speak_and_mute()))
        await mic.publish()
        await mic.opened[0]
        assert len(model.streams) == 8, "as without us"
        assert most == [1] * 8
        await until(lambda: still_open(model) == 0)


async def test_a_stream_that_the_next_track_cannot_use_waits_for_one_track_only(
    server: StageServer, room: rtc.Room
) -> None:
    """An STT per track, whose settings do not compare: every track opens and closes a stream."""
    with Guarded():
        models: list[ScriptedSTT] = []
        most: list[int] = []

        def opens() -> Any:
            models.append(ScriptedSTT())
            return models[-1].stream()

        mic = Tracks(server, room, opens)
        for _ in range(8):
            sid = await mic.publish()
            most.append(still_open(*models))
            await mic.unpublish(sid)
            await mic.opened[-1].aclose()
            await server.settle()
        assert most == [1] + [2] * 7
        assert still_open(*models) == 1
        await close(*models[-1].streams)


async def test_both_streams_of_a_track_wait_for_the_next_one(
    server: StageServer, room: rtc.Room
) -> None:
    with Guarded():
        model = ScriptedSTT()
        mic = Tracks(server, room, lambda: [model.stream(), model.stream(language="de")])
        for _ in range(8):
            await mic.unpublish(await mic.publish())
            for stream in mic.opened[-1]:
                await stream.aclose()
        assert len(model.streams) == 2
        await close(*model.streams)


async def test_a_stream_closed_just_before_the_end_of_its_track_is_announced_is_handed_on(
    server: StageServer, room: rtc.Room
) -> None:
    with Guarded():
        model = ScriptedSTT()
        mic = Tracks(server, room, model.stream)
        for _ in range(8):
            sid = await mic.publish()
            await mic.opened[-1].aclose()
            await mic.unpublish(sid)
        await asyncio.sleep(0.9)  # longer than the grace period of 0.75 s
        await mic.publish()
        assert len(model.streams) == 1
        await close(*model.streams)


async def test_a_next_track_that_asks_for_another_stream_reused_none(
    server: StageServer, room: rtc.Room
) -> None:
    """One lingers that it could have had; what it took is known when it has asked."""
    with Guarded() as guarded:
        model, languages = ScriptedSTT(), iter(["en", "de"])
        mic = Tracks(server, room, lambda: model.stream(language=next(languages)))
        await mic.unpublish(await mic.publish())
        await mic.opened[-1].aclose()
        await mic.publish()
        assert still_open(model) == 2
        await until(lambda: len(guarded.outcomes()) == 2)
        assert "reused" not in guarded.outcomes()
        await close(*model.streams)
