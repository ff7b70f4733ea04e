"""An agent as a user would write it, run by real workers in the dispatch tests.

Everything it can be told comes by environment: ``RG_STEPS`` (a file that gets one JSON line per
step), ``RG_STOP`` (the job ends when that file exists), ``RG_INSTRUMENT`` (``module``, ``main`` or
``no``), ``RG_AGENT``, ``RG_EXECUTOR``, ``RG_MP``, ``RG_CONNECT``.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

from livekit.agents import AgentServer, JobContext, JobExecutorType, cli

import runguard_otel

PRELOADED = "runguard_otel.preload" in sys.modules
HOW = os.environ["RG_INSTRUMENT"]

if HOW == "module":
    runguard_otel.instrument()

server = AgentServer(
    port=0,
    num_idle_processes=2,
    initialize_process_timeout=60,  # a busy machine is no finding
    load_threshold=1.0,
    load_fnc=lambda *_: 0.0,
    job_executor_type=JobExecutorType(os.environ.get("RG_EXECUTOR", "process")),
    multiprocessing_context="spawn" if os.environ.get("RG_MP") == "spawn" else "forkserver",
)


def step(what: str, **more: object) -> None:
    line = json.dumps({"step": what, "pid": os.getpid(), **more}) + "\n"
    with Path(os.environ["RG_STEPS"]).open("a", encoding="utf-8") as file:
        file.write(line)


@server.rtc_session(agent_name=os.environ.get("RG_AGENT", ""))
async def entrypoint(ctx: JobContext) -> None:
    from runguard_otel.claims.current import current_claim

    claim = current_claim()
    step(
        "entered",
        job=ctx.job.id,
        room=ctx.room.name,
        token=claim.token if claim else 0,
        preloaded=PRELOADED,
    )

    async def left(reason: str) -> None:
        step("left", job=ctx.job.id, reason=reason)

    ctx.add_shutdown_callback(left)
    if os.environ.get("RG_CONNECT"):
        await ctx.connect()
        step("connected", job=ctx.job.id)
    stop = Path(os.environ["RG_STOP"])
    while not stop.exists() and not (claim is not None and claim.superseded):
        await asyncio.sleep(0.05)
    ctx.shutdown("done")


if __name__ == "__main__":
    if HOW == "main":
        runguard_otel.instrument()
    sys.argv = [sys.argv[0], "start"]
    cli.run_app(server)
