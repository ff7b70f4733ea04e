"""A phone call for tests on livekit-agents 0.12: a real agent in a real Room, nobody else real."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from livekit import rtc
from livekit.agents import stt

from runguard_otel.adapters.livekit import patches as host_patches
from runguard_otel.adapters.livekit.services import Services
from runguard_otel.adapters.patching import PatchSet
from runguard_otel.core.ports import UsagePort
from runguard_otel.settings import Settings
from runguard_otel.testing import SAMPLE_RATE
from runguard_otel.testing.jobs import job_context as job_context
from runguard_otel.testing.listening import ScriptedSTT
from runguard_otel.testing.speaking import ScriptedTTS
from runguard_otel.testing.stage import Stage as Stage
from runguard_otel.testing.voice_activity import ScriptedVAD
from tests.kit.recorder import Event, MemoryRecorder
from tests.kit.v0_models import PipelineLLM, ScriptedRealtime

ROOM, CALLER = "table-booking", "caller"
WORDLESS_SECONDS = 0.02
"""In place of the 5 s after which 0.12 asks the LLM about a voice segment without words."""


async def settle(seconds: float = 0.0) -> None:
    """Let everything that is ready run, and what is due within ``seconds``."""
    await asyncio.sleep(seconds)
    for _ in range(200):
        await asyncio.sleep(0)


async def until(reached: Any, what: str, seconds: float = 60.0) -> None:
    """Wait for something that takes real time, such as playing a sentence."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not reached():
        if asyncio.get_running_loop().time() > deadline:
            raise AssertionError(f"not reached within {seconds:g} s: {what}")
        await asyncio.sleep(0.005)


class Guarded:
    """Everything of the installed host's adapter but claims; ``on=False``: the host as it is."""

    def __init__(self, on: bool = True, usage: UsagePort | None = None, **settings: Any) -> None:
        self.recorder = MemoryRecorder()
        self.services = Services(Settings.load(**settings), self.recorder, usage=usage)
        self.patches = PatchSet(host_patches(self.services) if on else [])

    def __enter__(self) -> Guarded:
        self.patches.install()
        return self

    def __exit__(self, *_: object) -> None:
        self.patches.undo()
        self.services.close()
        assert self.recorder.errors == [], "an event emitter swallows what a handler raises"

    def found(self, what: str) -> list[Event]:
        """The events whose signature begins with ``what``."""
        return [e for e in self.recorder.events if e.signature.startswith(what)]

    @property
    def misfires(self) -> list[tuple[str, str]]:
        """Kind and outcome of every misfire, in order."""
        return [(e.signature.partition(":")[2], str(e.outcome)) for e in self.found("vad_misfire:")]


class Caller:
    """The room with the caller in it, seen from the agent's connection."""

    def __init__(self, stage: Stage, room: rtc.Room) -> None:
        self.stage, self.room = stage, room
        self.track = ""

    async def publish(self) -> None:
        """The caller's microphone appears."""
        self.track = self.stage.publish(ROOM, CALLER)
        await self.stage.settle()

    async def flap(self) -> None:
        """The caller's microphone goes and comes back as another track."""
        self.stage.unpublish(self.track)
        await self.stage.settle()
        await self.publish()

    async def noise(self, frames: int = 10) -> None:
        """The microphone sends that many frames of 20 ms."""
        for _ in range(frames):
            self.stage.push_audio(
                self.track, rtc.AudioFrame.create(SAMPLE_RATE, 1, SAMPLE_RATE // 50)
            )
            await self.stage.settle()


class VoiceCall(Caller):
    """A running ``VoicePipelineAgent`` and the strings it hangs on."""

    def __init__(self, stage: Stage, room: rtc.Room, **options: Any) -> None:
        super().__init__(stage, room)
        pipeline = importlib.import_module("livekit.agents.pipeline")
        self.stt = options.pop("stt", None) or ScriptedSTT()
        self.vad, self.llm = ScriptedVAD(), PipelineLLM()
        self.tts = ScriptedTTS(seconds_per_character=options.pop("pace", 0.002))
        self.agent: Any = pipeline.VoicePipelineAgent(
            vad=self.vad,
            stt=self.stt,
            llm=self.llm,
            tts=self.tts,
            min_endpointing_delay=0.0,
            max_endpointing_delay=0.0,
            **options,
        )
        self.speaking = False
        self.agent.on("agent_started_speaking", lambda: setattr(self, "speaking", True))
        self.agent.on("agent_stopped_speaking", lambda: setattr(self, "speaking", False))

    @property
    def asked(self) -> list[str]:
        """What the language model was asked."""
        return self.llm.calls

    async def hear(self, *events: stt.SpeechEvent) -> None:
        """One voice segment, and what the recogniser makes of it."""
        self.vad.start_of_speech()
        await settle()
        for event in events:
            self.stt.send(event)
            await settle()
        self.vad.end_of_speech()
        await settle()
        await until(lambda: not self.agent._deferred_validation.validating, "the turn is over")
        await settle()

    async def quiet(self) -> None:
        """Wait until the agent has said what it is going to say."""
        await settle(0.05)
        await until(lambda: not self.speaking and not self.agent._speech_q, "the agent is quiet")
        await settle()


@contextmanager
def quick() -> Iterator[None]:
    """Five seconds are long in a test."""
    pipeline_agent: Any = importlib.import_module("livekit.agents.pipeline.pipeline_agent")
    deferred = pipeline_agent._DeferredReplyValidation
    before = deferred.FINAL_TRANSCRIPT_TIMEOUT
    deferred.FINAL_TRANSCRIPT_TIMEOUT = WORDLESS_SECONDS
    try:
        yield
    finally:
        deferred.FINAL_TRANSCRIPT_TIMEOUT = before


@asynccontextmanager
async def voice_call(*, early: bool = False, **options: Any) -> AsyncIterator[VoiceCall]:
    """A call from start to end.

    Args:
        early: The caller's microphone is there before the agent.
        **options: For ``VoicePipelineAgent``; also ``stt`` and ``pace`` (seconds per character).
    """
    stage = Stage()
    with quick(), stage:
        room = rtc.Room()
        await room.connect("wss://stage", stage.token(ROOM, "agent"))
        stage.join(ROOM, CALLER)
        await stage.settle()
        call = VoiceCall(stage, room, **options)
        if early:
            await call.publish()
        call.agent.start(room, CALLER)
        if not early:
            await call.publish()
        await until(call.agent._track_published_fut.done, "the agent's voice is published")
        await settle()
        try:
            yield call
        finally:
            await _hang_up(room, call.agent._human_input)


class RealtimeCall(Caller):
    """A running ``MultimodalAgent``."""

    def __init__(self, stage: Stage, room: rtc.Room) -> None:
        super().__init__(stage, room)
        self.model = ScriptedRealtime()
        multimodal = importlib.import_module("livekit.agents.multimodal")
        self.agent: Any = multimodal.MultimodalAgent(model=self.model)


@asynccontextmanager
async def realtime_call() -> AsyncIterator[RealtimeCall]:
    """The same with a realtime model."""
    stage = Stage()
    with stage:
        room = rtc.Room()
        await room.connect("wss://stage", stage.token(ROOM, "agent"))
        stage.join(ROOM, CALLER)
        await stage.settle()
        call = RealtimeCall(stage, room)
        call.agent.start(room, CALLER)
        await call.publish()
        await settle(0.05)
        try:
            yield call
        finally:
            await _hang_up(room, None)


async def _hang_up(room: rtc.Room, ears: Any) -> None:
    """0.12 agents never close: end what they started, as the end of the process would."""
    if ears is not None and not ears._closed:
        await ears.aclose()
    await room.disconnect()
    mine = asyncio.current_task()
    left = [task for task in asyncio.all_tasks() if task is not mine]
    for task in left:
        task.cancel()
    await asyncio.wait(left, timeout=2) if left else None
