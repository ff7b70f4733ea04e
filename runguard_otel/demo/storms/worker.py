"""The ``agent.py`` of the dispatch storm: ``python worker.py start``, as people start theirs."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from livekit.agents import AgentServer, JobContext, cli

from runguard_otel.demo.clips import Cue, Soundtrack
from runguard_otel.demo.machine import patient
from runguard_otel.demo.watch import guards_on
from runguard_otel.demo.wire import Report

BEGAN = "STAGE_BEGAN"
GUARDS = "STAGE_GUARDS"
HANG_UP = "STAGE_HANG_UP"
"""Where the file appears with which the guest hangs up."""
CUES = (Cue(0.4, "guest_reserve", 'guest: "Can I reserve a table for four tonight"'),)
GUEST = ("can i reserve a table for four tonight",)
SECONDS = 6.0
LONGEST_CALL = 30

report = Report(began=float(os.environ.get(BEGAN, "0")))
if os.environ.get(GUARDS) == "on":
    guards_on(report)

# One process stands by for a first job and one for a second; a demonstration has little load, but
# may be on a machine that is slow to start them.
server = AgentServer(
    port=0,
    num_idle_processes=2,
    initialize_process_timeout=60,
    load_threshold=1.0,
    load_fnc=lambda *_: 0.0,
)


@server.rtc_session()
async def entrypoint(ctx: JobContext) -> None:
    """Talk to the guest. This room has no media: the guest is a recording."""
    from runguard_otel.demo.storms.restaurant import Restaurant

    report.note(f"an agent serves {ctx.room.name}")
    agent = Restaurant(report)
    await agent.open()
    await agent.hear(await asyncio.to_thread(Soundtrack, CUES, SECONDS))
    await agent.settle(GUEST)
    for _ in range(int(patient(LONGEST_CALL) * 10)):
        if Path(os.environ[HANG_UP]).exists():  # noqa: ASYNC240  # a look at a folder of ours
            break
        await asyncio.sleep(0.1)
    report.used(agent.used())
    report.served(agent.understood(GUEST), of=len(GUEST))
    await agent.close()
    ctx.shutdown("the guest hung up")


if __name__ == "__main__":
    cli.run_app(server)
