"""The examples with one agent and one session, as written: healthy, and in a storm off and on."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
from aiohttp import web
from livekit.agents import stt

from runguard_otel.testing.models import ScriptedSTT, final
from runguard_otel.testing.waiting import until
from tests.kit.outcomes import Outcomes
from tests.kit.playing import CALLER, Show, example, playing
from tests.kit.scripted_inference import lacks

pytestmark = pytest.mark.livekit

SENTENCES = ["a table for two please", "at eight on Friday", "my name is Ann"]
NOISE = ["uh", "hm", "mm", "ah", "er", "oh"]
STT, LLM = "deepgram/nova-3", "openai/gpt-4.1-mini"
STORM = {"vad_misfire:low_confidence": {"suppressed": len(NOISE)}}


@pytest.fixture(scope="module")
def outcomes(request: pytest.FixtureRequest) -> Iterator[Outcomes]:
    table = Outcomes("Examples: one session", "example", "storm", "counted", "off", "on")
    yield from table.printed(request)


async def talk(show: Show, texts: list[str], confidence: float = 0.9) -> None:
    """A caller says ``texts``, one after the other, and hears the answers."""
    for text in texts:
        await show.hear(text, confidence, at=0)
        await show.quiet()


async def healthy(monkeypatch: pytest.MonkeyPatch, module: ModuleType, model: str = STT) -> Show:
    """A call without anything wrong in it."""
    with playing(monkeypatch, cost_plan="ship") as show:
        async with show.job(module):
            await show.enter()
            await show.ready()
            await show.quiet()
            await talk(show, SENTENCES)
        show.healthy()
        assert show.asked == SENTENCES
        assert show.counted("runguard.stt.results") == 3
        assert show.counted("runguard.stt.results", kind="genuine", model=model) == 3
        assert show.counted("runguard.stt.streams", model=STT) == 0, "all are closed again"
        assert show.counted("runguard.stt.audio") == pytest.approx(show.stts[0].seconds)
        priced_to_the_right_parts(show)
        return show


def priced_to_the_right_parts(show: Show) -> None:
    """Each use is in the bill once."""
    spoken, tokens = sum(voice.characters for voice in show.voices), show.tokens_usd()
    assert show.counted("runguard.cost.unpriced", component="llm") == 0
    assert show.counted("runguard.cost.estimated", component="llm") == pytest.approx(tokens)
    assert tokens > 0
    assert show.counted("runguard.cost.unpriced", component="stt") == 0
    tts = show.counted("runguard.cost.estimated", component="tts", model="cartesia/sonic-3")
    assert tts == pytest.approx(spoken * 50e-6)
    assert show.cost.stt > 0
    assert float(show.cost.transport) == 0.0005


async def murmurs(monkeypatch: pytest.MonkeyPatch, module: ModuleType, guards: bool) -> Show:
    """A line that murmurs, and then a sentence."""
    with playing(monkeypatch, guards=guards) as show:
        async with show.job(module):
            await show.enter()
            await show.ready()
            await show.quiet()
            await talk(show, NOISE, 0.2)
            if guards:
                assert show.detectors == [] or show.detectors[0].thresholds != (0.5, 0.35)
            await talk(show, SENTENCES[:1])
    assert show.asked[-1] == SENTENCES[0]
    return show


async def off_against_on(
    monkeypatch: pytest.MonkeyPatch, module: ModuleType, outcomes: Outcomes, model: str = STT
) -> Show:
    """The murmurs are answered without the guards and not with them; everything is said once."""
    off = await murmurs(monkeypatch, module, guards=False)
    on = await murmurs(monkeypatch, module, guards=True)
    counts = [str(len(show.asked) - 1) for show in (off, on)]
    outcomes.add(module.__name__.rpartition(".")[2], "6 murmurs", "LLM calls", *counts)
    assert counts == ["6", "0"]
    misfires = {n: o for n, o in on.signatures.items() if n.startswith("vad_misfire:l")}
    assert misfires == STORM
    assert on.trips == [("vad_misfire", "suppress")]
    (trip,) = on.spans("runguard.trip")
    assert (trip["runguard.trip.count"], trip["lk.job_id"]) == (5, "AJ_1")
    for span in on.spans("runguard.vad_misfire"):
        if span["runguard.signature"] == "vad_misfire:low_confidence":
            assert span["gen_ai.request.model"] == model
    return on


async def test_voice_agent(monkeypatch: pytest.MonkeyPatch, outcomes: Outcomes) -> None:
    module = example("voice_agent")
    show = await healthy(monkeypatch, module)
    assert show.said[0] == "Good evening, how can I help?"
    await off_against_on(monkeypatch, module, outcomes)


async def test_own_stt_node(monkeypatch: pytest.MonkeyPatch, outcomes: Outcomes) -> None:
    """A corrected result has lost its confidence; a caller who needs many is still heard."""
    module = example("own_stt_node")
    await healthy(monkeypatch, module)
    await off_against_on(monkeypatch, module, outcomes)
    wrong = [f"live kid number {n} please" for n in range(6)]
    with playing(monkeypatch) as show:
        async with show.job(module):
            await show.enter()
            await show.ready()
            await talk(show, [SENTENCES[0], *wrong])
        show.healthy()
    assert show.asked[1:] == [text.replace("live kid", "LiveKit") for text in wrong]


async def test_fallback(monkeypatch: pytest.MonkeyPatch, outcomes: Outcomes) -> None:
    module = example("fallback")
    served = hasattr(stt.FallbackAdapter([ScriptedSTT()]), "_active_instance")
    name = STT if served else "FallbackAdapter"  # before 1.6 it does not say who served
    show = await healthy(monkeypatch, module, name)
    assert [len(model.streams) for model in show.stts] == [1, 0]
    assert [len(model.calls) for model in show.llms] == [3, 0]
    await off_against_on(monkeypatch, module, outcomes, name)


async def test_fallback_to_a_recogniser_without_confidences(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first provider goes, the second never says how sure it is: the caller is heard."""
    module = example("fallback")
    adapter = stt.FallbackAdapter
    monkeypatch.setattr(stt, "FallbackAdapter", lambda models: adapter(models, max_retry_per_stt=0))
    with playing(monkeypatch) as show:
        async with show.job(module):
            await show.enter()
            await show.ready()
            await talk(show, SENTENCES[:2])
            first, second = show.stts
            first.fail()
            await until(lambda: len(second.streams) == 1)
            for n in range(6):
                await show.hear(f"is anybody there {n}", 0.0, model=second)
                await show.quiet()
        show.healthy()
    assert len(show.asked) == 8
    assert show.counted("runguard.stt.results", kind="genuine") == 8


@pytest.mark.skipif(
    not hasattr(stt, "MultiSpeakerAdapter"), reason="this release has no MultiSpeakerAdapter"
)
async def test_many_speakers(monkeypatch: pytest.MonkeyPatch, outcomes: Outcomes) -> None:
    module = example("many_speakers")
    await healthy(monkeypatch, module)
    await off_against_on(monkeypatch, module, outcomes)
    with playing(monkeypatch) as show:
        async with show.job(module):
            await show.enter()
            await show.ready()
            await beside(show, "A", SENTENCES[0], level=8000)
            for n in range(6):
                await beside(show, "B", f"and then sentence {n} came", level=300)
        show.healthy()
    assert show.asked == SENTENCES[:1], "the adapter keeps the others back, and that is no storm"


async def beside(show: Show, speaker: str, text: str, level: int) -> None:
    """Somebody at the microphone says something, louder or less loud."""
    began = show.stts[0].seconds
    await show.stage.say(show.tracks[CALLER], 25, level)
    await until(lambda: show.stts[0].seconds >= began + 0.4)
    event = final(text)
    best: Any = event.alternatives[0]
    best.speaker_id, best.start_time, best.end_time = speaker, began, began + 0.4
    await show.result(event)
    await show.quiet()


class WhisperServer:
    """A transcription server that says what it is given, and then nothing."""

    def __init__(self, *texts: str) -> None:
        self.texts = list(texts)
        self.requests = 0

    async def transcribe(self, request: web.Request) -> web.Response:
        form = await request.post()
        assert form["model"] == "whisper-large-v3"
        self.requests += 1
        return web.json_response({"text": self.texts.pop(0) if self.texts else ""})

    async def __aenter__(self) -> WhisperServer:
        app = web.Application()
        app.router.add_post("/v1/audio/transcriptions", self.transcribe)
        self.runner = web.AppRunner(app)
        await self.runner.setup()
        await web.TCPSite(self.runner, "127.0.0.1", 0).start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.runner.cleanup()

    @property
    def url(self) -> str:
        port = self.runner.addresses[0][1]
        return f"http://127.0.0.1:{port}/v1/audio/transcriptions"


async def whisper_call(
    monkeypatch: pytest.MonkeyPatch, guards: bool, *texts: str, answer: str = "Of course."
) -> tuple[Show, WhisperServer]:
    """A voice for each text; the server hears that text."""
    module = example("batch_recogniser")
    with playing(monkeypatch, guards=guards) as show:
        show.answer = answer
        async with WhisperServer(*texts) as server:
            monkeypatch.setenv("WHISPER_URL", server.url)
            async with show.job(module):
                await show.enter()
                await until(lambda: bool(show.detectors) and len(show.detectors[0].streams) == 2)
                for n in range(len(texts)):
                    show.detectors[0].start_of_speech()
                    show.detectors[0].end_of_speech()
                    await until(lambda: server.requests == n + 1)  # noqa: B023 - awaited here
                    await show.quiet()
        return show, server


@pytest.mark.skipif(lacks("VAD"), reason="LiveKit Inference of this release has no VAD")
async def test_batch_recogniser(monkeypatch: pytest.MonkeyPatch, outcomes: Outcomes) -> None:
    show, _ = await whisper_call(monkeypatch, True, *SENTENCES)
    show.healthy()
    assert show.asked == SENTENCES
    assert show.counted("runguard.stt.results", provider="self-hosted") == 3
    unpriced = show.counted("runguard.cost.unpriced", component="stt", unit="second")
    assert unpriced == pytest.approx(3 * 0.6), "a model without a price is unpriced, not free"

    show, server = await whisper_call(monkeypatch, True, *[""] * 5)
    assert server.requests == 5
    assert show.signatures["vad_misfire:empty_transcript"] == {"suppressed": 5}
    assert show.trips == [("vad_misfire", "suppress")]
    assert show.spans("runguard.vad_misfire")[0]["gen_ai.request.model"] == "whisper-large-v3"

    answer = "We have a table for two on Friday evening."
    echoes = ["have a table for two on Friday"] * 4
    told = [
        (await whisper_call(monkeypatch, guards, SENTENCES[0], *echoes, answer=answer))[0]
        for guards in (False, True)
    ]
    counts = [str(len(show.asked) - 1) for show in told]
    outcomes.add("batch_recogniser", "4 echoes", "LLM calls", *counts)
    assert counts == ["4", "1"]
