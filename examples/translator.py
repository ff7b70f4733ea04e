"""Translates everybody in a room, by voice and as text, without an AgentSession.

Each participant has an STT stream of their own, opened in the handler. Noise is no reason to ask
an LLM: `VADMisfireGuard` judges here what an AgentSession would have had judged.
"""

from __future__ import annotations

import asyncio
import logging

from livekit import rtc
from livekit.agents import JobContext, WorkerOptions, cli, inference, llm, stt

import runguard_otel

runguard_otel.instrument()
logger = logging.getLogger("translator")
INSTRUCTIONS = "Translate what you are given into French. Answer with the translation only."


class Interpreter:
    """Hears, translates and speaks in one room."""

    def __init__(self, room: rtc.Room) -> None:
        self.room = room
        self.stt = inference.STT("deepgram/nova-3", language="en")
        self.llm = inference.LLM("openai/gpt-4.1-mini")
        self.tts = inference.TTS("cartesia/sonic-3", language="fr")
        self.voice = rtc.AudioSource(self.tts.sample_rate, self.tts.num_channels)
        self.speaking = asyncio.Lock()

    async def publish(self) -> None:
        """Give the room the track on which the translation is heard."""
        track = rtc.LocalAudioTrack.create_audio_track("translation", self.voice)
        await self.room.local_participant.publish_track(track)

    async def listen(self, track: rtc.Track) -> None:
        """Translate one participant until the track ends."""
        stream, misfires = self.stt.stream(), runguard_otel.VADMisfireGuard()

        async def read() -> None:
            async for event in stream:
                if event.type == stt.SpeechEventType.FINAL_TRANSCRIPT and event.alternatives:
                    said = event.alternatives[0]
                    if is_speech(misfires, said):
                        await self.tell(said.text)

        reading = asyncio.create_task(read())
        async for event in rtc.AudioStream(track, sample_rate=16_000):
            stream.push_frame(event.frame)
        stream.end_input()
        await reading

    async def tell(self, text: str) -> None:
        """Publish the translation of one sentence."""
        context = llm.ChatContext.empty()
        context.add_message(role="system", content=INSTRUCTIONS)
        context.add_message(role="user", content=text)
        french = ""
        async with self.llm.chat(chat_ctx=context) as answer:
            async for chunk in answer:
                french += (chunk.delta.content if chunk.delta else None) or ""
        await self.room.local_participant.send_text(french, topic="translation")
        async with self.speaking:
            async for audio in self.tts.synthesize(french):
                await self.voice.capture_frame(audio.frame)


def is_speech(misfires: runguard_otel.VADMisfireGuard, said: stt.SpeechData) -> bool:
    """Whether somebody said this."""
    try:
        return misfires.on_stt_result(said.text, said.confidence)
    except runguard_otel.LoopDetectedError as storm:  # once per storm
        logger.warning("%s", storm)
        return False


async def entrypoint(ctx: JobContext) -> None:
    """Interpret for everybody who speaks."""
    interpreter, tasks = Interpreter(ctx.room), set[asyncio.Task[None]]()

    @ctx.room.on("track_subscribed")
    def subscribed(track: rtc.Track, *_: object) -> None:
        if track.kind == rtc.TrackKind.KIND_AUDIO:
            task = asyncio.create_task(interpreter.listen(track))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    await ctx.connect()
    await interpreter.publish()


if __name__ == "__main__":
    cli.run_app(WorkerOptions(entrypoint_fnc=entrypoint))
