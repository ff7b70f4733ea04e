"""What else may wake the LLM: whole calls with other recognisers, and noise over the agent's voice.

With the rows of ``test_speech_paths`` this is the table of ``docs/compatibility.md``; its figures
are counted by ``tools/matrix_probe.py``, which runs these calls without and with ``instrument()``.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable
from typing import Any, NamedTuple

import pytest
from livekit.agents import Agent, stt

from runguard_otel.testing.calls import Call, call
from runguard_otel.testing.models import (
    ScriptedBatchSTT,
    ScriptedSTT,
    final,
    interim,
    malformed_final,
)
from runguard_otel.testing.waiting import settle, until
from tests.kit.speech import Guarded

pytestmark = pytest.mark.livekit

GENUINE = "a table for two please"
SPEECH = "Your table for two is booked for eight on Friday, see you then."
ECHO = "table for two is booked"


async def segment(c: Call, *events: stt.SpeechEvent, through: ScriptedSTT | None = None) -> None:
    """One voice segment, and what a recogniser behind an adapter makes of it, if it streams."""
    c.vad.start_of_speech()
    await settle(30)
    for event in events:
        assert through is not None
        through.send(event)
        await settle(60)
    c.vad.end_of_speech()
    await settle()


async def voice_without_result() -> list[str]:
    async with call() as c:
        for _ in range(5):
            await segment(c)
        return list(c.asked)


async def guess_then_nothing() -> list[str]:
    async with call() as c:
        await c.hear(interim("noise"), final("", 0.0))
        return list(c.asked)


async def malformed_then_speech() -> list[str]:
    async with call() as c:
        await c.hear(malformed_final())
        await c.hear(final(GENUINE))
        return list(c.asked)


async def batch_segments() -> list[str]:
    recogniser = ScriptedBatchSTT([final("", 0.0)] * 2 + [final(GENUINE)])
    async with call(recogniser=recogniser) as c:
        for _ in range(3):
            await segment(c)
        assert len(recogniser.requests) == 3, "each segment is billed, whatever is done later"
        return list(c.asked)


async def turns_of_the_recogniser() -> list[str]:
    kinds = stt.SpeechEventType
    async with call(turn_detection="stt") as c:
        assert isinstance(c.stt, ScriptedSTT)
        for _ in range(2):
            c.stt.send(stt.SpeechEvent(type=kinds.START_OF_SPEECH))
            c.stt.send(final("", 0.0))
            c.stt.send(stt.SpeechEvent(type=kinds.END_OF_SPEECH))
            await settle()
        return list(c.asked)


async def noise_over_speech() -> list[str]:
    async with call(voice=True, speed=8) as c:
        assert isinstance(c.stt, ScriptedSTT)
        for _ in range(2):
            await speak(c)
            c.vad.start_of_speech()
            c.vad.still_speaking(0.8)
            await settle(60)
            c.vad.end_of_speech(0.8)
            c.stt.send(final("", 0.0))
            await until(lambda: not c.speaking)
            await settle()
        return list(c.asked)


async def echoes() -> list[str]:
    async with call(voice=True, speed=8) as c:
        for _ in range(3):
            await speak(c)
            await c.hear(final(ECHO, 0.85))
            await until(lambda: not c.speaking)
        return list(c.asked)


class OwnNode(Agent):
    """An agent that overrides what listens."""

    async def stt_node(self, audio: Any, model_settings: Any) -> AsyncIterable[Any]:
        async for event in Agent.default.stt_node(self, audio, model_settings):
            yield event


async def low_confidence_behind_adapters() -> list[str]:
    first = ScriptedSTT()
    recogniser = stt.FallbackAdapter([first, ScriptedSTT()])
    async with call(recogniser=recogniser, agent=OwnNode(instructions="Be brief.")) as c:
        await segment(c, final("uh", 0.05), through=first)
        await segment(c, final(GENUINE), through=first)
        return list(c.asked)


async def speak(c: Call) -> None:
    """The agent says ``SPEECH``; returns while it speaks."""
    c.session.say(SPEECH)
    await until(lambda: c.speaking)


class Scene(NamedTuple):
    """A whole call, and what the language model is asked in it."""

    storm: Callable[[], Awaitable[list[str]]]
    mode: str
    stock: list[str]
    enforced: list[str]


SCENES = [
    Scene(voice_without_result, "vad", [], []),
    Scene(guess_then_nothing, "vad", [], []),
    Scene(malformed_then_speech, "vad", [], [GENUINE]),
    Scene(batch_segments, "vad", [GENUINE], [GENUINE]),
    Scene(turns_of_the_recogniser, "stt", [], []),
    Scene(noise_over_speech, "vad", [], []),
    Scene(echoes, "vad", [ECHO] * 3, [ECHO]),
    Scene(low_confidence_behind_adapters, "vad", ["uh", GENUINE], [GENUINE]),
]
NAMES = [scene.storm.__name__ for scene in SCENES]


@pytest.mark.parametrize("scene", SCENES, ids=NAMES)
async def test_stock_livekit_asks_the_llm(scene: Scene) -> None:
    assert await scene.storm() == scene.stock


@pytest.mark.parametrize("scene", SCENES, ids=NAMES)
async def test_enforce_asks_for_speech_only(scene: Scene) -> None:
    with Guarded():
        assert await scene.storm() == scene.enforced
