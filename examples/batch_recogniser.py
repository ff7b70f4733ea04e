"""StreamAdapter: a recogniser without streaming, such as a Whisper server of your own.

The VAD cuts the audio into voices, and each voice is one request. A noise costs a request as well:
its blank answer never becomes an event in LiveKit, and is counted all the same.
"""

from __future__ import annotations

import io
import os
from typing import Any

from livekit import rtc
from livekit.agents import (
    Agent,
    AgentSession,
    JobContext,
    LanguageCode,
    WorkerOptions,
    cli,
    inference,
    stt,
    utils,
)

import runguard_otel

runguard_otel.instrument()


class Whisper(stt.STT[Any]):
    """Asks an OpenAI-compatible transcription server, one voice at a time."""

    def __init__(self, url: str, model: str = "whisper-large-v3") -> None:
        super().__init__(
            capabilities=stt.STTCapabilities(streaming=False, interim_results=False),
        )
        self.url, self.name = url, model

    @property
    def model(self) -> str:
        """The model's name, in telemetry and in the price book."""
        return self.name

    @property
    def provider(self) -> str:
        """The vendor's name, in telemetry and in the price book."""
        return "self-hosted"

    async def _recognize_impl(self, buffer: utils.AudioBuffer, **_: Any) -> stt.SpeechEvent:
        voice = io.BytesIO(rtc.combine_audio_frames(buffer).to_wav_bytes())
        form = {"file": voice, "model": self.name}
        async with utils.http_context.http_session().post(self.url, data=form) as response:
            text = (await response.json())["text"]
        kind = stt.SpeechEventType.FINAL_TRANSCRIPT
        return stt.SpeechEvent(kind, alternatives=[stt.SpeechData(LanguageCode("en"), text)])


async def entrypoint(ctx: JobContext) -> None:
    """Serve one room."""
    vad = inference.VAD()
    whisper = Whisper(os.environ["WHISPER_URL"])
    session: AgentSession[None] = AgentSession(
        stt=stt.StreamAdapter(stt=whisper, vad=vad),
        vad=vad,
        llm="openai/gpt-4.1-mini",
        tts="cartesia/sonic-3",
    )
    agent = Agent(instructions="You take bookings for a small restaurant. Be brief.")
    await session.start(agent=agent, room=ctx.room)
    await ctx.connect()


if __name__ == "__main__":
    cli.run_app(WorkerOptions(entrypoint_fnc=entrypoint))
