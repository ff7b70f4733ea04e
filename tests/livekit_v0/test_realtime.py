"""Misfires of a realtime model on 0.12: observed, for they are billed before we hear of them."""

from __future__ import annotations

import pytest

from tests.kit.v0_call import Guarded, realtime_call, settle
from tests.kit.v0_models import HAS_V0

pytestmark = [
    pytest.mark.livekit,
    pytest.mark.skipif(not HAS_V0, reason="needs livekit-agents 0.12, see docs/livekit-0.12.md"),
]


async def test_empty_transcriptions_are_counted_and_trip_without_any_action() -> None:
    with Guarded() as guarded:
        async with realtime_call() as call:
            committed: list[str] = []
            call.agent.on("user_speech_committed", committed.append)
            for _ in range(5):
                call.model.sessions[0].hears("")
                await settle()
            call.model.sessions[0].hears("a table for two please")
            await settle()
            assert committed == [""] * 5 + ["a table for two please"], "the host is left alone"
        assert guarded.misfires == [("empty_transcript", "observed")] * 5
        (trip,) = guarded.recorder.trips
        assert (trip.guard, trip.mode, trip.action) == ("vad_misfire", "observe", "none")
        assert guarded.recorder.count("runguard.stt.results", kind="genuine") == 1
        assert guarded.recorder.open_guards["vad_misfire"] == 0
