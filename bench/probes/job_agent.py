"""An agent as the README has it, run by a real worker; each of its jobs notes what it cost.

By environment: ``BENCH_NOTES`` (a folder that gets a JSON file per job, named by the room),
``BENCH_AGENT`` (its name at the server), ``BENCH_GUARDED`` (whether it calls ``instrument()``).
Without it nothing of ours is imported: no scripted model either.

A job tries to join rooms where nobody answers, which tells us and each of our exporters something,
and starts a session. What its event loop does is timed as asyncio's debug mode times it (every
callback), without the rest of that mode: LiveKit's own monitor sees nothing below 20 ms.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing.util
import os
import re
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

from livekit import rtc
from livekit.agents import Agent, AgentServer, AgentSession, JobContext, cli
from livekit.agents.utils import http_context

BEGAN = time.process_time()

if os.environ.get("BENCH_GUARDED"):
    import runguard_otel

    assert runguard_otel.instrument().active, "nothing is measured where nothing is patched"

SPENT = time.process_time() - BEGAN
CONNECTS = 3  # one more would trip
_SHORT = 0.0002


class Holds:
    """For how many milliseconds which kind of callback has held the loop at most.

    By the wall clock and in CPU: what a busy machine does to a callback is in the former only.
    """

    def __init__(self) -> None:
        self.phase = "start"
        self.found: dict[str, dict[str, dict[str, float]]] = {
            phase: {"wall": {}, "cpu": {}, "together": {"wall": 0.0, "cpu": 0.0}}
            for phase in ("start", "call", "end")
        }

    def watch(self) -> None:
        """Time every callback of every loop of this process from now on."""
        run: Any = asyncio.Handle._run

        def timed(handle: Any) -> None:
            callback = handle._callback  # a handle that is cancelled forgets it
            began, cpu = time.perf_counter(), time.thread_time()
            run(handle)
            self._add(callback, time.perf_counter() - began, time.thread_time() - cpu)

        asyncio.Handle._run = timed  # type: ignore[assignment,method-assign]

    def _add(self, callback: Any, wall: float, cpu: float) -> None:
        found = self.found[self.phase]
        for clock, seconds in (("wall", wall), ("cpu", cpu)):
            found["together"][clock] += seconds * 1e3
            if seconds > _SHORT:
                kind = _kind(callback)
                found[clock][kind] = max(found[clock].get(kind, 0.0), seconds * 1e3)


def _kind(callback: Any) -> str:
    """A task by its name, if somebody gave it one; else what is called."""
    task = getattr(callback, "__self__", None)
    if isinstance(task, asyncio.Task):
        named = re.sub(r"^Task-\d+$", "", task.get_name())
        return named or str(getattr(task.get_coro(), "__qualname__", "task"))
    while isinstance(callback, partial):
        callback = callback.func
    return str(getattr(callback, "__qualname__", type(callback).__name__))


def private_dirty_kib() -> float:
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
        if line.startswith("Private_Dirty:"):
            return float(line.split()[1])
    raise RuntimeError("the kernel does not tell")


HOLDS = Holds()
if __name__ == "__mp_main__":  # as multiprocessing has it in a job's process
    HOLDS.watch()

server = AgentServer(
    port=0,
    num_idle_processes=0,  # else the next job's process starts while this one is measured
    initialize_process_timeout=60,
    load_threshold=1.0,
    load_fnc=lambda *_: 0.0,
    multiprocessing_context="forkserver",
)


async def join(ctx: JobContext) -> None:
    try:
        await rtc.Room().connect(ctx._info.url, ctx._info.token)
    except rtc.ConnectError:
        return
    raise RuntimeError("somebody answered")


@server.rtc_session(agent_name=os.environ["BENCH_AGENT"])
async def entrypoint(ctx: JobContext) -> None:
    notes: dict[str, Any] = {"module": SPENT * 1e3, "entered": time.process_time() * 1e3}
    multiprocessing.util.Finalize(None, write, [ctx.room.name, notes], exitpriority=0)
    # a task each: what is long in LiveKit's part must not hide what is long in another
    for number in range(CONNECTS):
        await asyncio.create_task(join(ctx), name=f"join {number + 1}")
    session: AgentSession[Any] = AgentSession()
    await asyncio.create_task(session.start(Agent(instructions="bench")), name="session.start")
    await asyncio.sleep(0.1)
    HOLDS.phase = "call"
    http_context.http_session()  # as plugins do; else LiveKit makes one at the end, to close it
    notes["kib"] = private_dirty_kib()
    await asyncio.sleep(0)
    HOLDS.phase = "end"
    ctx.shutdown("done")


def write(room: str, notes: dict[str, Any]) -> None:
    """At the very end of the job's process, when its loop is closed."""
    file = Path(os.environ["BENCH_NOTES"], room)
    file.with_suffix(".part").write_text(json.dumps({**notes, **HOLDS.found}))
    file.with_suffix(".part").rename(file.with_suffix(".json"))


if __name__ == "__main__":
    sys.argv = [sys.argv[0], "start"]
    cli.run_app(server)
