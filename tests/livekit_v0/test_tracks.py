"""Flapping tracks on 0.12, which opens an STT stream for every one of them."""

from __future__ import annotations

import pytest

from runguard_otel.testing.listening import final
from tests.kit.v0_call import Guarded, realtime_call, settle, voice_call
from tests.kit.v0_models import HAS_V0

pytestmark = [
    pytest.mark.livekit,
    pytest.mark.skipif(not HAS_V0, reason="needs livekit-agents 0.12, see docs/livekit-0.12.md"),
]

GENUINE = "a table for two please"
FLAPS = 7


@pytest.mark.parametrize("early", [True, False], ids=["track first", "agent first"])
async def test_stock_0_12_opens_a_stream_for_every_track(early: bool) -> None:
    async with voice_call(early=early) as call:
        for _ in range(FLAPS):
            await call.flap()
        assert len(call.stt.streams) == 1 + FLAPS


@pytest.mark.parametrize("early", [True, False], ids=["track first", "agent first"])
async def test_enforced_one_stream_serves_all_tracks_and_the_call_goes_on(early: bool) -> None:
    with Guarded() as guarded:
        async with voice_call(early=early) as call:
            await call.noise()
            for _ in range(FLAPS):
                await call.flap()
            await call.noise()
            assert len(call.stt.streams) == 1
            assert call.stt.seconds == pytest.approx(0.4), "audio of the last track flows into it"
            await call.hear(final(GENUINE))
            await call.quiet()
            assert call.asked == [GENUINE]
        (trip,) = guarded.recorder.trips
        assert (trip.guard, trip.threshold, trip.action) == ("track_subscribe", 3, "reuse_stream")
        count = guarded.recorder.count
        assert count("runguard.track.subscriptions", subscription="opened") == 1
        assert count("runguard.track.subscriptions", subscription="reused") == FLAPS
        assert count("runguard.stt.streams", provider="scripted") == 0, "closed with the call"


async def test_observe_counts_and_leaves_every_stream_to_the_host() -> None:
    with Guarded(mode="observe") as guarded:
        async with voice_call() as call:
            for _ in range(FLAPS):
                await call.flap()
            assert len(call.stt.streams) == 1 + FLAPS
        assert [t.guard for t in guarded.recorder.trips] == ["track_subscribe"]


async def test_what_was_recognised_between_two_tracks_is_not_lost() -> None:
    with Guarded():
        async with voice_call() as call:
            call.stage.unpublish(call.track)
            await call.stage.settle()
            call.stt.send(final(GENUINE))
            await call.publish()
            await settle()
            await call.quiet()
            assert call.asked == [GENUINE]


async def test_a_second_microphone_that_is_not_the_caller_s_gets_nothing_of_it() -> None:
    with Guarded():
        async with voice_call() as call:
            call.stage.join("table-booking", "bystander")
            call.stage.publish("table-booking", "bystander")
            await call.stage.settle()
            assert len(call.stt.streams) == 1
            await call.flap()
            assert len(call.stt.streams) == 1


async def test_must_not_fire_a_realtime_agent_that_leaves_no_reader_behind() -> None:
    with Guarded() as guarded:
        async with realtime_call() as call:
            for _ in range(FLAPS):
                await call.flap()
            await call.noise(20)
            await settle(0.05)
            assert len(call.model.sessions) == 1
            assert call.model.sessions[0].seconds > 0
        assert guarded.recorder.trips == []
        assert len(guarded.found("track_subscribe")) == FLAPS + 1
