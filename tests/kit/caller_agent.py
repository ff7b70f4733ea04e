"""An agent that greets who comes, answers each sound it hears, and takes its time to leave.

By environment: ``RG_STEPS`` (a file that gets one JSON line per step), ``RG_INSTRUMENT``
(``module`` or ``no``), ``RG_AGENT``, ``RG_PER`` (``room`` or ``publisher``), ``RG_DRAIN`` (seconds
that a worker lets its calls go on). The metadata of a dispatch says how many seconds ``on_exit``
takes; a negative number is for ever. In a room named ``scribe-...`` the agent only listens, in one
named ``recorder-...`` it is there without a session.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from livekit import rtc
from livekit.agents import (
    DEFAULT_API_CONNECT_OPTIONS,
    NOT_GIVEN,
    Agent,
    AgentServer,
    AgentSession,
    JobContext,
    cli,
    stt,
)
from livekit.agents.voice.room_io import RoomOptions
from livekit.agents.worker import ServerType

from runguard_otel.testing import SAMPLE_RATE
from runguard_otel.testing.listening import final
from runguard_otel.testing.speaking import ScriptedLLM, ScriptedTTS

if os.environ["RG_INSTRUMENT"] == "module":
    import runguard_otel

    runguard_otel.instrument().on_trip(
        lambda trip: step("trip", room=trip.subject.room, signature=trip.signature)
    )

PER = os.environ.get("RG_PER") == "publisher"
LOUD = 1500
SILENCE_SECONDS = 0.2
HELLO = "Hello"

server = AgentServer(
    port=0,
    num_idle_processes=3,
    initialize_process_timeout=60,  # a busy machine is no finding
    load_threshold=1.0,
    load_fnc=lambda *_: 0.0,
    drain_timeout=int(os.environ.get("RG_DRAIN", "1")),
)


def step(what: str, **more: object) -> None:
    line = json.dumps({"step": what, "pid": os.getpid(), "at": time.time(), **more}) + "\n"
    with Path(os.environ["RG_STEPS"]).open("a", encoding="utf-8") as file:
        file.write(line)


class _Hearing(stt.RecognizeStream):
    """Every sound is a sentence."""

    async def _run(self) -> None:
        opened = time.monotonic()
        try:
            await self._listen()
        finally:
            step("listened", seconds=time.monotonic() - opened)

    async def _listen(self) -> None:
        speaking, quiet = False, 0.0
        async for frame in self._input_ch:
            if not isinstance(frame, rtc.AudioFrame):
                continue
            if int(np.abs(np.frombuffer(frame.data, np.int16)).max()) > LOUD:
                if not speaking:
                    self._say(stt.SpeechEvent(type=stt.SpeechEventType.START_OF_SPEECH))
                speaking, quiet = True, 0.0
            elif speaking:
                quiet += frame.duration
                if quiet >= SILENCE_SECONDS:
                    speaking = False
                    self._say(final("are you still there"))
                    self._say(stt.SpeechEvent(type=stt.SpeechEventType.END_OF_SPEECH))

    def _say(self, event: stt.SpeechEvent) -> None:
        self._event_ch.send_nowait(event)


class Hearing(stt.STT[Any]):
    """A recogniser of sounds."""

    def __init__(self) -> None:
        super().__init__(
            capabilities=stt.STTCapabilities(streaming=True, interim_results=True),
        )

    def stream(
        self, *, language: Any = NOT_GIVEN, conn_options: Any = DEFAULT_API_CONNECT_OPTIONS
    ) -> stt.RecognizeStream:
        return _Hearing(stt=self, conn_options=conn_options)

    async def _recognize_impl(self, buffer: Any, **_: Any) -> stt.SpeechEvent:
        raise NotImplementedError("this recogniser only streams")


class Voice(ScriptedTTS):
    """A voice that can be heard."""

    def audio_of(self, text: str) -> bytes:
        samples = len(super().audio_of(text)) // 2
        wave = 8000 * np.sin(np.arange(samples) * 2 * np.pi * 440 / SAMPLE_RATE)
        return bytes(wave.astype(np.int16).tobytes())


class Polite(Agent):
    """Greets, and needs some time to leave."""

    def __init__(self, exit_seconds: float, job: str, room: str) -> None:
        super().__init__(instructions="Be polite.")
        self._exit_seconds = exit_seconds
        self._job, self._room = job, room

    async def on_enter(self) -> None:
        await self.session.say(HELLO)
        step("greeted", job=self._job, room=self._room)

    async def on_exit(self) -> None:
        step("closing", job=self._job, room=self._room)
        if self._exit_seconds:
            await asyncio.sleep(self._exit_seconds if self._exit_seconds > 0 else 3600)


async def entrypoint(ctx: JobContext) -> None:
    job, room = ctx.job.id, ctx.job.room.name
    step("entered", job=job, room=room)

    async def left(reason: str) -> None:
        step("left", job=job, room=room, reason=reason)

    ctx.add_shutdown_callback(left)
    ctx.room.on("disconnected", lambda *_: step("disconnected", job=job, room=room))
    ctx.room.on("participant_disconnected", lambda *_: step("alone", job=job, room=room))

    def answer(_: str) -> str:
        step("answered", job=job, room=room)
        return "Yes, I am"

    if room.startswith("recorder-"):
        await ctx.connect()
        step("serving", job=job, room=room, identity=ctx.room.local_participant.identity)
        return
    speaks: dict[str, Any] = {"llm": ScriptedLLM(answer), "tts": Voice()}
    session: AgentSession[Any] = AgentSession(
        stt=Hearing(),
        vad=None,  # it is not asked, and costs more than all the rest of a call
        turn_detection="stt",
        **({} if room.startswith("scribe-") else speaks),
    )
    if PER:
        await ctx.connect()  # a session for one participant asks who it is itself
    of = RoomOptions(participant_identity=ctx.job.participant.identity) if PER else RoomOptions()
    polite = Polite(float(ctx.job.metadata or 0), job, room)
    agent = Agent(instructions="Listen.") if room.startswith("scribe-") else polite
    # without a host: its agents send all they do to everybody, twenty in a room to twenty
    await session.start(agent, room=ctx.room, room_options=of, session_host=False)
    step("serving", job=job, room=room, identity=ctx.room.local_participant.identity)


kind = ServerType.PUBLISHER if PER else ServerType.ROOM
server.rtc_session(entrypoint, agent_name=os.environ["RG_AGENT"], type=kind)

if __name__ == "__main__":
    sys.argv = [sys.argv[0], "start"]
    cli.run_app(server)
