"""Who is it that heard this? Behind adapters and overridden nodes a result has more than one maker.

Many recognisers never report a confidence: LiveKit's 0.0 then means "unknown". Where results of
several makers come through one door, one maker's confidences must not be held against another.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from livekit import rtc
from livekit.agents import Agent, APIConnectionError, stt

from runguard_otel.adapters.livekit.facts.models import recogniser_of
from runguard_otel.testing.calls import Call, call
from runguard_otel.testing.models import ScriptedBatchSTT, ScriptedSTT, ScriptedVAD, final
from runguard_otel.testing.waiting import settle, until
from tests.kit.speech import BreakableSTT, Guarded

pytestmark = pytest.mark.livekit

SENTENCES = [f"a table for {n} please" for n in ("two", "three", "four", "five", "six", "seven")]


@pytest.mark.parametrize("primary_is_back", [False, True], ids=["primary down", "primary back"])
async def test_must_not_fire_the_second_provider_of_a_fallback_reports_no_confidence(
    primary_is_back: bool,
) -> None:
    primary = BreakableSTT("scripted", "reports")
    secondary = ScriptedSTT("scripted", "reports-nothing")
    adapter: Any = stt.FallbackAdapter([primary, secondary], max_retry_per_stt=0)
    with Guarded() as guarded:
        async with call(recogniser=adapter) as c:

            async def hear(model: ScriptedSTT, text: str, confidence: float) -> None:
                c.vad.start_of_speech()
                await settle(20)
                model.send(final(text, confidence))
                await settle(60)
                c.vad.end_of_speech()
                await settle()

            await hear(primary, "good evening to you", 0.93)
            await hear(primary, "is this the restaurant", 0.88)
            primary.fail()
            await settle()
            assert len(secondary.streams) == 1
            if primary_is_back:
                primary.send(final("a table", 0.9))  # on its trial stream, beside the other
                await settle()
            for text in SENTENCES:
                await hear(secondary, text, 0.0)
            assert c.asked[-len(SENTENCES) :] == SENTENCES
    assert guarded.kinds == []
    assert not guarded.recorder.trips


class Corrects(Agent):
    """Rebuilds some results: whoever makes a ``SpeechData`` anew leaves its confidence at 0.0."""

    async def stt_node(self, audio: Any, model_settings: Any) -> AsyncIterator[stt.SpeechEvent]:
        async for event in Agent.default.stt_node(self, audio, model_settings):
            if isinstance(event, stt.SpeechEvent) and event.alternatives:
                said = event.alternatives[0]
                if "tabel" in said.text:
                    text = said.text.replace("tabel", "table")
                    event.alternatives = [stt.SpeechData(language=said.language, text=text)]
            yield event


async def test_must_not_fire_an_overridden_stt_node_that_makes_results_anew() -> None:
    with Guarded() as guarded:
        async with call(agent=Corrects(instructions="Be brief.")) as c:
            await c.hear(final("good evening to you", 0.93))
            for text in SENTENCES:
                await c.hear(final(text.replace("table", "tabel"), 0.9))
            assert c.asked[-len(SENTENCES) :] == SENTENCES
    assert guarded.kinds == []


async def test_must_not_fire_a_recogniser_that_reports_some_confidences_and_not_all() -> None:
    """Google's plugin hands on 0.0 where the API has not set the field."""
    said = ["I want to book a table", "for two people at eight", "tomorrow please"]
    with Guarded() as guarded:
        async with call() as c:
            for text, confidence in zip(said, (0.92, 0.0, 0.0), strict=True):
                await c.hear(final(text, confidence))
            assert c.asked == said
            await c.hear(final("", 0.0))
    assert guarded.kinds == ["empty_transcript"]


@pytest.mark.parametrize("provider", ["Amazon Transcribe", "Sarvam", "SmallestAI"])
@pytest.mark.parametrize("confidence", [0.24, 0.48])
async def test_must_not_fire_a_confidence_in_something_else_than_the_result(
    provider: str, confidence: float
) -> None:
    """That of the first word, or of the language: the caller was as clear as can be."""
    with Guarded() as guarded:
        async with call(recogniser=ScriptedSTT(provider)) as c:
            for text in SENTENCES:
                await c.hear(final(text, confidence))
            assert c.asked == SENTENCES
            await c.hear(final("", confidence))
    assert guarded.kinds == ["empty_transcript"]


async def test_one_such_provider_of_a_fallback_makes_the_confidence_of_all_unknown() -> None:
    """Before 1.6 the adapter does not tell which of them it was; since then it does."""
    models: list[Any] = [ScriptedSTT("scripted"), ScriptedSTT("Sarvam")]
    adapter: Any = stt.FallbackAdapter(models)
    told = hasattr(adapter, "_active_instance")
    assert recogniser_of(adapter).measures == told
    adapter._active_instance = models[1]
    assert not recogniser_of(adapter).measures
    assert recogniser_of(stt.FallbackAdapter(models[:1])).measures


class BrokenBatch(ScriptedBatchSTT):
    """A provider whose requests fail until it is mended."""

    broken = True

    async def _recognize_impl(self, buffer: Any, **options: Any) -> stt.SpeechEvent:
        if self.broken:
            raise APIConnectionError("the provider is down")
        return await super()._recognize_impl(buffer, **options)


async def test_a_provider_on_trial_beside_the_serving_one_counts_no_blank_a_second_time() -> None:
    detector = ScriptedVAD()
    primary, secondary = BrokenBatch([]), ScriptedBatchSTT([final("", 0.0)] * 9)
    streaming: list[stt.STT[Any]] = [
        stt.StreamAdapter(stt=one, vad=detector) for one in (primary, secondary)
    ]
    adapter: Any = stt.FallbackAdapter(streaming, max_retry_per_stt=0)
    with Guarded() as guarded:
        async with call(recogniser=adapter, detector=detector):

            async def noise() -> None:
                detector.start_of_speech()
                await settle(30)
                detector.end_of_speech()
                await settle()

            await noise()  # heard by nobody: the primary fails, and the secondary takes over
            primary.broken = False
            before = len(primary.requests)
            for _ in range(4):
                await noise()
            assert len(secondary.requests) == 4
            assert len(primary.requests) - before == 4, "the trial stream asks, and is billed"
            assert guarded.kinds == ["empty_transcript"] * 4
            assert not guarded.recorder.trips
    assert guarded.recorder.count("runguard.stt.results", kind="empty") == 4


class Diarizing(ScriptedSTT):
    """A recogniser that tells speakers apart."""

    def __init__(self) -> None:
        super().__init__()
        capabilities: Any = self._capabilities
        capabilities.diarization = True


def said(speaker: str, text: str, at: float) -> stt.SpeechEvent:
    """A final result with who spoke, and when."""
    event = final(text)
    best: Any = event.alternatives[0]
    best.speaker_id, best.start_time, best.end_time = speaker, at, at + 0.5
    return event


async def two_speakers(c: Call) -> None:
    """The caller, loud, orders; then a colleague talks in the background, six sentences long."""
    loud = (8000).to_bytes(2, "little", signed=True) * 8000
    soft = (300).to_bytes(2, "little", signed=True) * 8000
    at = c.input.seconds
    for n in range(7):
        c.input.push(rtc.AudioFrame(loud if n == 0 else soft, 16_000, 1, 8000))
        await until(lambda: c.input.seconds >= at + 0.5 * (n + 1))  # noqa: B023 - awaited here
        await settle()
        who, text = ("A", SENTENCES[0]) if n == 0 else ("B", f"and then sentence {n} came")
        await c.hear(said(who, text, at + 0.5 * n))


@pytest.mark.skipif(not hasattr(stt, "MultiSpeakerAdapter"), reason="not in this release")
async def test_must_not_fire_background_speakers_that_the_host_keeps_back() -> None:
    """The adapter says a blank for each sentence of a bystander: five are no storm."""
    model = Diarizing()
    kind: Any = vars(stt)["MultiSpeakerAdapter"]
    adapter = kind(stt=model, suppress_background_speaker=True)
    with Guarded() as guarded:
        async with call(recogniser=adapter) as c:
            c.stt = model  # what a voice leads to is said inside the adapter
            await two_speakers(c)
            assert c.asked == [SENTENCES[0]]
            assert c.vad.thresholds == (0.5, 0.35)
            assert guarded.kinds == []
            for _ in range(5):  # what the provider itself finds blank still is
                await c.hear(final("", 0.0))
    assert guarded.kinds == ["empty_transcript"] * 5
    assert len(guarded.recorder.trips) == 1
