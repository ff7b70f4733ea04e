"""VAD misfires: a guest at a noisy table, on speakerphone, with the agent's voice coming back.

Real: ``AgentSession``, the Silero voice detector, the recogniser, the audio. Scripted: the language
model and the voice, which count what they would bill.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Final

from livekit.agents import Agent, AgentSession, inference

from runguard_otel.demo.clips import FRAME_SECONDS, Cue, Soundtrack
from runguard_otel.demo.recogniser import Recogniser
from runguard_otel.demo.stage.audio import ScriptedAudioInput, ScriptedAudioOutput
from runguard_otel.demo.stage.speaking import ScriptedLLM, ScriptedTTS
from runguard_otel.demo.usage import Used
from runguard_otel.demo.watch import guards_on
from runguard_otel.demo.wire import Report

__all__ = ["CUES", "SECONDS", "answer", "play"]

CUES: Final = (
    Cue(0.6, "guest_book", 'guest: "I would like to book a table for two"'),
    Cue(4.9, "echo_booked", "the agent's voice, back through the speaker"),
    Cue(9.8, "echo_sorry", "the agent's voice, back through the speaker"),
    Cue(15.6, "chatter_salt", 'next table: "Pass me the salt, would you"'),
    Cue(19.0, "office_babble", "five people talking at once"),
    Cue(22.3, "chatter_thursday", 'next table: "No, we should move the meeting"'),
    Cue(26.6, "chatter_coming", 'next table: "Yes dear, I am coming"'),
    Cue(29.8, "chatter_yeah", 'next table: "Yeah"'),
    Cue(31.8, "chatter_thursday", 'next table: "No, we should move the meeting"'),
    Cue(36.2, "guest_reserve", 'guest: "Can I reserve a table for four tonight"'),
)
SECONDS: Final = 42.5
BOOKED: Final = (
    "Your table for {} is booked for eight o clock. Is there anything else I can do for you?"
)
SORRY: Final = "I am sorry I did not catch that. Could you please say it again?"


def answer(words: str) -> str:
    """What the scripted model says: it books what it understands and asks for the rest."""
    for number in ("two", "four"):
        if words.endswith((f"a table for {number}", f"a table for {number} tonight")):
            return BOOKED.format(number)
    return SORRY


class _Model(ScriptedLLM):
    def __init__(self, report: Report) -> None:
        super().__init__(self._answered)
        self._report = report

    def _answered(self, words: str) -> str:
        self._report.note(f'LLM call {len(self.calls)}: "{words or "(nothing)"}"')
        return answer(words)


async def play(report: Report, guards: bool) -> None:
    """Let the session hear the soundtrack once, in real time."""
    if guards:
        guards_on(report)
    track = Soundtrack(CUES, SECONDS)
    ear, model, voice = Recogniser(), _Model(report), ScriptedTTS()
    session: AgentSession[None] = AgentSession(
        stt=ear,
        vad=inference.VAD(),
        llm=model,
        tts=voice,
        aec_warmup_duration=None,  # speakerphone: nobody cancels the echo
    )
    microphone = ScriptedAudioInput()
    session.input.audio = microphone
    session.output.audio = ScriptedAudioOutput()

    def used() -> Used:
        return Used(
            llm_calls=len(model.calls),
            llm_input_tokens=model.prompt_tokens,
            llm_output_tokens=model.completion_tokens,
            tts_characters=voice.characters,
            stt_sessions=len(ear.streams),
            stt_seconds=round(ear.open_seconds, 1),
            connections=1,
        )

    await session.start(Agent(instructions="You take bookings for a restaurant."))
    report.ready()
    cues = list(track.cues)
    for n, (at, frame) in enumerate(track.frames()):
        late = report.began + at + FRAME_SECONDS - time.monotonic()
        if late > 0:
            await asyncio.sleep(late)
        if cues and at >= cues[0].at:
            report.input(cues.pop(0).what)
        if n % 25 == 0:
            report.used(used())
        microphone.push(frame)
    report.done(used())
    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(session.aclose(), 5)
    await ear.aclose()
