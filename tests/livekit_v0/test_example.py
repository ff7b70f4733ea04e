"""The example for 0.12 as written: healthy, and in a storm off against on.

Its plugins (`livekit.plugins.deepgram` and so on) are modules with scripted models in them.
"""

from __future__ import annotations

import asyncio
import importlib
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from livekit.agents import APIConnectionError, stt

import runguard_otel
from runguard_otel.testing.jobs import job_on_stage
from runguard_otel.testing.listening import ScriptedSTT, final
from runguard_otel.testing.speaking import ScriptedTTS
from runguard_otel.testing.stage import ROOM, Stage
from runguard_otel.testing.voice_activity import ScriptedVAD
from tests.kit.v0_call import CALLER, Guarded, quick, settle, until, voice_call
from tests.kit.v0_models import HAS_V0, PipelineLLM

pytestmark = [
    pytest.mark.livekit,
    pytest.mark.skipif(not HAS_V0, reason="needs livekit-agents 0.12, see docs/livekit-0.12.md"),
]

SENTENCES = ["a table for two please", "at eight on Friday"]


class Cast:
    """The models, and the plugins that have them."""

    def __init__(self) -> None:
        self.stt, self.vad, self.llm = ScriptedSTT(), ScriptedVAD(), PipelineLLM()
        self.tts = ScriptedTTS(seconds_per_character=0.002)
        self.agent: Any = None

    def plugins(self) -> dict[str, ModuleType]:
        contents: dict[str, dict[str, Any]] = {
            "deepgram": {"STT": lambda: self.stt},
            "openai": {"LLM": lambda model: self.llm},
            "cartesia": {"TTS": lambda: self.tts},
            "silero": {"VAD": SimpleNamespace(load=lambda: self.vad)},
        }
        package = ModuleType("livekit.plugins")
        modules = {"livekit.plugins": package}
        for name, content in contents.items():
            module = modules[f"livekit.plugins.{name}"] = ModuleType(f"livekit.plugins.{name}")
            vars(module).update(content)
            setattr(package, name, module)
        return modules

    async def hear(self, *events: stt.SpeechEvent) -> None:
        """One voice, and what the recogniser makes of it."""
        self.vad.start_of_speech()
        await settle()
        for event in events:
            self.stt.send(event)
            await settle()
        self.vad.end_of_speech()
        await settle()
        await until(lambda: not self.agent._deferred_validation.validating, "the turn is over")
        await settle(0.05)
        await until(lambda: not self.agent._speech_q, "the agent has said it")
        await until(lambda: self.agent._playing_speech is None, "the agent is quiet")
        await settle()


@asynccontextmanager
async def played(
    monkeypatch: pytest.MonkeyPatch, guards: bool
) -> AsyncIterator[tuple[Cast, Stage, Any]]:
    """The example's job, with a caller in the room."""
    cast = Cast()
    pipeline = importlib.import_module("livekit.agents.pipeline")
    make = pipeline.VoicePipelineAgent.__init__

    def impatient(agent: Any, **options: Any) -> None:
        cast.agent = agent
        make(agent, min_endpointing_delay=0.0, max_endpointing_delay=0.0, **options)

    with monkeypatch.context() as patch, quick(), Stage() as stage:
        for name, module in cast.plugins().items():
            patch.setitem(sys.modules, name, module)
        runguard_otel.uninstrument()
        patch.delitem(sys.modules, "examples.pipeline_0_12", raising=False)
        example = importlib.import_module("examples.pipeline_0_12")
        runguard_otel.uninstrument()
        patch.setattr(pipeline.VoicePipelineAgent, "__init__", impatient)
        guard = runguard_otel.instrument() if guards else None
        stage.join(ROOM, CALLER)
        try:
            async with job_on_stage(stage) as ctx:
                await asyncio.wait_for(example.entrypoint(ctx), 5)
                stage.publish(ROOM, CALLER)
                await stage.settle()
                await until(lambda: bool(cast.stt.streams), "the agent listens")
                await until(lambda: bool(cast.tts.said), "the agent has begun to greet")
                await until(lambda: cast.agent._playing_speech is None, "the agent has greeted")
                yield cast, stage, guard
                mine = asyncio.current_task()
                left = [task for task in asyncio.all_tasks() if task is not mine]
                await ctx.room.disconnect()
                for task in left:
                    task.cancel()
        finally:
            runguard_otel.uninstrument()


async def test_healthy_nothing_fires(monkeypatch: pytest.MonkeyPatch) -> None:
    async with played(monkeypatch, guards=True) as (cast, _, guard):
        for text in SENTENCES:
            await cast.hear(final(text))
        assert cast.llm.calls == SENTENCES
        found = guard.snapshot()
    assert found["trips"] == 0
    assert [s for s in found["signatures"] if s.startswith("vad_misfire")] == []
    assert cast.tts.said == ["Good evening, how can I help?", "Of course.", "Of course."]


@pytest.mark.parametrize(("guards", "asked", "streams"), [(False, 6, 8), (True, 1, 1)])
async def test_empty_results_and_flaps_off_against_on(
    monkeypatch: pytest.MonkeyPatch, guards: bool, asked: int, streams: int
) -> None:
    async with played(monkeypatch, guards) as (cast, stage, guard):
        for _ in range(5):
            await cast.hear(final("", 0.0))
        await cast.hear(final(SENTENCES[0]))
        assert len(cast.llm.calls) == asked
        assert cast.llm.calls[-1] == SENTENCES[0]
        for _ in range(7):
            stage.unpublish(next(iter(stage._tracks)))
            await stage.settle()
            stage.publish(ROOM, CALLER)
            await stage.settle()
            await settle()
        assert len(cast.stt.streams) == streams
        trips = guard.snapshot()["recent_trips"] if guard else []
    assert [t["guard"] for t in trips] == (["vad_misfire", "track_subscribe"] if guards else [])


class Failing(ScriptedSTT):
    """A provider that was up for one sentence."""

    def stream(self, **options: Any) -> stt.RecognizeStream:
        opened: Any = super().stream(**options)
        opened.down = asyncio.get_running_loop().create_future()

        async def run() -> None:
            await opened.down
            raise APIConnectionError("the provider is down")

        opened._run = run
        return opened  # type: ignore[no-any-return]


async def test_must_not_fire_the_second_provider_of_a_fallback_reports_no_confidence() -> None:
    primary, secondary = Failing("scripted", "reports"), ScriptedSTT("scripted", "does-not")
    adapter: Any = stt.FallbackAdapter([primary, secondary], max_retry_per_stt=0)
    with Guarded() as guarded:
        async with voice_call(stt=adapter) as call:

            async def hear(model: ScriptedSTT, text: str, confidence: float) -> None:
                call.stt = model
                await call.hear(final(text, confidence))
                await call.quiet()

            await hear(primary, "good evening to you", 0.93)
            broken: Any = primary.streams[-1]
            broken.down.set_result(None)
            await until(lambda: bool(secondary.streams), "the other provider serves")
            for n in range(6):
                await hear(secondary, f"a table for {n} please", 0.0)
            assert len(call.asked) == 7
    assert guarded.misfires == []
