"""An agent that says what it finds where it runs: the same file for every way to run an agent.

By environment: ``RG_STEPS`` (a file that gets one JSON line per step), ``RG_INSTRUMENT`` (any of
``module``, ``main``, ``prewarm``, ``entry``, and ``later``: in the worker, when there is a file
``later``), ``RG_DO`` (``loop``: connect a room again and again; ``session``: start one;
``reloads``: start one, close it when there is a file ``left``, and start another when there is a
file ``back``; ``stay``: until the worker ends it), ``RG_EXECUTOR``, ``RG_MP``.
"""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

from livekit import agents, rtc
from livekit.agents import Agent, AgentSession, JobContext, JobExecutorType, WorkerOptions, cli

HOW = os.environ.get("RG_INSTRUMENT", "").split()


def here(place: str) -> None:
    if place in HOW:
        import runguard_otel

        runguard_otel.instrument()


def step(what: str, **more: object) -> None:
    line = json.dumps({"step": what, "pid": os.getpid(), **more}) + "\n"
    with Path(os.environ["RG_STEPS"]).open("a", encoding="utf-8") as file:
        file.write(line)


def state() -> dict[str, object]:
    """What is guarded in this process; asks nothing that would change it."""
    from runguard_otel import instrumentor
    from runguard_otel.claims.current import current_claim

    guard, claim = instrumentor._active, current_claim()
    hooks = [r for r in guard.patches if r.state == "installed"] if guard else []
    return {"guards": sorted({r.guard for r in hooks}), "token": claim.token if claim else 0}


async def connect_again_and_again(ctx: JobContext) -> list[str]:
    """What came of four attempts to join the job's room where nobody answers."""
    became = []
    for _ in range(4):
        try:
            await rtc.Room().connect(ctx._info.url, ctx._info.token)
        except rtc.ConnectError as error:
            became.append(type(error).__name__)
    return became


async def start_session(**options: Any) -> AgentSession[Any]:
    from runguard_otel.testing.models import ScriptedLLM

    session: AgentSession[Any] = AgentSession(llm=ScriptedLLM("Of course."))
    await session.start(Agent(instructions="Be brief."), **options)
    return session


async def there(name: str) -> None:
    while not Path(os.environ["RG_STEPS"]).with_name(name).exists():
        await asyncio.sleep(0.05)


def no_load(*_: Any) -> float:
    """The worker calls it again and again."""
    if "later" in HOW and Path(os.environ["RG_STEPS"]).with_name("later").exists():
        here("later")
        HOW.remove("later")
        step("later")
    return 0.0


def prewarm(_: Any) -> None:
    here("prewarm")
    step("prewarm")


async def entrypoint(ctx: JobContext) -> None:
    here("entry")
    step("job", **state())

    async def ended(reason: str) -> None:
        step("ended", reason=reason)

    ctx.add_shutdown_callback(ended)
    do = os.environ.get("RG_DO", "")
    if do == "session":
        await start_session(room=ctx.room)
        step("session")
        return
    if do == "reloads":
        session = await start_session()
        step("session")
        await there("left")
        await session.aclose()
        step("closed")
        await there("back")
        await start_session()
        step("session")
    if do == "loop":
        step("looped", became=await connect_again_and_again(ctx))
    if do not in ("stay", "reloads"):
        ctx.shutdown("done")


here("module")

options: dict[str, Any] = {}
if "RG_MP" in os.environ:
    options["multiprocessing_context"] = os.environ["RG_MP"]
made = WorkerOptions(
    entrypoint_fnc=entrypoint,
    prewarm_fnc=prewarm,
    port=0,
    num_idle_processes=1,
    initialize_process_timeout=60,  # a busy machine is no finding
    load_threshold=1.0,
    load_fnc=no_load,
    job_executor_type=JobExecutorType(os.environ.get("RG_EXECUTOR", "process")),
    **options,
)
server: Any = made
if hasattr(agents, "AgentServer"):
    server = agents.AgentServer.from_server_options(made)

if __name__ == "__main__":
    here("main")
    step("main", **state())
    cli.run_app(server)
