"""A phone call for tests: a real AgentSession between scripted providers, no waiting."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from livekit.agents import Agent, AgentSession, APIConnectionError, stt

from runguard_otel.adapters.agents_v1 import speech
from runguard_otel.adapters.agents_v1.services import Services
from runguard_otel.adapters.patching import PatchSet
from runguard_otel.demo.stage.models import (
    ScriptedAudioInput,
    ScriptedAudioOutput,
    ScriptedLLM,
    ScriptedSTT,
    ScriptedTTS,
    ScriptedVAD,
)
from runguard_otel.settings import Settings
from tests.kit.recorder import Event, MemoryRecorder

HAS_PREFLIGHT = hasattr(stt.SpeechEventType, "PREFLIGHT_TRANSCRIPT")  # since 1.2


async def settle(rounds: int = 300) -> None:
    """Let everything that is ready run. Endpointing is set to zero, so no clock is needed."""
    for _ in range(rounds):
        await asyncio.sleep(0)


async def until(reached: Any, seconds: float = 5.0) -> None:
    """Wait for something that takes real time, such as playing a sentence."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not reached():
        if asyncio.get_running_loop().time() > deadline:
            raise AssertionError(f"not reached within {seconds:g} s: {inspect.getsource(reached)}")
        await asyncio.sleep(0.005)


class BreakableSTT(ScriptedSTT):
    """A provider whose open streams can fail."""

    def stream(self, **options: Any) -> stt.RecognizeStream:
        opened: Any = super().stream(**options)
        opened.broken = asyncio.get_running_loop().create_future()
        listen = opened._run

        async def run() -> None:
            listening = asyncio.ensure_future(listen())
            try:
                await asyncio.wait({listening, opened.broken}, return_when="FIRST_COMPLETED")
                if opened.broken.done():
                    raise APIConnectionError("the provider is down")
            finally:
                listening.cancel()

        opened._run = run
        return opened  # type: ignore[no-any-return]

    def fail(self) -> None:
        """The newest stream breaks."""
        stream: Any = self.streams[-1]
        stream.broken.set_result(None)


class Guarded:
    """The speech adapter installed, with what it recorded and a clock to turn.

    ``on=False`` installs nothing: the host as it is.
    """

    def __init__(
        self, on: bool = True, recorder: MemoryRecorder | None = None, **settings: Any
    ) -> None:
        self.now = 1000.0
        self.recorder = recorder or MemoryRecorder()
        self.services = Services(Settings.load(**settings), self.recorder)
        table = speech.patches(self.services, lambda: self.now) if on else []
        self.patches = PatchSet(table)

    def __enter__(self) -> Guarded:
        self.patches.install()
        return self

    def __exit__(self, error: object = None, *_: object) -> None:
        self.patches.undo()
        self.services.close()
        if error is None and not self.recorder.tolerant:
            assert not self.recorder.errors, "an event emitter swallowed it: see `where`"

    @property
    def kinds(self) -> list[str]:
        """The misfires counted, without their class, in order; voice segments left out."""
        return [e.signature.partition(":")[2] for e in self._misfires]

    @property
    def outcomes(self) -> list[str]:
        return [str(e.outcome) for e in self._misfires]

    @property
    def _misfires(self) -> list[Event]:
        return [e for e in self.recorder.events if not e.signature.endswith("no_transcript")]


def close_quickly(session: AgentSession[Any]) -> None:
    """Where it cannot be told so, a session waits 2 s for a last result when it closes."""
    if "session_close_transcript_timeout" in inspect.signature(AgentSession).parameters:
        return
    recognition: Any = getattr(session._activity, "_audio_recognition", None)
    commit = getattr(recognition, "commit_user_turn", None)
    if commit is not None and "transcript_timeout" in inspect.signature(commit).parameters:

        def quick(**options: Any) -> Any:
            return commit(**{**options, "transcript_timeout": 0.01})

        recognition.commit_user_turn = quick


class Call:
    """A running session and the strings it hangs on."""

    def __init__(
        self,
        *,
        recogniser: stt.STT[Any] | None = None,
        detector: ScriptedVAD | None = None,
        answer: str = "Of course.",
        voice: bool = False,
        speed: float = 20.0,
        agent: Agent | None = None,
        **options: Any,
    ) -> None:
        self.stt = recogniser or ScriptedSTT()
        self.vad = detector or ScriptedVAD()
        self.llm = ScriptedLLM(answer)
        self.tts = ScriptedTTS() if voice else None
        self.input = ScriptedAudioInput()
        self.output = ScriptedAudioOutput(speed=speed) if voice else None
        self.agent = agent or Agent(instructions="Be brief.")
        settings: dict[str, Any] = {
            "min_endpointing_delay": 0.0,
            "max_endpointing_delay": 0.0,
            **options,
        }
        known = inspect.signature(AgentSession.__init__).parameters
        if "preemptive_generation" in known:
            settings.setdefault("preemptive_generation", True)  # the default since 1.5
        if "aec_warmup_duration" in known:
            settings["aec_warmup_duration"] = None  # else nothing interrupts the first sentence
        if "session_close_transcript_timeout" in known:
            settings["session_close_transcript_timeout"] = 0.0
        if "false_interruption_timeout" in known:
            settings["false_interruption_timeout"] = 0.05
        if self.tts is not None:
            settings["tts"] = self.tts
        self.session: AgentSession[Any] = AgentSession(
            stt=self.stt, vad=self.vad, llm=self.llm, **settings
        )
        self.session.input.audio = self.input
        if self.output is not None:
            self.session.output.audio = self.output
        self.transcribed: list[str] = []
        self.session.on("user_input_transcribed", lambda e: self.transcribed.append(e.transcript))

    async def start(self) -> None:
        await self.session.start(self.agent)
        close_quickly(self.session)
        self.input.push_silence()
        await settle()

    async def hear(self, *events: stt.SpeechEvent) -> None:
        """One voice segment, and what the recogniser makes of it."""
        assert isinstance(self.stt, ScriptedSTT)
        self.vad.start_of_speech()
        await settle(20)
        for event in events:
            self.stt.send(event)
            await settle(60)
        self.vad.end_of_speech()
        await settle()

    async def commit(self) -> None:
        """The user lets go of the button."""
        known = inspect.signature(self.session.commit_user_turn).parameters
        wanted = {"transcript_timeout": 0.01, "stt_flush_duration": 0.0}
        options: dict[str, Any] = {k: v for k, v in wanted.items() if k in known}
        done: Any = self.session.commit_user_turn(**options)
        if not asyncio.isfuture(done):  # up to 1.4 it says nothing, but leaves its task behind
            recognition: Any = getattr(self.session._activity, "_audio_recognition", None)
            done = getattr(recognition, "_commit_user_turn_atask", None)
        if done is not None:
            await done
        await settle()

    @property
    def speaking(self) -> bool:
        return self.session.agent_state == "speaking"

    def listens(self) -> bool:
        return self.session.input.audio_enabled

    @property
    def asked(self) -> list[str]:
        """What the language model was asked."""
        return self.llm.calls


@asynccontextmanager
async def call(**options: Any) -> AsyncIterator[Call]:
    """A call from start to end."""
    running = Call(**options)
    await running.start()
    try:
        yield running
    finally:
        await running.session.aclose()
