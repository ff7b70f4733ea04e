"""Plays an example as it is written: only the paid models are other ones.

The examples name their models as users do, through LiveKit Inference (``"deepgram/nova-3"``). Here
``livekit.agents.inference`` has scripted models under those names, so that an example's file needs
nothing for its test, and usage is priced like that of the real ones. Sessions lose their patience
(endpointing) where an example leaves it to the host.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from types import ModuleType
from typing import Any

import pytest
from livekit.agents import stt
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import runguard_otel
from runguard_otel.testing.calls import close_quickly
from runguard_otel.testing.jobs import job_on_stage
from runguard_otel.testing.models import ScriptedTTS, ScriptedVAD, final
from runguard_otel.testing.realtime import ScriptedRealtimeModel
from runguard_otel.testing.stage import ROOM, Stage
from runguard_otel.testing.waiting import settle, until
from tests.kit.scripted_inference import Choosing, impatient_sessions, scripted_models
from tests.kit.speech import BreakableSTT

SPEECH = stt.SpeechEventType
CALLER = "alice"
PER_MILLION = {"openai/gpt-4.1-mini": (0.40, 1.60), "google/gemini-2.5-flash": (0.30, 2.50)}
"""USD for tokens in and out, by the price list of LiveKit Inference of 2026-09-23."""


class Show:
    """An example on stage: what it asked for, and strings to pull.

    Args:
        guard: What ``instrument()`` returned, or ``None`` where the guards are off.
        spans: Where our spans go.
    """

    def __init__(
        self,
        stage: Stage,
        guard: runguard_otel.RunGuard | None,
        spans: InMemorySpanExporter,
    ) -> None:
        self.stage, self.guard, self._spans = stage, guard, spans
        self.stts: list[BreakableSTT] = []
        self.llms: list[Choosing] = []
        self.voices: list[ScriptedTTS] = []
        self.detectors: list[ScriptedVAD] = []
        self.realtime: list[ScriptedRealtimeModel] = []
        self.sessions: list[Any] = []
        self.answer: Any = "Of course."
        self.pace = 0.002
        """Seconds that a character takes to say."""
        self.tools: dict[str, tuple[str, str]] = {}
        """Tool and arguments by the words that ask for it."""
        self.cost: Any = None
        self.tracks: dict[str, str] = {}

    @asynccontextmanager
    async def job(self, example: ModuleType) -> AsyncIterator[Any]:
        """One job of the example; its caller's microphone is there when it begins."""
        async with job_on_stage(self.stage) as ctx:
            running = asyncio.create_task(example.entrypoint(ctx))
            try:
                yield ctx
                if running.done():
                    running.result()
                self.cost = runguard_otel.current_session_cost()
            finally:
                for session in self.sessions:
                    close_quickly(session)
                    await session.aclose()
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)

    async def enter(self, who: str = CALLER) -> None:
        """A participant with a microphone."""
        self.stage.join(ROOM, who)
        await self.stage.settle()
        await self.speak_up(who)

    async def speak_up(self, who: str = CALLER) -> None:
        """A participant's microphone appears, and sends."""
        self.tracks[who] = self.stage.publish(ROOM, who)
        await self.stage.settle()
        await self.stage.say(self.tracks[who])

    async def flap(self, who: str = CALLER) -> None:
        """A participant's microphone goes and comes back as another track."""
        self.stage.unpublish(self.tracks[who])
        await self.stage.settle()
        await self.speak_up(who)

    async def ready(self, streams: int = 1) -> None:
        """Wait until that many recognition streams are open."""
        await until(lambda: sum(len(m.streams) for m in self.stts) >= streams)
        await settle()

    async def hear(
        self, text: str, confidence: float = 0.9, *, model: BreakableSTT | None = None, at: int = -1
    ) -> None:
        """One voice, and what a recogniser makes of it."""
        await self.result(final(text, confidence), model=model, at=at)

    async def result(
        self, event: stt.SpeechEvent, *, model: BreakableSTT | None = None, at: int = -1
    ) -> None:
        """One voice, and what a recogniser says about it."""
        model = model or self.stts[at]
        detector = self.detectors[at] if self.detectors else None
        if detector is not None:
            detector.start_of_speech()
        else:
            model.send(stt.SpeechEvent(type=SPEECH.START_OF_SPEECH))
        await settle(60)
        model.send(event)
        await settle(60)
        if detector is not None:
            detector.end_of_speech()
        else:
            model.send(stt.SpeechEvent(type=SPEECH.END_OF_SPEECH))
        await settle()

    async def quiet(self) -> None:
        """Wait until the agent has said what it is going to say."""
        await settle()
        busy = ("thinking", "speaking")
        await until(lambda: not any(s.agent_state in busy for s in self.sessions))
        await until(lambda: all(s.current_speech is None for s in self.sessions))
        await settle()

    @property
    def asked(self) -> list[str]:
        """What any language model was asked."""
        return [words for model in self.llms for words in model.calls]

    @property
    def said(self) -> list[str]:
        """What any voice said."""
        return [text for voice in self.voices for text in voice.said]

    @property
    def streams(self) -> int:
        """Recognition streams that were opened, in all."""
        return sum(len(model.streams) for model in self.stts)

    @property
    def signatures(self) -> dict[str, dict[str, float]]:
        """Counts by signature and outcome."""
        assert self.guard is not None
        found: dict[str, dict[str, float]] = self.guard.snapshot()["signatures"]
        return {name: outcomes for name, outcomes in found.items() if any(outcomes.values())}

    @property
    def trips(self) -> list[tuple[str, str]]:
        """Guard and action of every trip."""
        assert self.guard is not None
        return [(t["guard"], t["action"]) for t in self.guard.snapshot()["recent_trips"]]

    def counted(self, metric: str, **attributes: str) -> float:
        """The sum of a metric over the series with these attributes."""
        assert self.guard is not None
        series = self.guard.snapshot()["metrics"].get(metric, ())
        wanted = set(attributes.items())
        return float(
            sum(one["value"] for one in series if wanted <= set(one["attributes"].items()))
        )

    def tokens_usd(self) -> float:
        """What the tokens of the language models cost, as each of them counted."""
        each = ((PER_MILLION[m.model], m.prompt_tokens, m.completion_tokens) for m in self.llms)
        return sum((a * asked + b * answered) / 1e6 for (a, b), asked, answered in each)

    def spans(self, name: str) -> list[dict[str, Any]]:
        """Attributes of our spans of that name."""
        finished = self._spans.get_finished_spans()
        return [dict(span.attributes or {}) for span in finished if span.name == name]

    def healthy(self) -> None:
        """Nothing fired, and nothing of ours failed."""
        assert self.trips == []
        misfires = [s for s in self.signatures if not s.endswith("no_transcript")]
        assert [s for s in misfires if s.startswith("vad_misfire")] == []
        assert self.counted("runguard.internal_errors") == 0


@contextmanager
def playing(
    monkeypatch: pytest.MonkeyPatch, guards: bool = True, **settings: Any
) -> Iterator[Show]:
    """A stage with scripted providers, and our guards or not."""
    spans = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    runguard_otel.uninstrument()
    guard = runguard_otel.instrument(tracer_provider=provider, **settings) if guards else None
    with monkeypatch.context() as patch, Stage() as stage:
        show = Show(stage, guard, spans)
        scripted_models(patch, show)
        impatient_sessions(patch, show)
        try:
            yield show
        finally:
            runguard_otel.uninstrument()


def example(name: str) -> ModuleType:
    """The example's module. Its own ``instrument()`` is undone: tests say when there is one.

    Skips where this release lacks something that the example imports.
    """
    runguard_otel.uninstrument()
    try:
        module = importlib.import_module(f"examples.{name}")
    except ImportError as lacking:
        pytest.skip(f"not in this release: {lacking}")
    runguard_otel.uninstrument()
    return module
