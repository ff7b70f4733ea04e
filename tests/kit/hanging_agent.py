"""An agent whose end never comes, run by real workers; its room is on a stage of its own.

The room's name says what hangs: ``callback`` (a shutdown callback that never returns), ``blocked``
(one that blocks the event loop), ``aclose`` (an agent that never exits, so that its session never
closes); or ``alone``: the caller leaves when there is a file ``leave``, and nothing else ends it.
``RG_PROVIDER`` is a port of the test's: each recogniser stream keeps a connection to it.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from livekit.agents import Agent, AgentServer, AgentSession, JobContext, cli, stt

import runguard_otel
from runguard_otel.testing.ffi import StageServer
from runguard_otel.testing.models import ScriptedLLM, ScriptedSTT

guard = runguard_otel.instrument()

server = AgentServer(
    port=0,
    num_idle_processes=4,
    initialize_process_timeout=60,  # a busy machine is no finding
    load_threshold=1.0,
    load_fnc=lambda *_: 0.0,
)


def step(what: str, **more: object) -> None:
    line = json.dumps({"step": what, "pid": os.getpid(), "at": time.time(), **more}) + "\n"
    with Path(os.environ["RG_STEPS"]).open("a", encoding="utf-8") as file:
        file.write(line)


class _Listening(stt.RecognizeStream):
    async def _run(self) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", int(os.environ["RG_PROVIDER"]))
        try:
            async for _ in self._input_ch:
                pass
        finally:
            writer.close()


class Listening(ScriptedSTT):
    """A recogniser that keeps a connection open, and hears nothing."""

    def stream(self, *, conn_options: Any = None, **_: Any) -> stt.RecognizeStream:
        return _Listening(stt=self, conn_options=conn_options)


class Host(Agent):
    """Leaves when it is let."""

    def __init__(self, stays: bool) -> None:
        super().__init__(instructions="Be brief.")
        self._stays = stays

    async def on_exit(self) -> None:
        if self._stays:
            await asyncio.sleep(3600)


@server.rtc_session()
async def entrypoint(ctx: JobContext) -> None:
    room = ctx.job.room.name
    guard.on_trip(lambda trip: step("trip", room=room, signature=trip.signature))
    stage = StageServer()
    stage.__enter__()  # for as long as the process lives

    async def never(_: str) -> None:
        step("asked", room=room)
        if room == "callback":
            await asyncio.sleep(3600)
        elif room == "blocked":
            time.sleep(3600)

    ctx.add_shutdown_callback(never)
    session: AgentSession[Any] = AgentSession(stt=Listening(), llm=ScriptedLLM("Of course."))
    await ctx.connect()
    await session.start(Host(room == "aclose"))  # without the room: the stage takes no tracks
    stage.join(room, "caller")
    step("serving", room=room)
    while room == "alone" and not Path(os.environ["RG_STEPS"]).with_name("leave").exists():
        await asyncio.sleep(0.05)
    if room == "alone":
        stage.leave(room, "caller")


if __name__ == "__main__":
    sys.argv = [sys.argv[0], "start"]
    cli.run_app(server)
