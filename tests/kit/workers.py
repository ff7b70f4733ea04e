"""Real worker processes for the dispatch tests: started, read, and ended by their pids."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runguard_otel.claims.registries.sqlite import SqliteRegistry
from runguard_otel.testing.dispatcher import Dispatch, Dispatcher

AGENT = Path(__file__).with_name("dispatch_agent.py")
REPOSITORY = Path(__file__).parents[2]


@dataclass
class Crew:
    """Some workers of the same agent, and what their jobs did.

    Args:
        folder: Where steps, logs and the claims file are.
        processes: The workers.
        agent: Their module; ``dispatch_agent.py`` if not given.
    """

    folder: Path
    processes: list[asyncio.subprocess.Process] = field(default_factory=list)
    agent: Path | None = None

    def steps(self, what: str = "entered") -> list[dict[str, Any]]:
        """The steps of that name so far."""
        file = self.folder / "steps"
        lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
        return [step for line in lines if (step := json.loads(line))["step"] == what]

    def process_of(self, worker_id: str) -> asyncio.subprocess.Process:
        """The process that registered under that id: workers register in any order."""
        (found,) = (
            process
            for n, process in enumerate(self.processes)
            if worker_id in (self.folder / f"worker-{n}.log").read_text(encoding="utf-8")
        )
        return found

    def worker_of(self, job_pid: int) -> asyncio.subprocess.Process:
        """The worker whose child, or whose forkserver's child, that job process is."""
        pids = {process.pid: process for process in self.processes}
        pid = job_pid
        while pid not in pids:
            stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
            pid = int(stat.rpartition(")")[2].split()[1])  # ppid: see proc(5)
        return pids[pid]

    def registered(self) -> int:
        """How many workers say that they are registered."""
        return self.log().count("registered worker")

    async def holders(self) -> list[str]:
        """The jobs that hold a claim."""
        registry = SqliteRegistry(self.folder / "claims.sqlite3")
        try:
            return [r.job_id for r in await registry.inspect() if r.state == "held"]
        finally:
            await registry.aclose()

    def finish(self) -> None:
        """Let every running job end by itself."""
        (self.folder / "stop").touch()

    def log(self) -> str:
        """What the workers and their jobs wrote to stderr."""
        return "".join(
            file.read_text(encoding="utf-8", errors="replace")
            for file in sorted(self.folder.glob("worker-*.log"))
        )

    async def start(self, count: int, instrument: str, **environment: str) -> None:
        """Start ``count`` workers of ``tests/kit/dispatch_agent.py``."""
        inherited = {
            k: v for k, v in os.environ.items() if not k.startswith(("RUNGUARD_", "OTEL_"))
        }
        given = {
            **inherited,
            "PYTHONPATH": str(REPOSITORY),
            "RUNGUARD_CLAIMS_URL": f"sqlite://{self.folder}/claims.sqlite3",
            "RG_STEPS": str(self.folder / "steps"),
            "RG_STOP": str(self.folder / "stop"),
            "RG_INSTRUMENT": instrument,
            **environment,
        }
        first = len(self.processes)
        for n in range(first, first + count):
            with (self.folder / f"worker-{n}.log").open("wb") as log:
                self.processes.append(
                    await asyncio.create_subprocess_exec(
                        sys.executable, str(self.agent or AGENT), env=given, stdout=log, stderr=log
                    )
                )

    async def end(self) -> None:
        """End jobs and workers; show their log if something went wrong (pytest prints it)."""
        if sys.exc_info()[1] is not None:
            print(self.log())
        self.finish()
        await asyncio.gather(*(_end(process) for process in self.processes))


@dataclass
class Workers(Crew):
    """Workers of a dispatcher in this process.

    Args:
        dispatcher: The server they registered with.
        ids: The workers' ids at the dispatcher.
    """

    dispatcher: Dispatcher = field(default_factory=Dispatcher)
    ids: list[str] = field(default_factory=list)

    async def stood_by_in_vain(self, made: Dispatch) -> bool:
        """Whether a duplicate was taken, waited for the holder's word, and ended without a call."""
        if not made.available:
            return False
        await self.dispatcher.wait_ended(made.job.id)
        return made.job.id not in [step["job"] for step in self.steps()]

    async def entered(self, count: int, timeout: float = 60) -> list[dict[str, Any]]:
        """Wait until that many entrypoints have run."""
        return await self.dispatcher.wait(
            lambda: found if len(found := self.steps()) >= count else None, timeout
        )


@contextlib.asynccontextmanager
async def workers(
    folder: Path, count: int = 2, *, instrument: str = "module", **environment: str
) -> AsyncIterator[Workers]:
    """Start workers of ``tests/kit/dispatch_agent.py`` and wait until they are registered.

    Args:
        folder: A fresh directory.
        count: How many workers.
        instrument: Where the agent calls ``instrument()``: ``module``, ``main`` or ``no``.
        **environment: More variables for them.
    """
    async with Dispatcher() as dispatcher:
        here = Workers(folder, dispatcher=dispatcher)
        try:
            await here.start(count, instrument, **dispatcher.environment, **environment)
            here.ids = await dispatcher.wait_workers(count)
            yield here
        finally:
            await here.end()


@contextlib.asynccontextmanager
async def crew(
    folder: Path, count: int, *, instrument: str, **environment: str
) -> AsyncIterator[Crew]:
    """Start workers that register with the server ``LIVEKIT_URL`` names; see :func:`workers`."""
    here = Crew(folder)
    try:
        await here.start(count, instrument, **environment)
        yield here
    finally:
        await here.end()


def runs(pid: int) -> bool:
    """Whether a process lives; a dead one that nobody has collected does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] not in ("Z", "X")


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.send_signal(signal.SIGTERM)
    try:
        await asyncio.wait_for(process.wait(), 20)
    except asyncio.TimeoutError:
        process.kill()
        await process.wait()
