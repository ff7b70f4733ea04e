"""The demonstration's voice agent: real session, detector, recogniser; scripted model and voice."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterable
from typing import Final

from livekit.agents import Agent, AgentSession, inference

from runguard_otel.demo.clips import FRAME_SECONDS, Soundtrack
from runguard_otel.demo.machine import patient
from runguard_otel.demo.recogniser import Recogniser
from runguard_otel.demo.usage import Used
from runguard_otel.demo.wire import Report
from runguard_otel.testing.audio import ScriptedAudioInput, ScriptedAudioOutput
from runguard_otel.testing.speaking import ScriptedLLM, ScriptedTTS

__all__ = ["Restaurant", "answer"]

BOOKED: Final = (
    "Your table for {} is booked for eight o clock. Is there anything else I can do for you?"
)
SORRY: Final = "I am sorry I did not catch that. Could you please say it again?"
FRAMES_BETWEEN_REPORTS: Final = 25
SETTLE_SECONDS: Final = 6.0


def answer(words: str) -> str:
    """What the scripted model says: it books what it understands and asks for the rest."""
    for number in ("two", "four"):
        if words.endswith((f"a table for {number}", f"a table for {number} tonight")):
            return BOOKED.format(number)
    return SORRY


class Restaurant:
    """An agent that takes bookings.

    Args:
        report: Hears what is done.
    """

    def __init__(self, report: Report) -> None:
        self._report = report
        self._asked = asyncio.Event()
        self.ear = Recogniser()
        self.model = ScriptedLLM(self._answer)
        self.voice = ScriptedTTS()
        self._microphone = ScriptedAudioInput()
        self._session: AgentSession[None] = AgentSession(
            stt=self.ear,
            vad=inference.VAD(),
            llm=self.model,
            tts=self.voice,
            aec_warmup_duration=None,  # speakerphone: the echo is not cancelled
        )
        self._session.input.audio = self._microphone
        self._session.output.audio = ScriptedAudioOutput()

    async def open(self) -> None:
        """Pick up the phone."""
        await self._session.start(Agent(instructions="You take bookings for a restaurant."))

    async def hear(self, track: Soundtrack) -> None:
        """Let the session hear a soundtrack, in real time."""
        began, cues = time.monotonic(), list(track.cues)
        for n, (at, frame) in enumerate(track.frames()):
            wait = began + at + FRAME_SECONDS - time.monotonic()
            if wait > 0:
                await asyncio.sleep(wait)
            if cues and at >= cues[0].at:
                self._report.input(cues.pop(0).what)
            if n % FRAMES_BETWEEN_REPORTS == 0:
                self._report.used(self.used())
            self._microphone.push(frame)

    async def settle(self, sentences: Iterable[str]) -> None:
        """Wait until ``sentences`` were understood, but not for long: a busy machine is slow."""
        wanted = tuple(sentences)

        async def all_understood() -> None:
            while self.understood(wanted) < len(wanted):
                self._asked.clear()
                await self._asked.wait()

        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(all_understood(), patient(SETTLE_SECONDS))

    def understood(self, sentences: Iterable[str]) -> int:
        """How many of ``sentences`` reached the language model."""
        return sum(any(one in call for call in self.model.calls) for one in sentences)

    def used(self) -> Used:
        """What this has cost so far."""
        return Used(
            llm_calls=len(self.model.calls),
            llm_input_tokens=self.model.prompt_tokens,
            llm_output_tokens=self.model.completion_tokens,
            tts_characters=self.voice.characters,
            stt_sessions=len(self.ear.streams),
            stt_seconds=round(self.ear.open_seconds, 1),
            connections=1,
        )

    async def close(self) -> None:
        """Hang up."""
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._session.aclose(), 5)
        await self.ear.aclose()

    def _answer(self, words: str) -> str:
        self._asked.set()
        self._report.note(f'LLM call {len(self.model.calls)}: "{words or "(nothing)"}"')
        return answer(words)
