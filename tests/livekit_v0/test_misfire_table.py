"""What wakes the LLM of a ``VoicePipelineAgent``, without us and with us, as a table.

Its figures in ``docs/compatibility.md`` are counted by ``tools/matrix_probe.py``, which runs these
calls without and with ``instrument()``. Names that 1.x has too mean the same stimulus.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import pytest
from livekit.agents import utils

from runguard_otel.testing.listening import ScriptedBatchSTT, final, interim, malformed_final
from tests.kit.v0_call import Guarded, VoiceCall, settle, until, voice_call
from tests.kit.v0_models import HAS_V0

pytestmark = [
    pytest.mark.livekit,
    pytest.mark.skipif(not HAS_V0, reason="needs livekit-agents 0.12, see docs/livekit-0.12.md"),
]

GENUINE = "a table for two please"
SPEECH = "Your table for two is booked for eight on Friday, see you then."
ECHO = "table for two is booked"
GO_ON = "<continue>"
"""What 0.12 asks when it has no words."""


async def turns(call: VoiceCall, *results: Any) -> list[str]:
    """One turn per result; what the language model was asked by them."""
    for result in results:
        await call.hear(*([result] if result is not None else []))
        await call.quiet()
    return list(call.asked)


async def plain_silence() -> list[str]:
    async with voice_call() as call:
        return await turns(call, *[final("", 0.0)] * 5)


async def voice_without_result() -> list[str]:
    async with voice_call() as call:
        return await turns(call, *[None] * 5)


async def blank_words() -> list[str]:
    async with voice_call() as call:
        return await turns(call, final("  "))


async def low_confidence() -> list[str]:
    async with voice_call() as call:
        return await turns(call, *[final(f"uh{n}", 0.05) for n in range(3)])


async def guess_then_nothing() -> list[str]:
    async with voice_call() as call:
        await call.hear(interim("noise"), final("", 0.0))
        await call.quiet()
        return list(call.asked)


async def malformed_then_speech() -> list[str]:
    async with voice_call() as call:
        await turns(call, malformed_final())
        with contextlib.suppress(utils.aio.ChanClosed):  # stock, nobody listens any more
            await turns(call, final(GENUINE))
        return list(call.asked)


async def batch_segments() -> list[str]:
    batch: Any = ScriptedBatchSTT([final("", 0.0)] * 2 + [final(GENUINE)])
    async with voice_call(stt=batch) as call:
        asked = await turns(call, None, None, None)
        assert len(batch.requests) == 3, "each segment is billed, whatever is done later"
        return asked


async def noise_over_speech() -> list[str]:
    async with voice_call(pace=0.02) as call:
        for _ in range(2):
            await speak(call)
            call.vad.start_of_speech()
            call.vad.still_speaking(0.8)
            await until(lambda: not call.speaking, "the noise cuts the agent off")
            call.vad.end_of_speech(0.8)
            call.stt.send(final("", 0.0))
            await call.quiet()
        return list(call.asked)


async def echoes() -> list[str]:
    async with voice_call(pace=0.005) as call:
        for _ in range(3):
            await speak(call)
            await call.hear(final(ECHO, 0.85))
            await call.quiet()
        return list(call.asked)


async def speak(call: VoiceCall) -> None:
    """The agent says ``SPEECH``; returns while it speaks."""
    await call.agent.say(SPEECH)
    await until(lambda: call.speaking, "the agent speaks")
    await settle(0.1)


class Scene(NamedTuple):
    """A whole call, and what the language model is asked in it."""

    storm: Callable[[], Awaitable[list[str]]]
    mode: str
    stock: list[str]
    enforced: list[str]


SCENES = [
    Scene(plain_silence, "vad", [GO_ON] * 5, []),
    Scene(voice_without_result, "vad", [GO_ON] * 5, []),
    Scene(blank_words, "vad", [GO_ON], []),
    Scene(low_confidence, "vad", ["uh0", "uh1", "uh2"], []),
    Scene(guess_then_nothing, "vad", [GO_ON], []),
    Scene(malformed_then_speech, "vad", [], [GENUINE]),
    Scene(batch_segments, "vad", [GO_ON, GO_ON, GENUINE], [GENUINE]),
    Scene(noise_over_speech, "vad", [GO_ON] * 2, [GO_ON]),
    Scene(echoes, "vad", [ECHO] * 3, [ECHO]),
]
NAMES = [scene.storm.__name__ for scene in SCENES]


@pytest.mark.parametrize("scene", SCENES, ids=NAMES)
async def test_stock_0_12_asks_the_llm(scene: Scene) -> None:
    assert await scene.storm() == scene.stock


@pytest.mark.parametrize("scene", SCENES, ids=NAMES)
async def test_enforce_asks_for_speech_only(scene: Scene) -> None:
    with Guarded():
        assert await scene.storm() == scene.enforced
