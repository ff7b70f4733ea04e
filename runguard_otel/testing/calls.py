"""A phone call without a phone: a real ``AgentSession`` between scripted providers, no waiting."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from livekit.agents import Agent, AgentSession, stt

from runguard_otel.testing.audio import ScriptedAudioInput, ScriptedAudioOutput
from runguard_otel.testing.listening import ScriptedSTT, final
from runguard_otel.testing.speaking import ScriptedLLM, ScriptedTTS
from runguard_otel.testing.voice_activity import ScriptedVAD
from runguard_otel.testing.waiting import settle, until

__all__ = ["Call", "call"]


class Call:
    """A running session and the strings it hangs on. :func:`call` starts and ends one.

    Args:
        agent: Your agent; by default one that is told to be brief.
        recogniser: In place of a :class:`ScriptedSTT`.
        detector: In place of a :class:`ScriptedVAD`.
        model: In place of a :class:`ScriptedLLM` that says ``answer``.
        answer: What the scripted model says to everything.
        voice: Whether the agent has a voice; without one its answers stay text.
        speed: How many seconds of speech pass per second of waiting.
        **options: Of ``AgentSession``. Those that make it wait for the user are set to zero.
    """

    def __init__(
        self,
        *,
        agent: Agent | None = None,
        recogniser: stt.STT[Any] | None = None,
        detector: ScriptedVAD | None = None,
        model: ScriptedLLM | None = None,
        answer: str = "Of course.",
        voice: bool = False,
        speed: float = 20.0,
        **options: Any,
    ) -> None:
        self.stt = recogniser or ScriptedSTT()
        self.vad = detector or ScriptedVAD()
        self.llm = model or ScriptedLLM(answer)
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
        """What the application was told that the user said, interim results included."""
        self.session.on("user_input_transcribed", lambda e: self.transcribed.append(e.transcript))

    async def start(self) -> None:
        """Pick up the phone."""
        await self.session.start(self.agent)
        close_quickly(self.session)
        self.input.push_silence()
        await settle()

    async def hear(self, *said: str | stt.SpeechEvent) -> None:
        """One voice, and what the recogniser makes of it.

        Args:
            *said: Its results, in order. Plain words are a final result that is sure of itself;
                :func:`final`, :func:`interim` and :func:`malformed_final` make others.
        """
        assert isinstance(self.stt, ScriptedSTT), "only a scripted recogniser can be told"
        self.vad.start_of_speech()
        await settle(20)
        for one in said:
            self.stt.send(final(one) if isinstance(one, str) else one)
            await settle(60)
        self.vad.end_of_speech()
        await settle()

    async def quiet(self, seconds: float = 5.0) -> None:
        """Wait until the agent has said what it is going to say, for at most ``seconds``."""
        await settle()
        busy = ("thinking", "speaking")
        await until(
            lambda: self.session.agent_state not in busy and self.session.current_speech is None,
            seconds,
        )
        await settle()

    async def commit(self) -> None:
        """The user lets go of the button of push-to-talk."""
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
        """Whether the agent speaks."""
        return self.session.agent_state == "speaking"

    def listens(self) -> bool:
        """Whether the session hears its microphone."""
        return self.session.input.audio_enabled

    @property
    def asked(self) -> list[str]:
        """What the language model was asked: the user's last words of each request."""
        return self.llm.calls

    @property
    def said(self) -> list[str]:
        """What the voice was asked to say."""
        return self.tts.said if self.tts is not None else []


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


async def _let_go(session: AgentSession[Any]) -> None:
    """Wait until what is over is no longer the current speech, which takes a turn of the loop.

    Closed in between, a session of 1.2 or 1.3 waits for ever: it asks a speech that is over to say
    when it is. A person does not hang up to the microsecond.
    """
    for _ in range(100):
        if session.current_speech is None or not session.current_speech.done():
            return
        await asyncio.sleep(0)


@asynccontextmanager
async def call(**options: Any) -> AsyncIterator[Call]:
    """A call from start to end.

    Args:
        **options: Of :class:`Call`.
    """
    running = Call(**options)
    await running.start()
    try:
        yield running
    finally:
        await _let_go(running.session)
        await running.session.aclose()
