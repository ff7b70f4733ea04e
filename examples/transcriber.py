"""Transcribes every participant of a room, without an AgentSession.

One STT stream per track, opened in the handler: where a phone that drops in and out used to open a
stream each time, it now keeps the one it has.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from livekit import rtc
from livekit.agents import JobContext, WorkerOptions, cli, inference, stt

import runguard_otel

runguard_otel.instrument()
logger = logging.getLogger("transcriber")


def recogniser() -> stt.STT[Any]:
    """The STT of all participants; any plugin's will do."""
    return inference.STT("deepgram/nova-3")


async def transcribe(model: stt.STT[Any], track: rtc.Track, who: str) -> None:
    """Feed the track to the recogniser and say what it hears, until the track ends."""
    stream = model.stream()

    async def read() -> None:
        async for event in stream:
            if event.type == stt.SpeechEventType.FINAL_TRANSCRIPT and event.alternatives:
                logger.info("%s: %s", who, event.alternatives[0].text)

    reading = asyncio.create_task(read())
    async for event in rtc.AudioStream(track, sample_rate=16_000):
        stream.push_frame(event.frame)
    stream.end_input()
    await reading


async def entrypoint(ctx: JobContext) -> None:
    """Listen to everybody who speaks."""
    model, tasks = recogniser(), set[asyncio.Task[None]]()

    @ctx.room.on("track_subscribed")
    def subscribed(track: rtc.Track, _: rtc.TrackPublication, who: rtc.RemoteParticipant) -> None:
        if track.kind == rtc.TrackKind.KIND_AUDIO:
            task = asyncio.create_task(transcribe(model, track, who.identity))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    await ctx.connect()


if __name__ == "__main__":
    cli.run_app(WorkerOptions(entrypoint_fnc=entrypoint))
