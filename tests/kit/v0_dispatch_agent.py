"""An agent as a user of 0.12 would write it, run by real workers; see ``dispatch_agent``."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

from livekit import agents
from livekit.agents import JobContext, cli

import runguard_otel

HOW = os.environ["RG_INSTRUMENT"]

if HOW == "module":
    runguard_otel.instrument()


def step(what: str, **more: object) -> None:
    line = json.dumps({"step": what, "pid": os.getpid(), **more}) + "\n"
    with Path(os.environ["RG_STEPS"]).open("a", encoding="utf-8") as file:
        file.write(line)


async def entrypoint(ctx: JobContext) -> None:
    claim = runguard_otel.current_claim()
    step("entered", job=ctx.job.id, room=ctx.room.name, token=claim.token if claim else 0)

    async def left(reason: str) -> None:
        step("left", job=ctx.job.id, reason=reason)

    ctx.add_shutdown_callback(left)
    while not Path(os.environ["RG_STOP"]).exists():
        await asyncio.sleep(0.05)
    ctx.shutdown("done")


def idle(*_: object) -> float:
    return 0.0


if __name__ == "__main__":
    if HOW == "main":
        runguard_otel.instrument()
    options: Any = agents.WorkerOptions
    sys.argv = [sys.argv[0], "start"]
    run: Any = cli.run_app
    run(
        options(
            entrypoint_fnc=entrypoint,
            agent_name=os.environ.get("RG_AGENT", ""),
            load_fnc=idle,
            load_threshold=1.0,
            num_idle_processes=1,
            initialize_process_timeout=60,  # a busy machine is no finding
            port=0,
        )
    )
