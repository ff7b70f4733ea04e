"""A request that reached a provider is on the bill once, also where the host reports nothing."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from livekit.agents import (
    AgentSession,
    APIConnectOptions,
    APIStatusError,
    APITimeoutError,
    llm,
    metrics,
    stt,
    tts,
)

import runguard_otel
from runguard_otel.adapters.livekit.services import Services
from runguard_otel.adapters.livekit.usage.hooks import patches
from runguard_otel.adapters.livekit.usage.metrics import usage_of
from runguard_otel.adapters.patching import PatchSet
from runguard_otel.core.ports import Usage
from runguard_otel.settings import Settings
from runguard_otel.testing.models import ScriptedBatchSTT, ScriptedLLM, ScriptedTTS
from runguard_otel.testing.waiting import settle
from tests.kit.recorder import MemoryRecorder
from tests.kit.usage_desk import SPEAKS

pytestmark = pytest.mark.livekit


class Bill:
    """A ``UsagePort`` that remembers requests."""

    def __init__(self) -> None:
        self.uses: list[Usage] = []

    def used(self, usage: Usage) -> None:
        self.uses.append(usage)

    def __getattr__(self, name: str) -> Any:
        return lambda *_: None

    def unreported(self, component: str) -> float:
        return sum(u.quantities.get("requests", 0) for u in self.uses if u.component == component)


@pytest.fixture
def bill() -> Iterator[Bill]:
    made = Bill()
    port: Any = made
    installed = PatchSet(patches(Services(Settings.load(), MemoryRecorder(), usage=port)))
    installed.install()
    yield made
    installed.undo()


class SlowStream(llm.LLMStream):
    async def _run(self) -> None:
        model: Any = self._llm
        model.requests += 1
        if model.errors:
            raise model.errors.pop(0)
        await asyncio.sleep(3600)


class SlowLLM(ScriptedLLM):
    """Says nothing before somebody gives up, or fails as told."""

    def __init__(self, *errors: Exception) -> None:
        super().__init__()
        self.requests = 0
        self.errors = list(errors)

    def chat(self, **_: Any) -> llm.LLMStream:
        return SlowStream(
            self,
            chat_ctx=llm.ChatContext.empty(),
            tools=[],
            conn_options=APIConnectOptions(max_retry=1, retry_interval=0.0, timeout=1),
        )


async def test_four_preemptive_requests_are_four_requests(bill: Bill) -> None:
    """Three are given up before their first chunk, the host measures the fourth alone."""
    model = SlowLLM()
    for _ in range(3):
        stream = model.chat()
        await settle(5)
        await stream.aclose()
    sound = ScriptedLLM("yes")
    context = llm.ChatContext.empty()
    async with sound.chat(chat_ctx=context) as stream:
        async for _ in stream:
            pass
    await settle(20)
    assert model.requests == 3
    assert bill.unreported("llm") == 3
    measured = [u for u in bill.uses if "output_tokens" in u.quantities]
    assert len(measured) == 1
    assert {u.model for u in bill.uses if u not in measured} == {"scripted-llm"}


async def test_a_stream_that_is_closed_before_it_was_sent_is_no_request(bill: Bill) -> None:
    model = SlowLLM()
    await model.chat().aclose()
    assert model.requests == 0
    # 1.0 and 1.1 themselves report one that used nothing; it cannot be told from one given up.
    assert [u for u in bill.uses if u.quantities != {"requests": 1}] == []
    if hasattr(AgentSession, "run"):  # since 1.2
        assert bill.uses == []


async def test_a_timeout_may_have_been_served(bill: Bill) -> None:
    """Two attempts: the one that timed out is unmeasured, and so is the one that was given up."""
    model = SlowLLM(APITimeoutError())
    stream = model.chat()
    for _ in range(100):
        await asyncio.sleep(0.01)
        if model.requests == 2:
            break
    await stream.aclose()
    assert model.requests == 2
    assert bill.unreported("llm") == 2


async def test_a_refused_request_costs_nothing(bill: Bill) -> None:
    model = SlowLLM(APIStatusError("no", status_code=400))
    stream = model.chat()
    with pytest.raises(APIStatusError):
        async for _ in stream:
            pass
    await stream.aclose()
    assert bill.uses == []


async def test_a_voice_that_is_measured_is_counted_once(bill: Bill) -> None:
    async with ScriptedTTS().synthesize("hello") as stream:
        async for _ in stream:
            pass
    await settle(20)
    assert bill.unreported("tts") == 0
    assert sum(u.quantities["characters"] for u in bill.uses if u.component == "tts") == 5


class GivenUp(ScriptedBatchSTT):
    async def _recognize_impl(self, buffer: Any, **_: Any) -> stt.SpeechEvent:
        await asyncio.sleep(3600)
        raise AssertionError("somebody gave up before")


async def test_a_recognition_that_was_given_up(bill: Bill) -> None:
    from livekit import rtc

    model = GivenUp([])
    asked = asyncio.create_task(model.recognize([rtc.AudioFrame.create(16_000, 1, 160)]))
    await settle(5)
    asked.cancel()
    await asyncio.gather(asked, return_exceptions=True)
    assert bill.unreported("stt") == 1


def measured(provider: str, **tokens: int) -> dict[str, float]:
    fields = metrics.LLMMetrics.model_fields
    if not set(tokens) <= set(fields) or "metadata" not in fields:
        pytest.skip("this release does not say it")
    filled: dict[str, Any] = {n: 0 for n, f in fields.items() if f.is_required()}
    filled.update(label="x", request_id="r", cancelled=False)
    made = metrics.LLMMetrics(
        **{**filled, **tokens, "metadata": {"model_name": "m", "model_provider": provider}}
    )
    usage = usage_of(made, None)
    assert usage is not None
    return {meter: n for meter, n in usage.quantities.items() if n}


def test_thinking_of_gemini_is_billed_as_output() -> None:
    """65 and 5 of 1,031: fails if what no part holds is dropped."""
    used = measured("Gemini", prompt_tokens=65, completion_tokens=5, total_tokens=1031)
    assert used == {"input_tokens": 65, "output_tokens": 966}


def test_what_no_part_of_another_providers_total_holds_has_no_price() -> None:
    used = measured("acme", prompt_tokens=65, completion_tokens=5, total_tokens=1031)
    assert used == {"input_tokens": 65, "output_tokens": 5, "unsplit_tokens": 961}


def test_a_prompt_that_is_net_of_its_cache_is_no_thinking() -> None:
    used = measured(
        "aws", prompt_tokens=1000, prompt_cached_tokens=400, completion_tokens=10, total_tokens=1410
    )
    assert used == {"input_tokens": 1000, "cached_input_tokens": 400, "output_tokens": 10}


def test_a_total_of_its_parts_changes_nothing() -> None:
    used = measured("Gemini", prompt_tokens=65, completion_tokens=5, total_tokens=70)
    assert used == {"input_tokens": 65, "output_tokens": 5}


class Speaker(tts.SynthesizeStream):
    """Speaks as much as it was given; the end comes when it is told."""

    async def _run(self, output_emitter: Any) -> None:
        voice: Any = self._tts
        output_emitter.initialize(
            request_id="r",
            sample_rate=24_000,
            num_channels=1,
            mime_type="audio/pcm",
            stream=True,
        )
        output_emitter.start_segment(segment_id="s")
        async for said in self._input_ch:
            if isinstance(said, str):
                self._mark_started()
                output_emitter.push(bytes(48_000))
        voice.asked += 1
        if voice.refuses:
            raise APIStatusError("no", status_code=400)
        await voice.done.wait()
        output_emitter.end_segment()


class StreamedTTS(tts.TTS[Any]):
    """A voice that is given its text in pieces, and has no other way."""

    def __init__(self, *, refuses: bool = False) -> None:
        super().__init__(
            capabilities=tts.TTSCapabilities(streaming=True), sample_rate=24_000, num_channels=1
        )
        self.asked = 0
        self.refuses = refuses
        self.done = asyncio.Event()

    def stream(self, *, conn_options: Any = None) -> tts.SynthesizeStream:
        return Speaker(tts=self, conn_options=APIConnectOptions(max_retry=0, timeout=5))

    def synthesize(self, text: str, *, conn_options: Any = None) -> tts.ChunkedStream:
        once = APIConnectOptions(max_retry=0, timeout=5)
        made: tts.ChunkedStream = self._synthesize_with_stream(text, conn_options=once)
        return made

    async def is_asked(self) -> None:
        while not self.asked:
            await asyncio.sleep(0.001)


needs_an_emitter = pytest.mark.skipif(not SPEAKS, reason="since 1.2")
since_1_3 = pytest.mark.skipif(not hasattr(tts.TTS, "_synthesize_with_stream"), reason="since 1.3")


@needs_an_emitter
@pytest.mark.parametrize("heard", [False, True], ids=["unheard", "heard"])
async def test_a_voice_that_is_interrupted_counts_with_its_text(bill: Bill, heard: bool) -> None:
    """The host measures no segment that did not end, and its provider bills all of the text."""
    voice = StreamedTTS()
    stream = voice.stream()
    stream.push_text("Good morning, ")
    stream.push_text("Ada.")
    stream.end_input()
    await voice.is_asked()
    if heard:
        await asyncio.wait_for(anext(stream), 5)
    await stream.aclose()
    await settle(20)
    spoken = [u.quantities for u in bill.uses if u.component == "tts"]
    assert spoken == [{"characters": 18}]


@needs_an_emitter
async def test_a_voice_that_speaks_to_its_end_is_counted_once(bill: Bill) -> None:
    voice = StreamedTTS()
    voice.done.set()
    async with voice.stream() as stream:
        stream.push_text("Good morning, Ada.")
        stream.end_input()
        async for _ in stream:
            pass
    await settle(20)
    assert bill.unreported("tts") == 0
    assert [u.quantities["characters"] for u in bill.uses if u.component == "tts"] == [18]


@needs_an_emitter
async def test_a_voice_that_refuses_costs_nothing(bill: Bill) -> None:
    async with StreamedTTS(refuses=True).stream() as stream:
        stream.push_text("Good morning, Ada.")
        stream.end_input()
        with pytest.raises(APIStatusError):
            async for _ in stream:
                pass
    await settle(20)
    assert bill.uses == []


@since_1_3
@pytest.mark.parametrize("interrupted", [False, True], ids=["whole", "interrupted"])
async def test_a_text_that_is_streamed_inside_is_counted_once(
    bill: Bill, interrupted: bool
) -> None:
    """The host measures it twice: as it was asked for, and as it was given to the provider."""
    voice = StreamedTTS()
    if not interrupted:
        voice.done.set()
    stream = voice.synthesize("Good morning, Ada.")
    if interrupted:
        await voice.is_asked()
    else:
        async for _ in stream:
            pass
    await stream.aclose()
    await settle(20)
    used = [u.quantities for u in bill.uses if u.component == "tts"]
    assert len(used) == 1
    assert used[0]["characters"] == 18


async def waiting_for_the_collector(ask: Callable[[], Awaitable[Any]]) -> int:
    """How many streams are left behind by three requests, were it not for the collector."""
    await ask()
    gc.collect()
    gc.disable()
    try:
        for _ in range(3):
            await ask()
            await settle()
        kinds = (llm.LLMStream, tts.ChunkedStream, tts.SynthesizeStream, stt.RecognizeStream)
        return sum(isinstance(one, kinds) for one in gc.get_objects())
    finally:
        gc.enable()


async def reply() -> None:
    model = ScriptedLLM()
    async with model.chat(chat_ctx=llm.ChatContext.empty()) as answer:
        async for _ in answer:
            pass


async def speech() -> None:
    voice = ScriptedTTS()
    async with voice.synthesize("so long") as spoken:
        async for _ in spoken:
            pass


@pytest.mark.parametrize("ask", [reply, speech])
async def test_a_request_does_not_wait_for_the_garbage_collector_because_of_us(ask: Any) -> None:
    """Each reply of each call would keep its stream, its chat and its tasks until then."""
    without = await waiting_for_the_collector(ask)
    assert runguard_otel.instrument().active
    try:
        assert await waiting_for_the_collector(ask) <= without
    finally:
        runguard_otel.uninstrument()
