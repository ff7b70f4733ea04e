"""Turns of a real ``AgentSession``, with whatever a side puts into the process.

Commands: ``block`` (CPU of some turns), ``bytecodes`` (executed ones), ``frames`` (CPU of pushed
audio), ``tokens`` (of an answer, pushed to a voice), ``instructions`` (the machine's). Each says
whether it is instrumented; ``hub`` is where a job's counts go. ``seen`` says what the side noticed.
"""

from __future__ import annotations

import asyncio
import copy
import gc
import importlib
import json
import logging
import os
import resource
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from livekit.agents import Agent, AgentSession, ConversationItemAddedEvent

from bench.opcodes import Opcodes
from bench.probes.answering import answer
from bench.probes.sides import SETTLE, SIDES, WARM_UP, Side

try:
    from runguard_otel.testing import models
except ImportError:  # the builds before they were published
    models = importlib.import_module("runguard_otel.demo.stage.models")

FRAMES_A_SECOND = 50
_NOISY = (
    *("livekit", "livekit.agents", "opentelemetry", "runguard_otel"),
    *("floe_guard", "livekit_evals", "voicegateway"),
)
_SETTLING = 0.05
"""Seconds in which other processes do what turns have left to them."""
_SCRIPTED = ("runguard_otel/testing/", "runguard_otel/demo/")  # the providers' parts


def cpu() -> float:
    """Milliseconds of user and system CPU of this process so far, all threads."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return (used.ru_utime + used.ru_stime) * 1e3


_ROWS = [{str(n): [m * 1.5 for m in range(12)], "text": "x" * 50} for n in range(80)]


def reference() -> int:
    """The same work each time, of the kind that a turn is: objects made, walked and let go."""
    return len(json.dumps(copy.deepcopy(_ROWS)))


def _spent_by(process: int) -> int:
    """Nanoseconds of CPU of all threads of a process; to ask it would be part of the answer."""
    tasks = Path(f"/proc/{process}/task").glob("*/schedstat") if process else ()
    return sum(int(task.read_text().split()[0]) for task in tasks)


def _own(counted: Counter[str]) -> Counter[str]:
    """What of it is the package's, without the providers that it has for tests."""
    return Counter(
        {
            name: count
            for name, count in counted.items()
            if name.startswith("runguard_otel/") and not name.startswith(_SCRIPTED)
        }
    )


def _callgrind(option: str) -> None:
    command = ["callgrind_control", option, str(os.getpid())]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _counted() -> int:
    """The instructions that callgrind has counted since it began, and what it wrote is removed."""
    _callgrind("--dump=turns")
    _callgrind("--instr=off")
    found = 0
    for file in Path(os.environ["BENCH_FOLDER"]).glob(f"counted.{os.getpid()}.*"):
        said = file.read_text("utf-8")
        if "dump turns\n" in said:
            found = int(said.rpartition("totals: ")[2])
        file.unlink()
    if not found:
        raise RuntimeError("callgrind has written nothing")
    return found


class Text:
    """A session without audio; a turn is one typed question."""

    SECONDS = 0.0

    async def start(self, side: Side) -> None:
        self._side = side
        self._session: AgentSession[Any] = AgentSession(llm=models.ScriptedLLM())
        agent = Agent(instructions="bench")
        side.attach(self._session, agent)
        await self._session.start(agent)
        await side.started(self._session)

    async def turn(self, number: int) -> None:
        self._side.turn()
        await self._session.run(user_input=f"question {number}")

    async def end(self) -> None:
        await self._session.aclose()


class Audio:
    """A session that hears; a turn is a second of audio with a final in it, and the answer."""

    SECONDS = 1.0

    async def start(self, side: Side) -> None:
        self._side = side
        self._stt, self._vad = models.ScriptedSTT(), models.ScriptedVAD()
        self._llm = models.ScriptedLLM()
        self._microphone = models.ScriptedAudioInput()
        self._session: AgentSession[Any] = AgentSession(
            stt=self._stt,
            vad=self._vad,
            llm=self._llm,
            min_endpointing_delay=0.0,
            aec_warmup_duration=None,
        )
        self._session.input.audio = self._microphone
        self._answers = self._wanted = 0
        self._answered = asyncio.Event()  # to look every other moment would be part of the CPU
        self._session.on("conversation_item_added", self._added)
        self._session.on("agent_state_changed", lambda event: self._over())
        agent = Agent(instructions="bench")
        side.attach(self._session, agent)
        await self._session.start(agent)
        await side.started(self._session)
        self._microphone.push_silence()
        while not self._stt.streams:
            await asyncio.sleep(0.001)

    def _added(self, event: ConversationItemAddedEvent) -> None:
        self._answers += getattr(event.item, "role", "") == "assistant"
        self._over()

    def _over(self) -> None:
        # Not by the requests: a turn may make two, and the next would then count as answered.
        if self._answers >= self._wanted and self._session.agent_state == "listening":
            self._answered.set()

    async def turn(self, number: int) -> None:
        self._side.turn()
        self._wanted = self._answers + 1
        self._answered.clear()
        self._microphone.push_silence(1.0)
        self._vad.start_of_speech()
        await asyncio.sleep(0)
        self._stt.send(models.interim(f"question {number}"))
        self._stt.send(models.final(f"this is question number {number}"))
        await asyncio.sleep(0)
        self._vad.end_of_speech()
        await self._answered.wait()

    async def end(self) -> None:
        closing = asyncio.create_task(self._session.aclose())
        await asyncio.sleep(0.01)
        self._stt.send(models.final("Goodbye"))  # for which the host waits two seconds
        await closing


KINDS: dict[str, Callable[[], Text | Audio]] = {"text": Text, "audio": Audio}


class Probe:
    """One process, one side.

    Args:
        side: What ``on`` means here.
    """

    def __init__(self, side: Side) -> None:
        self._side = side
        self._own_of_token = 0.0

    async def block(
        self, kind: str, turns: int, on: bool, hub: str = "", worker: int = 0
    ) -> dict[str, float]:
        """Milliseconds of CPU of one turn: here, of :func:`reference` after it, in the worker."""
        spent = counting = 0

        async def work(conversation: Text | Audio) -> float:
            nonlocal spent, counting
            await self._settled(on)
            turning, before = 0, _spent_by(worker)
            for number in range(turns):
                began = time.process_time_ns()
                await conversation.turn(number)
                ended = time.process_time_ns()
                reference()
                turning += ended - began
                spent += time.process_time_ns() - ended
            counting = _spent_by(worker) - before
            return turning / turns / 1e6

        found = await self._inside(kind, on, hub, work, settle=True)
        each = turns * 1e6
        return {"ms": found, "reference": spent / each, "worker": counting / each}

    async def bytecodes(self, kind: str, turns: int, on: bool, hub: str = "") -> dict[str, Any]:
        """Executed bytecodes of one turn: all of them, and those of the package itself."""
        counted: Counter[str] = Counter()

        async def work(conversation: Text | Audio) -> float:
            # What is made at the first report of a stream's audio is not a turn's.
            await asyncio.sleep(conversation.SECONDS)
            with Opcodes(counted):
                for number in range(turns):
                    due = time.monotonic() + conversation.SECONDS
                    await conversation.turn(number)
                    # What is done by the second is done once per second of audio.
                    await asyncio.sleep(max(0.0, due - time.monotonic()))
            return 0.0

        await self._inside(kind, on, hub, work)
        own = _own(counted)
        top = {k: n / turns for k, n in own.most_common(40)}
        return {"all": counted.total() / turns, "own": own.total() / turns, "top": top}

    async def instructions(
        self, kind: str, turns: int, on: bool, hub: str = ""
    ) -> dict[str, float]:
        """Machine instructions of one turn, all threads, where callgrind runs this process.

        It must not count from the start: what comes ahead of the turns is quick without.
        """

        async def work(conversation: Text | Audio) -> float:
            await self._settled(on)
            _callgrind("--instr=on")
            for number in range(turns):
                await conversation.turn(number)
            return _counted() / turns

        return {"all": await self._inside(kind, on, hub, work, settle=True)}

    async def frames(self, seconds: int, on: bool, hub: str = "") -> dict[str, float]:
        """Microseconds of CPU of one second of audio pushed into an open recogniser's stream."""
        from livekit import rtc

        frame = rtc.AudioFrame.create(24_000, 1, 24_000 // FRAMES_A_SECOND)

        async def work(conversation: Text | Audio) -> float:
            stream = models.ScriptedSTT().stream()
            spent = 0.0
            for _ in range(seconds):
                began = cpu()
                for _ in range(FRAMES_A_SECOND):
                    stream.push_frame(frame)
                if on:
                    self._side.second()
                spent += cpu() - began
                await asyncio.sleep(0)
            await stream.aclose()
            return spent / seconds * 1e3

        return {"us": await self._inside("text", on, hub, work)}

    async def tokens(self, number: int, on: bool, hub: str = "") -> dict[str, float]:
        """One token of an answer, given to a voice: own bytecodes, and microseconds of CPU."""
        from livekit.agents import tokenize, tts

        voice = tts.StreamAdapter(
            tts=models.ScriptedTTS(), sentence_tokenizer=tokenize.basic.SentenceTokenizer()
        )

        async def work(conversation: Text | Audio) -> float:
            stream = voice.stream()
            stream.push_text("Well")  # whose it is is found out with the first one
            counted: Counter[str] = Counter()
            with Opcodes(counted):
                for _ in range(number):
                    stream.push_text(" well")
            self._own_of_token = _own(counted).total() / number
            began = time.process_time_ns()
            for _ in range(number):
                stream.push_text(" well")
            spent = time.process_time_ns() - began
            await stream.aclose()
            return spent / number / 1e3

        us = await self._inside("text", on, hub, work)
        return {"us": us, "own": self._own_of_token}

    async def _settled(self, on: bool) -> None:
        if on:
            self._side.settled()
        await asyncio.sleep(_SETTLING)

    def seen(self) -> float:
        """Requests to the model when it was last there, by the side's own account."""
        return self._side.seen()

    async def _inside(
        self,
        kind: str,
        on: bool,
        hub: str,
        work: Callable[[Text | Audio], Awaitable[float]],
        *,
        settle: bool = False,
    ) -> float:
        """Do something in a session that is warm.

        Args:
            kind: Of turns.
            on: Whether with the side.
            hub: Where a job's counts go.
            work: What to do.
            settle: Whether its CPU is to be that of a job, in which what we patch was patched
                before it first ran. Here it ran before, and CPython (3.11: 85 times) looks up anew
                at each place what it had cached there of a class that has changed since.
        """
        if on:
            self._side.begin(hub)
        # As the forkserver of a real worker does: what was imported is not collected in turns.
        gc.collect()
        gc.freeze()
        side = self._side if on else SIDES["nothing"]()
        try:
            if settle:
                await self._session(kind, side, SETTLE)
            return await self._session(kind, side, WARM_UP, work)
        finally:
            if on:
                await side.end()

    async def _session(
        self,
        kind: str,
        side: Side,
        turns: int,
        work: Callable[[Text | Audio], Awaitable[float]] | None = None,
    ) -> float:
        conversation = KINDS[kind]()
        await conversation.start(side)
        try:
            for number in range(turns):
                await conversation.turn(-1 - number)
            return await work(conversation) if work is not None else 0.0
        finally:
            await conversation.end()


if __name__ == "__main__":
    for noisy in _NOISY:
        logging.getLogger(noisy).setLevel(logging.CRITICAL)
    answer(Probe(SIDES[sys.argv[1]]()))
