"""A real AgentSession whose usage is known to the token: estimated is usage x price, exactly."""

from __future__ import annotations

from contextlib import aclosing
from decimal import Decimal
from typing import Any

import pytest
from livekit.agents import Agent, APIConnectionError, llm, stt, tts

from runguard_otel.testing.models import (
    ScriptedAudioInput,
    ScriptedLLM,
    ScriptedSTT,
    ScriptedTTS,
    ScriptedVAD,
    final,
    preflight,
)
from tests.kit.usage_desk import (
    Desk,
    session_of,
    until,
)

pytest_plugins = ["tests.kit.usage_fixtures"]
pytestmark = pytest.mark.livekit


async def test_two_turns_cost_their_tokens_and_characters(desk: Desk) -> None:
    model, voice = ScriptedLLM("One two three."), ScriptedTTS()
    async with aclosing(session_of(model, voice)) as session:
        await session.start(Agent(instructions="be brief"))
        for said in ("hello there", "and again"):
            await session.generate_reply(user_input=said)
        await until(lambda: desk.llm_is_exactly(model) and desk.tts_is_exactly(voice))
    assert len(model.calls) == 2
    assert desk.llm_is_exactly(model)
    assert desk.tts_is_exactly(voice)
    assert desk.meter.average_turn().turns == 2
    assert not desk.meter.session_cost().unpriced
    assert desk.recorder.count(
        "runguard.cost.estimated", component="llm", provider="scripted", model="scripted-llm"
    ) == pytest.approx(float(desk.meter.session_cost().llm))


class BrokenLLM(ScriptedLLM):
    """Fails before it has said anything, as a provider that is down does."""

    def chat(self, **kwargs: Any) -> llm.LLMStream:
        raise APIConnectionError


class BrokenTTS(ScriptedTTS):
    def synthesize(self, text: str, **kwargs: Any) -> tts.ChunkedStream:
        raise APIConnectionError


async def test_behind_fallback_adapters_only_the_model_that_served_is_billed(desk: Desk) -> None:
    model, voice = ScriptedLLM("One two three."), ScriptedTTS()
    adapters = (
        llm.FallbackAdapter([BrokenLLM(), model]),
        tts.FallbackAdapter([BrokenTTS(), voice]),
    )
    async with aclosing(session_of(*adapters)) as session:
        await session.start(Agent(instructions="be brief"))
        await session.generate_reply(user_input="hello there")
        await session.generate_reply(user_input="once more")
        await until(lambda: desk.llm_is_exactly(model) and desk.tts_is_exactly(voice))
    assert len(model.calls) == 2
    assert desk.llm_is_exactly(model)
    assert desk.tts_is_exactly(voice)


async def test_a_model_listened_to_directly_and_through_an_adapter_is_billed_once(
    desk: Desk,
) -> None:
    if not hasattr(llm.FallbackAdapter, "_on_metrics_collected"):
        pytest.skip("1.0's adapter makes metrics of its own: see adapters.livekit.usage.metrics")
    model = ScriptedLLM("One two three.")
    adapter = llm.FallbackAdapter([model])
    async with aclosing(session_of(adapter)) as first, aclosing(session_of(model)) as second:
        await first.start(Agent(instructions="be brief"))
        await second.start(Agent(instructions="be brief"))
        await first.generate_reply(user_input="hello there")
        await until(lambda: desk.llm_is_exactly(model))
    assert len(model.calls) == 1
    assert desk.llm_is_exactly(model)


async def test_an_agent_task_and_its_agent_share_a_model_and_one_bill(desk: Desk) -> None:
    agents: Any = pytest.importorskip("livekit.agents")
    if not hasattr(agents, "AgentTask"):
        pytest.skip("this release has no AgentTask")
    model, voice = ScriptedLLM("One two three."), ScriptedTTS()
    done: list[str] = []

    class Ask(agents.AgentTask):  # type: ignore[misc]  # absent before 1.2
        async def on_enter(self) -> None:
            await self.session.generate_reply(user_input="what is your name")
            self.complete("Ann")

    class Front(Agent):
        async def on_enter(self) -> None:
            done.append(await Ask(instructions="ask for the name"))
            await self.session.generate_reply(user_input="thank you")

    async with aclosing(session_of(model, voice)) as session:
        await session.start(Front(instructions="be brief"))
        await until(lambda: len(model.calls) == 2 and desk.llm_is_exactly(model))
        await until(lambda: desk.tts_is_exactly(voice))
    assert done == ["Ann"]
    assert desk.llm_is_exactly(model)
    assert desk.tts_is_exactly(voice)


async def test_after_a_handoff_each_turn_is_billed_once(desk: Desk) -> None:
    model, voice = ScriptedLLM("One two three."), ScriptedTTS()

    class Numbered(Agent):
        async def on_enter(self) -> None:
            await self.session.generate_reply(user_input="who is there")

    async with aclosing(session_of(model, voice)) as session:
        await session.start(Numbered(instructions="desk number 0"))
        for n in (1, 2, 3):
            await until(lambda: len(model.calls) >= n and desk.llm_is_exactly(model))  # noqa: B023 - awaited in this round
            await until(lambda: desk.tts_is_exactly(voice))
            session.update_agent(Numbered(instructions=f"desk number {n}"))
        await until(lambda: len(model.calls) == 4 and desk.llm_is_exactly(model))
        await until(lambda: desk.tts_is_exactly(voice))
    assert len(model.calls) == 4
    assert desk.llm_is_exactly(model)
    assert desk.tts_is_exactly(voice)


async def test_a_cancelled_preemptive_generation_is_billed_as_its_provider_bills_it(
    desk: Desk,
) -> None:
    if not hasattr(stt.SpeechEventType, "PREFLIGHT_TRANSCRIPT"):
        pytest.skip("this release has no preemptive generation")
    model, ears, voice_detector = ScriptedLLM("One two three."), ScriptedSTT(), ScriptedVAD()
    session = session_of(model, vad=voice_detector, stt=ears, turn_detection="vad")
    session.input.audio = ScriptedAudioInput()
    async with aclosing(session):
        await session.start(Agent(instructions="be brief"))
        await until(lambda: bool(ears.streams and voice_detector.streams))
        voice_detector.start_of_speech()
        ears.send(preflight("hello"))
        await until(lambda: model.calls == ["hello"])
        ears.send(final("hello my friend"))  # the guess was wrong: answered anew
        voice_detector.end_of_speech()
        await until(lambda: len(model.calls) == 2 and desk.llm_is_exactly(model))
    assert model.calls == ["hello", "hello my friend"]
    assert desk.llm_is_exactly(model)


async def test_a_request_cancelled_before_usage_was_known_is_unpriced(desk: Desk) -> None:
    class Silent(ScriptedLLM):
        def chat(self, **kwargs: Any) -> llm.LLMStream:
            stream = super().chat(**kwargs)
            stream._run = self._half.__get__(stream)  # type: ignore[method-assign]
            return stream

        @staticmethod
        async def _half(stream: Any) -> None:
            delta = llm.ChoiceDelta(role="assistant", content="One")
            stream._event_ch.send_nowait(llm.ChatChunk(id="x", delta=delta))

    async with aclosing(session_of(Silent())) as session:
        await session.start(Agent(instructions="be brief"))
        await session.generate_reply(user_input="hello")
        await until(lambda: bool(desk.meter.session_cost().unpriced))
    assert desk.meter.session_cost().llm == 0
    assert desk.meter.session_cost().unpriced == {"llm/request": Decimal(1)}


async def test_uninstrumented_nothing_is_counted() -> None:
    desk = Desk()
    desk.patches.undo()
    model = ScriptedLLM()
    async with aclosing(session_of(model)) as session:
        await session.start(Agent(instructions="be brief"))
        await session.generate_reply(user_input="hello")
    assert model.calls
    assert not desk.recorder.counts
