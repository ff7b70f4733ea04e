"""CPU of a turn of a real ``AgentSession``, instrumented against not, interleaved in one run.

Each block is a fresh session with twenty turns. Blocks alternate (off, on, off, on, ...), so that a
drift of the machine hits both sides; the figure is the difference of the two medians.
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import time
from collections.abc import Awaitable, Callable
from typing import Any
from unittest import mock

from livekit.agents import Agent, AgentSession

import runguard_otel
from bench.harness import Result, worker_hub
from runguard_otel.demo.stage.models import (
    ScriptedAudioInput,
    ScriptedLLM,
    ScriptedSTT,
    ScriptedVAD,
    final,
    interim,
)

TURNS = 20
GOAL_MS = 0.1


def run(soak: bool) -> list[Result]:
    pairs = 40 if soak else 14
    with worker_hub() as hub:
        return [
            asyncio.run(_compare("text turn", _text_turns, pairs)),
            asyncio.run(_compare("text turn of a job", _text_turns, pairs, hub)),
            asyncio.run(_compare("audio turn", _audio_turns, pairs)),
            asyncio.run(_compare("audio turn of a job", _audio_turns, pairs, hub)),
            asyncio.run(_final_path()),
        ]


async def _compare(
    name: str, turns: Callable[[], Awaitable[float]], pairs: int, hub: str = ""
) -> Result:
    """Blocks with and without us; ``hub``: every count is sent to a worker's process at once."""
    await turns()
    off: list[float] = []
    on: list[float] = []
    for pair in range(pairs):
        for instrumented in (False, True) if pair % 2 else (True, False):
            if instrumented:
                _instrument(hub)
            gc.collect()
            (on if instrumented else off).append(await turns())
            if instrumented:
                runguard_otel.uninstrument()
    extra = statistics.median(on) - statistics.median(off)
    note = (
        f"CPU per turn {statistics.median(off):.2f} -> {statistics.median(on):.2f} ms, medians of "
        f"{pairs} interleaved blocks of {TURNS}; off spread {min(off):.2f}..{max(off):.2f}"
    )
    return Result(f"{name}: added CPU", extra, GOAL_MS, "ms", note=note)


def _instrument(hub: str = "") -> None:
    guard = runguard_otel.instrument(claims_url="memory://", metrics_port=0)
    assert guard.active, "nothing is measured where nothing is patched"
    if hub:
        assert guard._telemetry is not None
        guard._telemetry.use_hub(hub)


async def _text_turns() -> float:
    session: AgentSession[Any] = AgentSession(llm=ScriptedLLM())
    await session.start(Agent(instructions="bench"))
    start = time.process_time_ns()
    for turn in range(TURNS):
        await session.run(user_input=f"question {turn}")
    spent = (time.process_time_ns() - start) / TURNS / 1e6
    await session.aclose()
    return spent


async def _audio_turns() -> float:
    stt, vad, llm = ScriptedSTT(), ScriptedVAD(), ScriptedLLM()
    microphone = ScriptedAudioInput()
    session: AgentSession[Any] = AgentSession(
        stt=stt, vad=vad, llm=llm, min_endpointing_delay=0.0, aec_warmup_duration=None
    )
    session.input.audio = microphone
    await session.start(Agent(instructions="bench"))
    microphone.push_silence()
    while not stt.streams:
        await asyncio.sleep(0.001)
    start = time.process_time_ns()
    for turn in range(TURNS):
        answered = len(llm.calls) + 1
        microphone.push_silence(0.2)
        vad.start_of_speech()
        await asyncio.sleep(0)
        stt.send(interim(f"question {turn}"))
        stt.send(final(f"this is question number {turn}"))
        await asyncio.sleep(0)
        vad.end_of_speech()
        while len(llm.calls) < answered or session.agent_state != "listening":
            await asyncio.sleep(0.005)
    spent = (time.process_time_ns() - start) / TURNS / 1e6
    await session.aclose()
    return spent


async def _final_path() -> Result:
    """What one final result costs between the recogniser and LiveKit's own handling."""
    from livekit.agents.voice.audio_recognition import AudioRecognition

    async def nothing(self: AudioRecognition, event: Any) -> None:
        return None

    stt, vad = ScriptedSTT(), ScriptedVAD()
    session: AgentSession[Any] = AgentSession(stt=stt, vad=vad, llm=ScriptedLLM())
    session.input.audio = ScriptedAudioInput()
    await session.start(Agent(instructions="bench"))
    activity: Any = session._activity
    recognition = activity._audio_recognition
    heard = final("this is a perfectly ordinary sentence")
    calls, samples = 5000, []
    with mock.patch.object(AudioRecognition, "_on_stt_event", nothing):
        for side in ("off", "on") * 5:
            if side == "on":
                _instrument()
            path = recognition._on_stt_event
            start = time.process_time_ns()
            for _ in range(calls):
                await path(heard)
            samples.append((side, (time.process_time_ns() - start) / calls / 1e3))
            if side == "on":
                runguard_otel.uninstrument()
    await session.aclose()
    off = statistics.median(us for side, us in samples if side == "off")
    on = statistics.median(us for side, us in samples if side == "on")
    return Result("a genuine final result: added CPU", on - off, 20, "us", note=f"{calls} x 5")
