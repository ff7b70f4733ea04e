"""Requests outside of an AgentSession are on the bill: once, with the model that served them."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from livekit import rtc
from livekit.agents import Agent, AgentSession, APIConnectionError, llm, stt

from runguard_otel.adapters.livekit.services import Services
from runguard_otel.adapters.livekit.usage import hooks as usage
from runguard_otel.adapters.patching import PatchSet
from runguard_otel.core.ports import Usage
from runguard_otel.settings import Settings
from runguard_otel.testing.models import (
    ScriptedBatchSTT,
    ScriptedLLM,
    ScriptedTTS,
    ScriptedVAD,
    final,
)
from runguard_otel.testing.waiting import settle, until
from tests.kit.recorder import MemoryRecorder

pytestmark = pytest.mark.livekit


class Bill:
    """A ``UsagePort`` that remembers requests and knows nothing else."""

    def __init__(self) -> None:
        self.uses: list[Usage] = []

    def used(self, usage: Usage) -> None:
        self.uses.append(usage)

    def total(self, component: str, meter: str) -> Decimal:
        return sum(
            (
                Decimal(str(u.quantities.get(meter, 0)))
                for u in self.uses
                if u.component == component
            ),
            Decimal(0),
        )

    def models(self, component: str) -> set[str]:
        return {u.model for u in self.uses if u.component == component}

    def __getattr__(self, name: str) -> Any:
        return lambda *_: None


@pytest.fixture
def bill() -> Iterator[Bill]:
    made = Bill()
    port: Any = made
    services = Services(Settings.load(), MemoryRecorder(), usage=port)
    patches = PatchSet(usage.patches(services))
    patches.install()
    yield made
    patches.undo()


async def ask(model: llm.LLM[Any], question: str = "what is that in French") -> str:
    context = llm.ChatContext.empty()
    context.add_message(role="user", content=question)
    answer = ""
    async with model.chat(chat_ctx=context) as stream:
        async for chunk in stream:
            answer += (chunk.delta.content if chunk.delta else None) or ""
    await settle(20)
    return answer


class BrokenLLM(ScriptedLLM):
    def chat(self, **_: Any) -> llm.LLMStream:
        raise APIConnectionError("the provider is down")


@pytest.mark.parametrize("fallback", [False, True], ids=["one provider", "FallbackAdapter"])
async def test_a_direct_request_to_an_llm_costs_its_tokens(bill: Bill, fallback: bool) -> None:
    model = ScriptedLLM("Une table pour deux.")
    asked: Any = llm.FallbackAdapter([BrokenLLM(), model]) if fallback else model
    assert await ask(asked) == "Une table pour deux."
    assert bill.total("llm", "output_tokens") == model.completion_tokens == 4
    assert bill.total("llm", "input_tokens") == model.prompt_tokens
    assert bill.models("llm") == {"scripted-llm"}


async def test_a_direct_synthesis_costs_its_characters(bill: Bill) -> None:
    voice = ScriptedTTS(seconds_per_character=0.001)
    async for _ in voice.synthesize("Une table pour deux."):
        pass
    await settle(20)
    assert bill.total("tts", "characters") == voice.characters == 20
    assert bill.models("tts") == {"scripted-tts"}


async def test_a_direct_recognition_costs_its_seconds(bill: Bill) -> None:
    ears = ScriptedBatchSTT([final("hello")])
    await ears.recognize([rtc.AudioFrame.create(16_000, 1, 8_000)])
    assert bill.total("stt", "audio_seconds") == Decimal("0.5")
    assert bill.models("stt") == {"scripted-batch"}


class Wrapped(ScriptedLLM):
    """What users write around a model: it measures itself, and so does the model inside."""

    def __init__(self, inner: ScriptedLLM) -> None:
        super().__init__()
        self.inner = inner

    def chat(self, **options: Any) -> llm.LLMStream:
        stream: Any = super().chat(**options)
        inner = self.inner.chat(**options)

        async def run() -> None:
            async with inner:
                async for chunk in inner:
                    stream._event_ch.send_nowait(chunk)

        stream._run = run
        return stream  # type: ignore[no-any-return]


async def test_inside_a_session_only_what_the_session_listens_to_is_billed(bill: Bill) -> None:
    inner = ScriptedLLM("One two three.")
    session: AgentSession[Any] = AgentSession(llm=Wrapped(inner))
    await session.start(Agent(instructions="be brief"))
    try:
        await session.generate_reply(user_input="hello")
        await until(lambda: bool(bill.uses))
        await settle()
        assert bill.total("llm", "output_tokens") == inner.completion_tokens == 3
        await ask(ScriptedLLM("And one more."))  # in the same job, beside the session
        assert bill.total("llm", "output_tokens") == 6
    finally:
        await session.aclose()


async def test_a_stream_adapter_outside_of_a_session_is_billed_by_the_recogniser_inside(
    bill: Bill,
) -> None:
    ears, detector = ScriptedBatchSTT([final("hello"), final("", 0.0)]), ScriptedVAD()
    adapter = stt.StreamAdapter(stt=ears, vad=detector)
    async with adapter.stream() as stream:
        stream.push_frame(rtc.AudioFrame.create(16_000, 1, 160))
        await settle(20)
        for _ in range(2):
            detector.start_of_speech()
            detector.end_of_speech(0.6)
            await settle(60)
        await until(lambda: len(ears.requests) == 2)
        await settle(20)
    assert bill.total("stt", "audio_seconds") == Decimal("1.2")
    assert bill.models("stt") == {"scripted-batch"}


@pytest.mark.parametrize(
    ("event", "args"),
    [("metrics_collected", ()), ("metrics_collected", (None,)), ("error", ()), ("error", ("a", 1))],
)
async def test_what_an_application_emits_itself_is_passed_on_and_no_failure_of_ours(
    bill: Bill, event: str, args: tuple[Any, ...]
) -> None:
    """Fails if metrics are taken for granted: the recorder of these tests lets no error pass."""
    heard: list[tuple[Any, ...]] = []
    for made in (ScriptedLLM(), ScriptedBatchSTT([]), ScriptedTTS()):
        model: Any = made  # events of the application's own are no literals of the host's
        model.on(event, lambda *given: heard.append(given))
        model.emit(event, *args)
    assert heard == [args] * 3
    assert bill.uses == []
