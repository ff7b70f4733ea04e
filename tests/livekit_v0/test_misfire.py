"""VAD misfires on 0.12: what wakes the LLM, before and after."""

from __future__ import annotations

import pytest

from runguard_otel.demo.stage.listening import final
from tests.kit.v0_call import Guarded, VoiceCall, voice_call
from tests.kit.v0_models import HAS_V0

pytestmark = [
    pytest.mark.livekit,
    pytest.mark.skipif(not HAS_V0, reason="needs livekit-agents 0.12, see docs/livekit-0.12.md"),
]

GENUINE = "a table for two please"


async def storm(call: VoiceCall, times: int = 5) -> None:
    for _ in range(times):
        await call.hear(final("", 0.0))
        await call.quiet()


async def test_stock_0_12_asks_the_llm_about_every_empty_transcript() -> None:
    with Guarded(on=False):
        async with voice_call() as call:
            await storm(call)
            assert call.asked == ["<continue>"] * 5
            assert len(call.tts.said) == 5


async def test_enforced_no_empty_transcript_reaches_the_llm_and_speech_is_answered() -> None:
    with Guarded() as guarded:
        async with voice_call() as call:
            await storm(call)
            assert call.asked == []
            assert call.tts.said == []
            await call.hear(final(GENUINE))
            await call.quiet()
            assert call.asked == [GENUINE]
            assert call.tts.said == ["Of course."]
        assert guarded.misfires == [("empty_transcript", "suppressed")] * 5
        (trip,) = guarded.recorder.trips
        assert (trip.guard, trip.count, trip.action) == ("vad_misfire", 5, "suppress")
