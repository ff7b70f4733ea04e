"""An agent whose one job has every loop there is, and an overrun; then its process is killed.

``RG_STOP`` names the file with whose appearance the process kills itself; ``RG_STEPS`` another that
gets a line when everything has been played.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from livekit import rtc
from livekit.agents import AgentServer, JobContext, cli

import runguard_otel
from runguard_otel.testing.calls import call
from runguard_otel.testing.listening import ScriptedSTT
from runguard_otel.testing.speaking import ScriptedLLM
from runguard_otel.testing.stage import Stage
from runguard_otel.testing.storms import simulate_storm

runguard_otel.instrument()
server = AgentServer(
    port=0,
    num_idle_processes=1,
    initialize_process_timeout=60,  # a busy machine is no finding
    load_threshold=1.0,
    load_fnc=lambda *_: 0.0,
)
ROOM = "Room-Of-Ada"
_kept: set[object] = set()


async def transcribe(stage: Stage) -> rtc.Room:
    """A room whose tracks each get a recogniser stream that is never closed."""
    room, ear = rtc.Room(), ScriptedSTT("AssemblyAI", "universal-streaming")
    room.on("track_subscribed", lambda *_: _kept.add(ear.stream()))
    await room.connect("wss://stage", stage.token(ROOM, "scribe"))
    stage.join(ROOM, "Ada")
    await stage.settle()
    return room


async def insist(stage: Stage) -> None:
    """An application that joins again whenever it is dropped."""

    async def join() -> None:
        room = rtc.Room()
        room.on("disconnected", lambda _: _kept.add(asyncio.ensure_future(join())))
        try:
            await room.connect("wss://stage", stage.token("Other-Room", "agent"))
        except rtc.ConnectError:
            return
        _kept.add(room)

    await join()
    await simulate_storm("reconnect", stage, room="Other-Room")


async def duplicate(ctx: JobContext) -> None:
    await asyncio.sleep(60)


@server.rtc_session()
async def entrypoint(ctx: JobContext) -> None:
    with Stage() as stage:
        await transcribe(stage)
        await simulate_storm("dispatch", stage, room=ROOM, entrypoint=duplicate)
        await simulate_storm("tracks", stage, room=ROOM, identity="Ada")
        await insist(stage)
        model = ScriptedLLM("A table for two at eight.", "api.openai.com", "gpt-4.1-mini")
        ear = ScriptedSTT("Deepgram", "nova-3")
        async with call(model=model, recogniser=ear, voice=True) as phone:
            await phone.hear("a table for two please")
            await simulate_storm("misfire", phone)
            await phone.hear("at eight o clock please")
        await simulate_storm("overrun", stage, room=ROOM, identity="Ada")
        await asyncio.sleep(2)
        Path(os.environ["RG_STEPS"]).write_text('{"step": "played"}\n')
        while not Path(os.environ["RG_STOP"]).exists():
            await asyncio.sleep(0.05)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    sys.argv = [sys.argv[0], "start"]
    cli.run_app(server)
