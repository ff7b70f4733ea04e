"""A real AgentSession whose usage is known to the token: estimated is usage x price, exactly."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterator
from contextlib import aclosing
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from livekit import rtc
from livekit.agents import Agent, AgentSession, APIConnectionError, llm, stt, tts
from livekit.agents.metrics import LLMMetrics, TTSMetrics

from runguard_otel.adapters.agents_v1 import streams, usage
from runguard_otel.adapters.agents_v1.services import Services
from runguard_otel.adapters.patching import PatchSet
from runguard_otel.core.ports import Usage
from runguard_otel.cost.meter import Meter
from runguard_otel.cost.metering import Rounding
from runguard_otel.cost.pricebook import Price, PriceBook
from runguard_otel.demo.stage.ffi import StageServer
from runguard_otel.demo.stage.models import (
    ScriptedAudioInput,
    ScriptedAudioOutput,
    ScriptedBatchSTT,
    ScriptedLLM,
    ScriptedSTT,
    ScriptedTTS,
    ScriptedVAD,
    final,
    preflight,
)
from runguard_otel.settings import Settings
from tests.kit.recorder import MemoryRecorder

pytestmark = pytest.mark.livekit

IN, OUT, CHAR, SECOND, MINUTE = map(Decimal, ("0.003", "0.011", "0.0007", "0.05", "0.13"))
"""Odd prices per single unit, so that no two mistakes cancel out."""


def _price(component: str, model: str, **rates: Decimal) -> Price:
    return Price(component, "scripted", (model,), rates, "this test", date(2026, 11, 23))


BOOK = PriceBook(
    [
        _price("llm", "scripted-llm", input_tokens=IN, output_tokens=OUT),
        _price("tts", "scripted-tts", characters=CHAR),
        _price("stt", "scripted-batch", audio_seconds=SECOND),
        _price("stt", "scripted-stt", audio_seconds=SECOND),
        Price(
            "transport",
            "livekit-cloud",
            ("participant",),
            {"connection_seconds": MINUTE},
            "this test",
            date(2026, 11, 23),
            per=Decimal(60),
            rounding=Rounding(Decimal(60), Decimal(60)),
        ),
    ]
)


SPEAKS = "metadata" in TTSMetrics.model_fields
"""The stage's voice needs 1.2; before, sessions of these tests are silent."""


class CountingMeter(Meter):
    """Remembers what it was told."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.seen: list[Usage] = []

    def used(self, usage: Usage) -> None:
        self.seen.append(usage)
        super().used(usage)


class Desk:
    """The adapter installed over a real meter."""

    def __init__(self) -> None:
        self.recorder = MemoryRecorder()
        self.meter = CountingMeter(BOOK, self.recorder, plan="ship", session=usage.session_key)
        self.services = Services(Settings.load(), self.recorder, usage=self.meter)
        self.patches = PatchSet(usage.patches(self.services))
        self.patches.install()

    def reports(self) -> int:
        """Reports of streamed audio that reached the meter."""
        return sum(one.streamed for one in self.meter.seen)

    def llm_is_exactly(self, model: ScriptedLLM) -> bool:
        expected = model.prompt_tokens * IN + model.completion_tokens * OUT
        return expected > 0 and self.meter.session_cost().llm == expected

    def tts_is_exactly(self, *voices: ScriptedTTS) -> bool:
        expected = sum(v.characters for v in voices) * CHAR
        if not SPEAKS:
            return True
        return expected > 0 and self.meter.session_cost().tts == expected


@pytest.fixture
def desk() -> Iterator[Desk]:
    made = Desk()
    yield made
    made.patches.undo()


async def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    """Wait for the host's tasks to get there; ``condition`` is asserted, not slept for."""

    async def wait() -> None:
        while not condition():
            await asyncio.sleep(0.01)

    await asyncio.wait_for(wait(), seconds)


def session_of(model: Any, voice: Any = None, **kwargs: Any) -> AgentSession[Any]:
    known = inspect.signature(AgentSession.__init__).parameters
    if "aec_warmup_duration" in known:
        kwargs["aec_warmup_duration"] = None
    guesses = known.get("preemptive_generation")
    if guesses is not None and guesses.default is False:  # 1.2 and 1.4; on by default since
        kwargs["preemptive_generation"] = True
    if not SPEAKS:
        voice = None
    session: AgentSession[Any] = AgentSession(
        llm=model, tts=voice, vad=kwargs.pop("vad", None), **kwargs
    )
    if voice is not None:
        session.output.audio = ScriptedAudioOutput(speed=50)
    return session


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
        pytest.skip("1.0's adapter makes metrics of its own: see adapters.agents_v1.usage")
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


async def test_batch_recognition_costs_the_seconds_it_was_sent(desk: Desk) -> None:
    model, voice_detector = ScriptedLLM("One two three."), ScriptedVAD()
    ears = ScriptedBatchSTT([final("hello"), final("", 0.0)])
    session = session_of(
        model, vad=voice_detector, stt=stt.StreamAdapter(stt=ears, vad=voice_detector)
    )
    session.input.audio = ScriptedAudioInput()
    async with aclosing(session):
        await session.start(Agent(instructions="be brief"))
        await until(lambda: len(voice_detector.streams) == 2)
        for n in (1, 2):
            voice_detector.start_of_speech()
            voice_detector.end_of_speech(0.6)
            await until(lambda: len(ears.requests) == n)  # noqa: B023 - awaited in this round
        expected = Decimal(str(round(ears.seconds, 6))) * SECOND
        await until(lambda: desk.meter.session_cost().stt == expected)
    assert len(ears.requests) == 2, "the second heard nothing, and is billed all the same"


def heard_by(ears: ScriptedSTT) -> Decimal:
    return Decimal(str(round(ears.seconds, 6)))


@pytest.mark.parametrize("behind_adapter", [False, True])
async def test_a_stream_is_billed_by_the_audio_pushed_and_not_again_by_its_report(
    desk: Desk, behind_adapter: bool
) -> None:
    watch = PatchSet(streams.patches(desk.services))
    watch.install()
    ears, voice_detector = ScriptedSTT(), ScriptedVAD()
    session = session_of(
        ScriptedLLM(),
        vad=voice_detector,
        stt=stt.FallbackAdapter([ears]) if behind_adapter else ears,
    )
    microphone = ScriptedAudioInput()
    session.input.audio = microphone
    try:
        async with aclosing(session):
            await session.start(Agent(instructions="be brief"))
            await until(lambda: bool(ears.streams))
            microphone.push_silence(3.0)
            await until(lambda: round(ears.seconds, 6) == 3)
            heard = stt.RecognitionUsage(audio_duration=3.0)
            kind = stt.SpeechEventType.RECOGNITION_USAGE
            ears.send(stt.SpeechEvent(type=kind, request_id="x", recognition_usage=heard))
            await until(lambda: desk.reports() == 1)
        # Closing, the session pushes some silence to get the last words out: billed like the rest.
        await until(lambda: round(desk.meter.session_cost().stt, 6) == heard_by(ears) * SECOND)
    finally:
        watch.undo()
    assert desk.reports() == 1, "the report arrived, and was not billed again"
    assert heard_by(ears) >= 3
    assert round(desk.meter.session_cost().stt, 6) == heard_by(ears) * SECOND
    assert not desk.meter.session_cost().unpriced


async def test_the_same_metrics_object_counts_once_however_often_it_arrives(desk: Desk) -> None:
    model = ScriptedLLM()
    async with aclosing(session_of(model)) as session:
        await session.start(Agent(instructions="be brief"))
        metrics: Any = LLMMetrics(
            label=model.label,
            request_id="1",
            timestamp=0,
            duration=1,
            ttft=0,
            cancelled=False,
            completion_tokens=10,
            prompt_tokens=100,
            prompt_cached_tokens=0,
            total_tokens=110,
            tokens_per_second=1,
            metadata={"model_name": "scripted-llm", "model_provider": "scripted"},
        )
        activity: Any = session._activity
        activity._on_metrics_collected(metrics)
        activity._on_metrics_collected(metrics)
        assert desk.meter.session_cost().llm == 100 * IN + 10 * OUT
        activity._on_metrics_collected(metrics.model_copy())
        assert desk.meter.session_cost().llm == 2 * (100 * IN + 10 * OUT)


async def test_uninstrumented_nothing_is_counted() -> None:
    desk = Desk()
    desk.patches.undo()
    model = ScriptedLLM()
    async with aclosing(session_of(model)) as session:
        await session.start(Agent(instructions="be brief"))
        await session.generate_reply(user_input="hello")
    assert model.calls
    assert not desk.recorder.counts


async def test_each_connection_of_a_room_is_a_started_minute(desk: Desk) -> None:
    with StageServer() as server:
        for leave in ("left", "removed", "stays"):
            room = rtc.Room()
            await room.connect("wss://stage", server.token("lobby", "agent"))
            if leave == "left":
                await room.disconnect()
            elif leave == "removed":
                server.drop("lobby")
                await server.settle()
                assert not desk.meter._connections
        assert desk.meter.session_cost().transport == 3 * MINUTE
        await room.disconnect()
        await room.disconnect()
    assert desk.meter.session_cost().transport == 3 * MINUTE
    assert not desk.meter._connections, "a connection that has ended is billed no longer"


async def test_a_connect_that_fails_is_no_connection(desk: Desk) -> None:
    with StageServer() as server:
        server.refuse_connects("no such project")
        with pytest.raises(rtc.ConnectError):
            await rtc.Room().connect("wss://stage", server.token("lobby", "agent"))
    assert desk.meter.session_cost().transport == 0
