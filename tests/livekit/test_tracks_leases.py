"""A flapping participant and the transcriber that users write, on real rooms and STT streams."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Iterator
from typing import Any
from unittest import mock

import pytest
from livekit import rtc
from livekit.agents import DEFAULT_API_CONNECT_OPTIONS, APIConnectOptions, stt

from runguard_otel.adapters.agents_v1 import lease_patches, lease_pool, tracks
from runguard_otel.adapters.agents_v1.leases import Lease
from runguard_otel.adapters.agents_v1.services import Services
from runguard_otel.demo.stage.ffi import StageServer
from runguard_otel.demo.stage.listening import ScriptedSTT, final
from runguard_otel.settings import Settings
from tests.kit.recorder import MemoryRecorder
from tests.kit.tracks import Guarded, Transcriber, frame

pytestmark = pytest.mark.livekit

Source = rtc.TrackSource
SUBSCRIBED = "runguard.track.subscriptions"


@pytest.fixture
def server() -> Iterator[StageServer]:
    with StageServer() as stage:
        stage.join("lobby", "alice")
        yield stage


@pytest.fixture
async def room(server: StageServer) -> AsyncIterator[rtc.Room]:
    made = rtc.Room()
    await made.connect("wss://stage", server.token("lobby", "agent"))
    yield made
    await made.disconnect()


async def flap(server: StageServer, transcriber: Transcriber, times: int) -> None:
    """Publish and unpublish the microphone; each time some audio, and a final said about it."""
    for number in range(times):
        sid = server.publish("lobby", "alice")
        await server.settle()
        for _ in range(10):
            server.push_audio(sid, frame())
        await server.settle()
        model = transcriber.model
        assert isinstance(model, ScriptedSTT)
        model.send(final(f"sentence {number}"))
        await server.settle()
        if number < times - 1:
            server.unpublish(sid)
            await server.settle()


@pytest.mark.parametrize("ending", ["", "end_input", "aclose"])
async def test_eight_subscriptions_are_one_stream_and_no_transcript_or_audio_is_lost(
    server: StageServer, room: rtc.Room, ending: str
) -> None:
    with Guarded() as guarded:
        transcriber = Transcriber(room, ending=ending)
        model = transcriber.model
        assert isinstance(model, ScriptedSTT)
        await flap(server, transcriber, 8)
        assert len(model.streams) == 1
        assert transcriber.heard == [(n, f"sentence {n}") for n in range(8)]
        assert model.seconds == pytest.approx(0.8), "audio of every track was recognised"
        assert transcriber.ended == list(range(7)), "the old holders' iterations ended"
        await transcriber.aclose()
        await server.settle()
    assert guarded.outcomes() == ["allowed"] + ["reused"] * 7
    assert guarded.recorder.count(SUBSCRIBED, subscription="opened", source="microphone") == 1
    assert guarded.recorder.count(SUBSCRIBED, subscription="reused", source="microphone") == 7
    assert guarded.recorder.count("runguard.stt.audio") == pytest.approx(0.8)
    assert guarded.recorder.count("runguard.stt.streams", provider="scripted") == 0
    (trip,) = guarded.recorder.trips
    assert (trip.action, trip.count, trip.window_seconds) == ("reuse_stream", 3, 30)
    assert trip.signature_with_key.startswith("track_subscribe:PA_")
    assert (trip.subject.room, trip.subject.participant) == ("lobby", "alice")


async def test_stock_livekit_opens_eight_streams(server: StageServer, room: rtc.Room) -> None:
    transcriber = Transcriber(room)
    await flap(server, transcriber, 8)
    assert len(transcriber.streams) == 8
    assert not any(isinstance(s, Lease) for s in transcriber.streams)
    await transcriber.aclose()


async def test_observe_mode_reports_the_same_trip_and_hands_out_the_real_streams(
    server: StageServer, room: rtc.Room
) -> None:
    with Guarded(mode="observe") as guarded:
        transcriber = Transcriber(room)
        await flap(server, transcriber, 8)
        assert len({id(s) for s in transcriber.streams}) == 8
        assert [type(s).__name__ for s in transcriber.streams] == ["_RecognizeStream"] * 8
        await transcriber.aclose()
    assert guarded.outcomes() == ["observed"] * 8
    assert [(t.action, t.count) for t in guarded.recorder.trips] == [("none", 3)]
    assert guarded.recorder.count(SUBSCRIBED, subscription="observed") == 8


def test_mode_off_touches_nothing_of_tracks() -> None:
    services = Services(Settings.load(track_subscribe_mode="off"), MemoryRecorder())
    assert tracks.patches(services) == []


async def test_events_not_yet_read_go_to_the_new_holder(
    server: StageServer, room: rtc.Room
) -> None:
    with Guarded():
        model = ScriptedSTT()
        leases: list[Any] = []
        room.on("track_subscribed", lambda *_: leases.append(model.stream()))
        sid = server.publish("lobby", "alice")
        await server.settle()
        model.send(final("spoken before the flap"))
        server.unpublish(sid)
        server.publish("lobby", "alice")
        await server.settle()
        model.send(final("spoken after it"))
        old, new = leases
        assert [e async for e in old] == []
        heard = [await anext(new), await anext(new)]
        assert [e.alternatives[0].text for e in heard] == [
            "spoken before the flap",
            "spoken after it",
        ]
        await model.streams[0].aclose()


async def test_must_not_fire_mic_plus_screen_share_audio_of_one_participant(
    server: StageServer, room: rtc.Room
) -> None:
    with Guarded() as guarded:
        transcriber = Transcriber(room)
        for source in (Source.SOURCE_MICROPHONE, Source.SOURCE_SCREENSHARE_AUDIO):
            server.publish("lobby", "alice", source)
        await server.settle()
        assert len(getattr(transcriber.model, "streams", [])) == 2
        await transcriber.aclose()
    assert guarded.recorder.trips == []


async def test_must_not_fire_one_stt_stream_per_participant_in_a_transcriber(
    server: StageServer, room: rtc.Room
) -> None:
    with Guarded() as guarded:
        transcriber = Transcriber(room)
        model = transcriber.model
        assert isinstance(model, ScriptedSTT)
        for n in range(10):
            server.join("lobby", f"user-{n}")
            server.publish("lobby", f"user-{n}")
        await server.settle()
        assert len(model.streams) == 10
        for n in range(10):
            model.streams[n].say(final(str(n)))
        await server.settle()
        assert sorted(transcriber.heard) == [(n, str(n)) for n in range(10)]
        await transcriber.aclose()
    assert guarded.recorder.trips == []


async def test_must_not_fire_parallel_tracks_of_unknown_source_are_no_flapping(
    server: StageServer, room: rtc.Room
) -> None:
    with Guarded() as guarded:
        transcriber = Transcriber(room)
        for _ in range(5):
            server.publish("lobby", "alice", Source.SOURCE_UNKNOWN)
        await server.settle()
        assert len(getattr(transcriber.model, "streams", [])) == 5, "each live track has its own"
        await transcriber.aclose()
    assert guarded.recorder.trips == []


async def test_two_streams_for_one_track_are_two_streams(
    server: StageServer, room: rtc.Room
) -> None:
    with Guarded():
        model = ScriptedSTT()
        room.on("track_subscribed", lambda *_: (model.stream(), model.stream()))
        server.publish("lobby", "alice")
        await server.settle()
        assert len(model.streams) == 2
        for stream in model.streams:
            await stream.aclose()


async def flap_opening(server: StageServer, room: rtc.Room, openers: list[Any]) -> list[Any]:
    """One republish per opener, which opens the stream in the handler; the streams."""
    opened: list[Any] = []
    waiting = iter(openers)
    room.on("track_subscribed", lambda *_: opened.append(next(waiting)()))
    for _ in openers:
        server.unpublish(server.publish("lobby", "alice"))
        await server.settle()
    return opened


async def test_other_parameters_open_a_real_stream(server: StageServer, room: rtc.Room) -> None:
    with Guarded():
        model, other = ScriptedSTT(), ScriptedSTT(model="another")
        options = APIConnectOptions(max_retry=0)
        await flap_opening(
            server,
            room,
            [
                model.stream,
                lambda: model.stream(language="de"),
                lambda: model.stream(conn_options=options),
                other.stream,
                lambda: model.stream(conn_options=options),
            ],
        )
        assert (len(model.streams), len(other.streams)) == (3, 1)
        for stream in model.streams + other.streams:
            await stream.aclose()


async def test_an_stt_made_per_track_shares_only_with_the_same_settings(
    server: StageServer, room: rtc.Room
) -> None:
    made: list[ScriptedSTT] = []

    def opener(options: object) -> Any:
        def open_stream() -> stt.RecognizeStream:
            made.append(ScriptedSTT())
            made[-1]._opts = options  # type: ignore[attr-defined]  # where plugins keep settings
            return made[-1].stream()

        return open_stream

    with Guarded():
        await flap_opening(server, room, [opener({"l": "en"}), opener({"l": "en"}), opener("de")])
        assert [len(model.streams) for model in made] == [1, 0, 1]
        for model in made:
            for stream in model.streams:
                await stream.aclose()


async def test_audio_of_another_sample_rate_gets_a_real_stream_of_its_own(
    server: StageServer, room: rtc.Room
) -> None:
    with Guarded():
        model = ScriptedSTT()
        first, second = await flap_opening(server, room, [lambda: model.stream()] * 2)
        model.streams[0].push_frame(frame(16_000))
        reading = asyncio.create_task(anext(second))
        await server.settle()
        second.push_frame(frame(48_000))
        second.push_frame(frame(48_000))
        assert len(model.streams) == 2
        model.streams[1].say(final("on the new stream"))
        assert (await reading).alternatives[0].text == "on the new stream"
        with pytest.raises(ValueError, match="sample rate"):
            second.push_frame(frame(8_000))
        first.push_frame(frame(8_000))  # taken: dropped, no error
        for stream in model.streams:
            await stream.aclose()


async def test_a_lease_answers_like_the_stream_it_stands_for(
    server: StageServer, room: rtc.Room
) -> None:
    with Guarded():
        model = ScriptedSTT()
        (lease,) = await flap_opening(server, room, [model.stream])
        assert isinstance(lease, stt.RecognizeStream)
        assert lease._stt is model
        name = "remark"
        setattr(lease, name, "kept on the real stream")
        assert vars(model.streams[0])[name] == "kept on the real stream"
        lease.push_frame(frame())
        lease.flush()
        lease.end_input()
        with pytest.raises(RuntimeError, match="input ended"):
            lease.push_frame(frame())
        async with lease as same:
            assert same is lease
        with pytest.raises(RuntimeError, match="is closed"):
            lease.push_frame(frame())
        assert [e async for e in lease] == []
        await lease.aclose()
        await model.streams[0].aclose()


async def test_the_real_streams_own_errors_and_end_reach_the_holder(
    server: StageServer, room: rtc.Room
) -> None:
    class Failing(stt.RecognizeStream):
        async def _run(self) -> None:
            async for _ in self._input_ch:
                raise OSError("provider is gone")

    class FailingSTT(ScriptedSTT):
        def stream(self, **_: Any) -> stt.RecognizeStream:
            return Failing(stt=self, conn_options=DEFAULT_API_CONNECT_OPTIONS)

    with Guarded():
        model = FailingSTT()
        first, second = await flap_opening(server, room, [model.stream] * 2)
        assert first.__wrapped__ is second.__wrapped__
        second.push_frame(frame())
        for _ in range(2):
            with pytest.raises(OSError, match="provider is gone"):
                await anext(second)
        with pytest.raises(RuntimeError, match="is closed"):
            second.push_frame(frame())
        (third,) = await flap_opening(server, room, [model.stream])
        assert third.__wrapped__ is not second.__wrapped__, "a dead stream is not handed on"
        await third.__wrapped__.aclose()


async def test_an_error_of_stream_itself_passes_unchanged(
    server: StageServer, room: rtc.Room
) -> None:
    class Refusing(ScriptedSTT):
        def stream(self, **_: Any) -> stt.RecognizeStream:
            raise LookupError("no such language")

    seen: list[BaseException] = []

    def subscribed(*_: Any) -> None:
        try:
            Refusing().stream()
        except LookupError as error:
            seen.append(error)

    with Guarded():
        room.on("track_subscribed", subscribed)
        server.publish("lobby", "alice")
        await server.settle()
    assert [str(error) for error in seen] == ["no such language"]


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
    with Guarded(), mock.patch.object(lease_pool, "current_job", lambda: job):
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
        assert not any(isinstance(s, Lease) for s in transcriber.streams)
        await transcriber.aclose()
    assert guarded.recorder.events == []


async def test_a_track_nobody_transcribes_is_observed_and_a_trip_has_no_action(
    server: StageServer, room: rtc.Room
) -> None:
    with Guarded() as guarded:
        for _ in range(3):
            server.unpublish(server.publish("lobby", "alice"))
            await server.settle()
    assert guarded.outcomes() == ["allowed"] * 3
    assert guarded.recorder.count(SUBSCRIBED, subscription="observed") == 3
    assert [t.action for t in guarded.recorder.trips] == ["none"]


async def test_streams_outside_a_handler_are_untouched(server: StageServer, room: rtc.Room) -> None:
    with Guarded():
        server.publish("lobby", "alice")
        await server.settle()
        stream = ScriptedSTT().stream()
        assert type(stream).__name__ == "_RecognizeStream"
        await stream.aclose()


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Every lease that is given out."""
    leases: list[Any] = []
    give = Lease.__init__

    def remember(self: Lease, *args: Any) -> None:
        leases.append(self)
        give(self, *args)

    monkeypatch.setattr(Lease, "__init__", remember)
    return leases


async def test_a_stream_inside_an_adapter_stays_real(
    server: StageServer, room: rtc.Room, given: list[Any]
) -> None:
    """The adapter's stream is the lease; what it opens inside, now or later, is its own."""
    with Guarded() as guarded:
        model = ScriptedSTT()
        adapter = stt.FallbackAdapter([model])
        first, second = await flap_opening(server, room, [adapter.stream] * 2)
        await server.settle()
        assert given == [first, second]
        assert first.__wrapped__ is second.__wrapped__
        assert len(model.streams) == 1
        assert guarded.recorder.count("runguard.stt.streams") == 1, "the adapter's is not counted"
        await second.__wrapped__.aclose()
        await adapter.aclose()


async def test_a_class_that_extends_another_ones_stream_gives_one_lease(
    server: StageServer, room: rtc.Room, given: list[Any]
) -> None:
    class Extended(ScriptedSTT):
        def stream(self, **kw: Any) -> stt.RecognizeStream:
            return super().stream(**kw)

    with Guarded():
        model = Extended()
        (lease,) = await flap_opening(server, room, [model.stream])
        assert given == [lease]
        assert lease.__wrapped__ is model.streams[0]
        await lease.__wrapped__.aclose()


async def test_classes_defined_after_instrumenting_are_covered_and_undone() -> None:
    with Guarded():

        class Late(ScriptedSTT):
            def stream(self, **kw: Any) -> stt.RecognizeStream:
                return super().stream(**kw)

        before = vars(Late)["stream"]
        Late()
        Late()
        assert vars(Late)["stream"] is not before
    assert vars(Late)["stream"] is before
    del Late
    gc.collect()


def test_undoing_restores_every_class_exactly() -> None:
    owners = [rtc.Room, stt.STT, stt.RecognizeStream, *lease_patches.stream_classes(stt.STT)]
    before = [dict(vars(owner)) for owner in owners]
    with Guarded():
        assert [dict(vars(owner)) for owner in owners] != before
    assert [dict(vars(owner)) for owner in owners] == before


@pytest.mark.parametrize("broken", ["key", "take_over", "lend"])
async def test_a_failure_of_our_own_leaves_stock_behaviour(
    server: StageServer, room: rtc.Room, broken: str
) -> None:
    with (
        Guarded(tolerant=True) as guarded,
        mock.patch.object(lease_pool.StreamPool, broken, side_effect=TypeError("ours")),
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
        mock.patch.object(tracks, "_place", side_effect=TypeError("ours")),
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
