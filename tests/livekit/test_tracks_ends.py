"""When leased streams end, and what our own failures leave."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast
from unittest import mock

import pytest
from livekit import rtc
from livekit.agents import stt

from runguard_otel.adapters.livekit.services import Services
from runguard_otel.adapters.livekit.subscription import guard as tracks
from runguard_otel.adapters.livekit.subscription import pool
from runguard_otel.adapters.livekit.subscription.handle import StreamHandle
from runguard_otel.settings import Settings
from runguard_otel.testing.ffi import StageServer
from runguard_otel.testing.listening import ScriptedSTT, final
from tests.kit.recorder import MemoryRecorder
from tests.kit.tracks import Guarded, Transcriber
from tests.kit.tracks_scenes import SUBSCRIBED, flap, flap_opening

pytestmark = pytest.mark.livekit


async def closes(stream: stt.RecognizeStream) -> bool:
    """Whether the real stream ends by itself within seconds."""
    _, pending = await asyncio.wait({stream._task}, timeout=5)
    return not pending


@pytest.mark.parametrize("ending", ["end_input", "aclose"])
async def test_the_real_stream_closes_a_little_after_the_last_lease(
    server: StageServer, room: rtc.Room, ending: str
) -> None:
    with Guarded(track_subscribe_linger_seconds=0.05) as guarded:
        transcriber = Transcriber(room, ending=ending)
        model = transcriber.model
        assert isinstance(model, ScriptedSTT)
        server.unpublish(server.publish("lobby", "alice"))
        await server.settle()
        assert not model.streams[0]._task.done()
        assert await closes(model.streams[0])
        await server.settle()
        assert transcriber.ended == [0]
        assert guarded.recorder.count("runguard.stt.streams") == 0
        await transcriber.aclose()


async def test_leaving_the_room_ends_what_nobody_holds_at_once(
    server: StageServer, room: rtc.Room
) -> None:
    with Guarded():
        transcriber = Transcriber(room, ending="end_input")
        model = transcriber.model
        assert isinstance(model, ScriptedSTT)
        server.unpublish(server.publish("lobby", "alice"))
        await server.settle()
        await room.disconnect()
        assert await closes(model.streams[0])
        await transcriber.aclose()


async def test_uninstrument_ends_idle_streams_and_leaves_the_one_in_use_alone(
    server: StageServer, room: rtc.Room
) -> None:
    model = ScriptedSTT()
    with Guarded():
        idle, used = await flap_opening(
            server, room, [model.stream, lambda: model.stream(language="de")]
        )
        await idle.aclose()
    assert await closes(model.streams[0])
    model.streams[1].say(final("still here"))
    assert (await anext(used)).alternatives[0].text == "still here"
    await used.aclose()
    assert await closes(model.streams[1]), "without us nothing lingers"


class Job:
    def __init__(self, fake: bool = False) -> None:
        self.callbacks: list[Any] = []
        self._fake = fake

    def is_fake_job(self) -> bool:
        return self._fake

    def add_shutdown_callback(self, callback: Any) -> None:
        assert callback.__code__.co_argcount == 1, "LiveKit reads it"
        self.callbacks.append(callback)


async def test_the_end_of_the_job_closes_its_streams_even_in_use(
    server: StageServer, room: rtc.Room
) -> None:
    job = Job()
    with Guarded(), mock.patch.object(pool, "current_job", lambda: job):
        model = ScriptedSTT()
        _, lease = await flap_opening(server, room, [model.stream] * 2)
        (callback,) = job.callbacks
        await callback("")
        assert model.streams[0]._task.done()
        assert [e async for e in lease] == []


async def test_must_not_fire_fake_jobs_are_not_looked_at(
    server: StageServer, room: rtc.Room
) -> None:
    with Guarded() as guarded, mock.patch.object(tracks, "current_job", lambda: Job(fake=True)):
        transcriber = Transcriber(room)
        await flap(server, transcriber, 4)
        assert not any(isinstance(s, StreamHandle) for s in transcriber.streams)
        await transcriber.aclose()
    assert guarded.recorder.events == []


@pytest.mark.parametrize("broken", ["key", "take_over", "lend"])
async def test_a_failure_of_our_own_leaves_stock_behaviour(
    server: StageServer, room: rtc.Room, broken: str
) -> None:
    with (
        Guarded(tolerant=True) as guarded,
        mock.patch.object(pool.StreamPool, broken, side_effect=TypeError("ours")),
    ):
        transcriber = Transcriber(room)
        await flap(server, transcriber, 3)
        assert [n for n, _ in transcriber.heard] == [0, 1, 2]
        assert len({id(s) for s in transcriber.streams}) == 3
        await transcriber.aclose()
    assert {where for where, _ in guarded.recorder.errors} == {"STT.stream"}


async def test_a_failure_in_emit_is_counted_and_handlers_run(
    server: StageServer, room: rtc.Room
) -> None:
    with (
        Guarded(tolerant=True) as guarded,
        mock.patch.object(tracks, "track_origin", side_effect=TypeError("ours")),
    ):
        transcriber = Transcriber(room)
        await flap(server, transcriber, 2)
        assert len(transcriber.streams) == 2
        await transcriber.aclose()
    assert {where for where, _ in guarded.recorder.errors} == {"Room.emit"}


async def test_cancelling_a_reader_loses_no_event(server: StageServer, room: rtc.Room) -> None:
    with Guarded():
        model = ScriptedSTT()
        (lease,) = await flap_opening(server, room, [model.stream])
        reader = asyncio.create_task(anext(lease))
        await server.settle()
        model.send(final("kept"))
        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader
        assert (await anext(lease)).alternatives[0].text == "kept"
        await model.streams[0].aclose()


def test_a_track_that_is_handled_where_no_loop_runs_is_left_to_the_host(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """As a host's own tests do. Fails if a key, a slot or a timer takes a loop for granted."""

    class Room:
        name = "lobby"

    class Model:
        model = "some"

    class Stream:
        pass

    recorder, opened = MemoryRecorder(), list[object]()
    services = Services(Settings.load(), recorder)
    guard, room = tracks.TrackGuard(services), Room()
    publication = SimpleNamespace(source=rtc.TrackSource.SOURCE_MICROPHONE)
    alice = SimpleNamespace(identity="alice", sid="PA_alice")

    def handler(*_: Any) -> None:
        stream: Any = guard.stream(Stream, cast("Any", Model()), (), {})
        opened.append(stream)

    for sid in "abcd":
        publication.sid = sid
        track = ("track_subscribed", object(), publication, alice)
        guard.emit(handler, cast("Any", room), track, {})
        guard.emit(lambda *_: None, cast("Any", room), ("track_unpublished", publication), {})
    services.close()
    assert [type(stream) for stream in opened] == [Stream] * 4
    assert recorder.count(SUBSCRIBED, subscription="observed") == 4
    assert (recorder.errors, caplog.records) == ([], [])
