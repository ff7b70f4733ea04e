"""Recognisers without streaming: what stream adapters swallow is counted once, and only there."""

from __future__ import annotations

from typing import Any

import pytest
from livekit import rtc
from livekit.agents import stt

from runguard_otel.testing.calls import Call, call
from runguard_otel.testing.models import ScriptedBatchSTT, final, malformed_final
from runguard_otel.testing.waiting import settle
from tests.kit.speech import Guarded

pytestmark = pytest.mark.livekit

GENUINE = "a table for two please"


async def segments(c: Call, count: int) -> None:
    for _ in range(count):
        c.vad.start_of_speech()
        await settle(30)
        c.vad.end_of_speech()
        await settle()


async def test_stock_pays_for_every_empty_segment_and_says_nothing() -> None:
    recogniser = ScriptedBatchSTT([final("", 0.0)] * 3)
    async with call(recogniser=recogniser) as c:
        await segments(c, 3)
        assert (len(recogniser.requests), c.asked, c.transcribed) == (3, [], [])


@pytest.mark.parametrize("empty", [final("", 0.0), malformed_final()], ids=["blank", "malformed"])
async def test_each_empty_segment_is_one_misfire_and_five_trip(empty: stt.SpeechEvent) -> None:
    recogniser = ScriptedBatchSTT([empty] * 6 + [final(GENUINE)])
    with Guarded() as guarded:
        async with call(recogniser=recogniser) as c:
            await segments(c, 6)
            assert guarded.kinds == ["empty_transcript"] * 6
            assert [t.signature for t in guarded.recorder.trips] == ["vad_misfire:empty_transcript"]
            assert c.vad.thresholds == pytest.approx((0.7, 0.55))
            await segments(c, 1)
            assert c.asked == [GENUINE]
            assert c.vad.thresholds == (0.5, 0.35)
    assert guarded.recorder.count("runguard.stt.results", kind="empty") == 6
    assert guarded.recorder.count("runguard.stt.results", kind="genuine") == 1
    assert guarded.recorder.count("runguard.stt.results", model="scripted-batch") == 7


async def test_low_confidence_from_a_batch_recogniser_is_counted_once_and_suppressed() -> None:
    recogniser = ScriptedBatchSTT([final("uh", 0.1), final(GENUINE)])
    with Guarded() as guarded:
        async with call(recogniser=recogniser) as c:
            await segments(c, 2)
            assert c.asked == [GENUINE]
    assert guarded.kinds == ["low_confidence"]


async def test_nested_adapters_count_once() -> None:
    """A fallback adapter asks the recogniser inside it through the same method."""

    def nested(*script: stt.SpeechEvent) -> stt.STT[Any]:
        class Outer(ScriptedBatchSTT):
            async def _recognize_impl(self, buffer: Any, **kwargs: Any) -> stt.SpeechEvent:
                return await inner.recognize(buffer=buffer)

        inner = ScriptedBatchSTT(script)
        return Outer([])

    with Guarded() as guarded:
        async with call(recogniser=nested(final("", 0.0), final("", 0.0))) as c:
            await segments(c, 2)
    assert guarded.kinds == ["empty_transcript"] * 2


async def test_requests_of_the_application_itself_are_none_of_our_business() -> None:
    recogniser = ScriptedBatchSTT([final("", 0.0)])
    with Guarded() as guarded:
        async with call():
            frame = rtc.AudioFrame.create(16_000, 1, 1600)
            result = await recogniser.recognize(buffer=[frame])
            assert result.alternatives[0].text == ""
    assert guarded.recorder.events == []


async def test_an_error_of_the_recogniser_passes_unchanged() -> None:
    class Broken(ScriptedBatchSTT):
        async def _recognize_impl(self, buffer: Any, **_: Any) -> stt.SpeechEvent:
            raise LookupError("no line")

    with Guarded() as guarded, pytest.raises(LookupError, match="no line"):
        await Broken([]).recognize(buffer=[rtc.AudioFrame.create(16_000, 1, 1600)])
    assert not guarded.recorder.errors
