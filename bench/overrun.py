"""A silent open call: what the fifth guard adds to the job while a caller says nothing.

The guard has a thread that sleeps until something is due, so what is left are our layers around
coroutines that audio resumes. That is far less than two runs of the same call differ by, so it is
counted: its share of the bytecodes of the call, at what the call's CPU is. The difference between
blocks with it and without is printed beside it, and that between two blocks without.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Any

from livekit import rtc
from livekit.agents import Agent, AgentSession

import runguard_otel
from bench.harness import Result, figure, interleaved
from bench.opcodes import Opcodes
from runguard_otel.core.verdict import Mode
from runguard_otel.testing import SAMPLE_RATE
from runguard_otel.testing.ffi import StageServer
from runguard_otel.testing.models import ScriptedAudioInput, ScriptedLLM, ScriptedSTT

SECONDS = 2.0
ROUNDS = 8
GOAL_MS = 0.2
GOAL_CALLS = 200
"""The same at a microsecond each, which is more than one takes."""
OURS, STAGE = "runguard_otel", "runguard_otel.testing"
FRAME_SECONDS = 0.02
KINDS = {"on": Mode.OBSERVE, "off": Mode.OFF, "control": Mode.OFF}


def run(soak: bool) -> list[Result]:
    calls = {mode: _own_calls(mode) for mode in (Mode.OFF, Mode.OBSERVE)}  # and warms up
    (ours, whole), (without, _) = _bytecodes(Mode.OBSERVE), _bytecodes(Mode.OFF)
    work = {kind: partial(_block, mode) for kind, mode in KINDS.items()}
    found = interleaved(work, 60 if soak else ROUNDS)
    cpu = {kind: [block["ms"] for block in blocks] for kind, blocks in found.items()}
    adds = figure([on - off for on, off in zip(cpu["on"], cpu["off"], strict=True)])
    control = figure([a - b for a, b in zip(cpu["control"], cpu["off"], strict=True)])
    call = figure(cpu["off"])
    added = ours - without
    share = added / whole
    note = f"a second: {added:,.0f} of {whole:,.0f} bytecodes, and so of {call.text('ms')}"
    return [
        Result(
            "silent open call: calls and resumed coroutines that the guard adds",
            calls[Mode.OBSERVE] - calls[Mode.OFF],
            GOAL_CALLS,
            "",
            note=f"a second, counted; {calls[Mode.OFF]:g} without it, which measure the audio",
        ),
        Result("silent open call: the guard adds", share * call.value, GOAL_MS, "ms", note=note),
        Result(
            "silent open call: on - off",
            adds.value,
            0,
            "ms",
            note=f"a second, {adds.rounds} pairs: {adds.text('ms')}",
        ),
        Result(
            "silent open call: control (off - off)",
            control.value,
            0,
            "ms",
            note=f"a second: {control.text('ms')}",
        ),
    ]


def _block(mode: Mode) -> dict[str, float]:
    """CPU milliseconds of this process per second of the call."""
    return {"ms": asyncio.run(_silent_call(mode, time.process_time)) / SECONDS * 1e3}


def _own_calls(mode: Mode) -> float:
    """Calls of functions of ours per second of the call, in all threads.

    The profiler counts the resumption of a coroutine as a call: what is awaited within ours is
    resumed through it.
    """
    made = 0

    def count(frame: FrameType, event: str, _: object) -> None:
        nonlocal made
        named = str(frame.f_globals.get("__name__", ""))
        if event == "call" and named.startswith(OURS) and not named.startswith(STAGE):
            made += 1

    threading.setprofile(count)
    sys.setprofile(count)
    try:
        return asyncio.run(_silent_call(mode, lambda: made)) / SECONDS
    finally:
        sys.setprofile(None)
        threading.setprofile(None)


def _bytecodes(mode: Mode) -> tuple[float, float]:
    """Ours, and all, per second of the call."""
    counted: Counter[str] = Counter()

    def ours() -> float:
        found = dict(counted)  # counting goes on meanwhile
        return sum(n for name, n in found.items() if _is_ours(name))

    with Opcodes(counted):
        own = asyncio.run(_silent_call(mode, ours))
    with Opcodes(counted):
        whole = asyncio.run(_silent_call(mode, lambda: sum(dict(counted).values())))
    return own / SECONDS, whole / SECONDS


def _is_ours(name: str) -> bool:
    return name.startswith(f"{OURS}/") and not name.startswith(f"{OURS}/testing/")


async def _silent_call(mode: Mode, meter: Callable[[], float]) -> float:
    """What ``meter`` moves by while a caller says nothing."""
    runguard_otel.instrument(mode=Mode.OFF, metrics_port=0, session_overrun_mode=mode)
    try:
        with StageServer() as stage:
            room = rtc.Room()
            await room.connect("ws://stage", stage.token("lobby", "agent"))
            stage.join("lobby", "caller")
            stage.publish("lobby", "caller")
            await stage.settle()
            session: AgentSession[Any] = AgentSession(stt=ScriptedSTT(), llm=ScriptedLLM(""))
            session.input.audio = microphone = ScriptedAudioInput()
            await session.start(Agent(instructions="Be brief."))
            await _listen(microphone, 0.5)
            began = meter()
            await _listen(microphone, SECONDS)
            spent = meter() - began
            await session.aclose()
            await room.disconnect()
    finally:
        runguard_otel.uninstrument()
    return spent


async def _listen(microphone: ScriptedAudioInput, seconds: float) -> None:
    """So many seconds of silence, as fast as they come."""
    loop = asyncio.get_running_loop()
    due = loop.time()
    frame = rtc.AudioFrame.create(SAMPLE_RATE, 1, int(SAMPLE_RATE * FRAME_SECONDS))
    for _ in range(int(seconds / FRAME_SECONDS)):
        microphone.push(frame)
        due += FRAME_SECONDS
        await asyncio.sleep(max(0.0, due - loop.time()))
