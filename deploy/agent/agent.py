"""A sample agent with runguard in it, which can be told to misbehave.

``MISBEHAVE=`` names the loop, each a mistake that real agents make:

- ``reconnect``: it opens a second connection to its room, again and again ("in doubt, connect");
- ``misfire``: it takes every noise for speech, and answers;
- ``tracks``: it opens an STT stream for each track that it is given, and closes none.

Two loops are made by who calls it (see caller.py): ``dispatch`` and ``overrun``. It needs no model
and no key of any provider: its recogniser hears that there is a sound, and its model says one
sentence.
"""

from __future__ import annotations

import asyncio
import logging
import os
from typing import Any

from livekit import api, rtc
from livekit.agents import (
    DEFAULT_API_CONNECT_OPTIONS,
    NOT_GIVEN,
    Agent,
    AgentSession,
    JobContext,
    WorkerOptions,
    cli,
    stt,
)

import runguard_otel
from runguard_otel.testing import ScriptedLLM, ScriptedTTS, final

runguard_otel.instrument()
logger = logging.getLogger("sample")
UNSURE = 0.2
LOUD = 1000
QUIET_SECONDS = 0.1
BEGIN, END = stt.SpeechEventType.START_OF_SPEECH, stt.SpeechEventType.END_OF_SPEECH


def token(room: str) -> str:
    """A token for the room, as an application that connects by itself would make one."""
    grants = api.VideoGrants(room_join=True, room=room)
    return api.AccessToken().with_identity("sample-agent").with_grants(grants).to_jwt()


class Noise(stt.STT[Any]):
    """A recogniser that makes a word of every sound, and is not sure of it."""

    def __init__(self) -> None:
        super().__init__(capabilities=stt.STTCapabilities(streaming=True, interim_results=False))

    def stream(
        self, *, language: Any = NOT_GIVEN, conn_options: Any = DEFAULT_API_CONNECT_OPTIONS
    ) -> stt.RecognizeStream:
        """Open a stream."""
        return _Noise(stt=self, conn_options=conn_options)

    async def _recognize_impl(self, buffer: Any, **_: Any) -> stt.SpeechEvent:
        raise NotImplementedError("this recogniser only streams")


class _Noise(stt.RecognizeStream):
    async def _run(self) -> None:
        heard, quiet = False, 0.0
        async for frame in self._input_ch:
            if not isinstance(frame, rtc.AudioFrame):
                continue
            if max(map(abs, frame.data), default=0) > LOUD:
                heard, quiet = True, 0.0
                continue
            quiet += frame.duration
            if heard and quiet >= QUIET_SECONDS:
                heard = False
                for event in (stt.SpeechEvent(BEGIN), final("mm", UNSURE), stt.SpeechEvent(END)):
                    self._event_ch.send_nowait(event)


async def join_again(ctx: JobContext) -> None:
    """Connect, whatever there is already."""
    await ctx.connect()
    url, name = os.environ["LIVEKIT_URL"], ctx.room.name
    while True:
        room = rtc.Room()  # the server throws the one before out: both have one identity
        try:
            await room.connect(url, token(name))
        except rtc.ConnectError as error:  # a guard's refusal is one of these
            logger.info("refused: %s", error)
        await asyncio.sleep(0.5)


async def answer_noise(ctx: JobContext) -> None:
    """Talk with whoever makes a sound."""
    await ctx.connect()
    session: AgentSession[Any] = AgentSession(
        stt=Noise(),
        llm=ScriptedLLM(lambda _: "Could you say that again?"),
        tts=ScriptedTTS(),
        turn_detection="stt",
    )
    await session.start(Agent(instructions="Be kind."), room=ctx.room)


async def transcribe(ctx: JobContext) -> None:
    """One STT stream per track, as many tutorials do it."""
    ear, tasks = Noise(), set[asyncio.Task[None]]()

    async def listen(track: rtc.Track, stream: stt.RecognizeStream) -> None:
        async for event in rtc.AudioStream(track, sample_rate=16_000, num_channels=1):
            stream.push_frame(event.frame)

    async def show(stream: stt.RecognizeStream) -> None:
        async for event in stream:  # for ever: nobody ends it when the track has ended
            if event.alternatives:
                logger.info("heard: %s", event.alternatives[0].text)

    def subscribed(track: rtc.Track, *_: object) -> None:
        stream = ear.stream()
        tasks.update(asyncio.ensure_future(work) for work in (listen(track, stream), show(stream)))

    ctx.room.on("track_subscribed", subscribed)
    await ctx.connect()


async def behave(ctx: JobContext) -> None:
    """Join the room, and stay."""
    await ctx.connect()
    logger.info("in the room, and staying")


LOOPS = {"reconnect": join_again, "misfire": answer_noise, "tracks": transcribe}


async def entrypoint(ctx: JobContext) -> None:
    """Behave, or not."""
    await LOOPS.get(os.environ.get("MISBEHAVE", ""), behave)(ctx)


def idle() -> float:
    """A busy laptop is no reason to refuse the one caller of a sample."""
    return 0.0


if __name__ == "__main__":
    health = int(os.environ.get("HEALTH_PORT", "8081"))
    cli.run_app(WorkerOptions(entrypoint_fnc=entrypoint, load_fnc=idle, port=health))
