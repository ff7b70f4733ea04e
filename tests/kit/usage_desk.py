"""A real AgentSession over a real meter with odd prices: no two mistakes cancel out."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from typing import Any

from livekit.agents import AgentSession
from livekit.agents.metrics import TTSMetrics

from runguard_otel.adapters.livekit.facts.job import session_key
from runguard_otel.adapters.livekit.services import Services
from runguard_otel.adapters.livekit.usage import hooks as usage
from runguard_otel.adapters.patching import PatchSet
from runguard_otel.core.ports import Usage
from runguard_otel.cost.meter import Meter
from runguard_otel.cost.price import Price
from runguard_otel.cost.pricebook import PriceBook
from runguard_otel.cost.rates import Rounding
from runguard_otel.settings import Settings
from runguard_otel.testing.models import (
    ScriptedAudioOutput,
    ScriptedLLM,
    ScriptedTTS,
)
from tests.kit.recorder import MemoryRecorder

IN, OUT, CHAR, SECOND, MULTI, MINUTE = map(
    Decimal, ("0.003", "0.011", "0.0007", "0.05", "0.07", "0.13")
)
"""Odd prices per single unit, so that no two mistakes cancel out."""


def _price(component: str, model: str, **rates: Decimal) -> Price:
    return Price(component, "scripted", (model,), rates, "this test", date(2026, 11, 23))


BOOK = PriceBook(
    [
        _price("llm", "scripted-llm", input_tokens=IN, output_tokens=OUT),
        _price("tts", "scripted-tts", characters=CHAR),
        _price("stt", "scripted-batch", audio_seconds=SECOND),
        _price("stt", "scripted-stt", audio_seconds=SECOND),
        _price("stt", "scripted-stt:multi", audio_seconds=MULTI),
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
    """The adapter installed over a real meter.

    Args:
        book: Its prices.
    """

    def __init__(self, book: PriceBook = BOOK) -> None:
        self.recorder = MemoryRecorder()
        self.meter = CountingMeter(book, self.recorder, plan="ship", session=session_key)
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


async def until(condition: Callable[[], bool], seconds: float = 60) -> None:
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
