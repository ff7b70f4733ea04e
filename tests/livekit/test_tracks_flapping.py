"""A flapping participant and the transcriber that users write: one stream, nothing lost."""

from __future__ import annotations

from typing import Any

import pytest
from livekit import rtc

from runguard_otel.adapters.livekit.services import Services
from runguard_otel.adapters.livekit.subscription import hooks as subscription
from runguard_otel.adapters.livekit.subscription.handle import StreamHandle
from runguard_otel.settings import Settings
from runguard_otel.testing.ffi import StageServer
from runguard_otel.testing.listening import ScriptedSTT, final
from tests.kit.recorder import MemoryRecorder
from tests.kit.tracks import Guarded, Transcriber
from tests.kit.tracks_scenes import SUBSCRIBED, Source, flap

pytestmark = pytest.mark.livekit


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
    if ending:
        assert guarded.recorder.trips == [], "no two streams were ever open"
        return
    (trip,) = guarded.recorder.trips
    assert "close it when its track ends" in trip.reason
    assert (trip.action, trip.count, trip.window_seconds) == ("reuse_stream", 3, 30)
    assert trip.signature_with_key.startswith("track_subscribe:PA_")
    assert (trip.subject.room, trip.subject.participant) == ("lobby", "alice")


@pytest.mark.parametrize(("module", "streams"), [("nvidia", 3), ("deepgram", 1)])
async def test_a_stream_that_a_flush_has_ended_is_not_handed_on(
    server: StageServer, room: rtc.Room, module: str, streams: int
) -> None:
    """Fails if ``flush`` goes past the shared stream: Riva hears nothing more, nor does track 2."""
    kind = type("STT", (ScriptedSTT,), {"__module__": f"livekit.plugins.{module}.stt"})
    with Guarded():
        transcriber = Transcriber(room, kind(), ending="end_input")
        model: Any = transcriber.model
        await flap(server, transcriber, 3)
        assert len(model.streams) == streams
        assert [text for _, text in transcriber.heard] == [f"sentence {n}" for n in range(3)]
        await transcriber.aclose()
        await server.settle()


async def test_stock_livekit_opens_eight_streams(server: StageServer, room: rtc.Room) -> None:
    transcriber = Transcriber(room)
    await flap(server, transcriber, 8)
    assert len(transcriber.streams) == 8
    assert not any(isinstance(s, StreamHandle) for s in transcriber.streams)
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
    assert subscription.patches(services) == []


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


async def test_must_not_fire_a_track_that_is_neither_transcribed_nor_read_is_observed(
    server: StageServer, room: rtc.Room
) -> None:
    with Guarded() as guarded:
        for _ in range(3):
            server.unpublish(server.publish("lobby", "alice"))
            await server.settle()
    assert guarded.outcomes() == ["allowed", "observed", "observed"]
    assert guarded.recorder.count(SUBSCRIBED, subscription="observed") == 3
    assert guarded.recorder.trips == []
