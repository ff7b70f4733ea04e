"""Duplicate jobs: the same room is dispatched twice, and two workers are glad to help.

Real: two workers with their job processes, and the agent in them. Scripted: the dispatcher, which
speaks LiveKit's agent protocol over a websocket. Claims are kept in an SQLite file.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from runguard_otel.demo.machine import patient
from runguard_otel.demo.storms import worker
from runguard_otel.demo.usage import Used
from runguard_otel.demo.wire import Report
from runguard_otel.testing.dispatcher import Dispatch, Dispatcher

__all__ = ["play"]

ROOM: Final = "support-42"
WORKERS: Final = 2
BOOT_SECONDS: Final = 60
JOB_SECONDS: Final = 45
EXIT_SECONDS: Final = 8


async def play(report: Report, guards: bool) -> None:
    """Dispatch one room to each of two workers."""
    with tempfile.TemporaryDirectory(prefix="runguard-demo-") as folder:
        hang_up = Path(folder, "hang-up")
        settings = {
            worker.HANG_UP: str(hang_up),
            worker.GUARDS: "on" if guards else "off",
            worker.BEGAN: str(report.began),
            "RUNGUARD_CLAIMS_URL": f"sqlite:///{folder}/claims.db",
        }
        async with Dispatcher() as dispatcher, _workers({**dispatcher.environment, **settings}):
            workers = await dispatcher.wait_workers(WORKERS, patient(BOOT_SECONDS))
            report.ready()
            report.note(f"{len(workers)} workers registered")
            taken: list[Dispatch] = []
            for n, one in enumerate(workers, 1):
                report.input(f"{ROOM} is dispatched to worker {n} of {len(workers)}")
                made = await dispatcher.dispatch(one, dispatcher.job(ROOM))
                answer = "takes the job" if made.available else "refuses the job"
                report.note(f"worker {n} {answer} ({1000 * made.seconds:.0f} ms)")
                if made.available:
                    taken.append(made)
            if guards:  # the guest talks on until the duplicate has learned that it is one
                for made in taken[1:]:
                    await dispatcher.wait_ended(made.job.id, patient(JOB_SECONDS))
            hang_up.touch()  # noqa: ASYNC240  # of a folder that is ours, in memory or nearly
            for made in taken:
                await dispatcher.wait_ended(made.job.id, patient(JOB_SECONDS))
    report.done(Used(jobs=0))


@contextlib.asynccontextmanager
async def _workers(environment: dict[str, str]) -> AsyncIterator[None]:
    """Two worker processes; ended by their process ids, their job processes by the workers."""
    command = [sys.executable, str(Path(worker.__file__)), "start"]
    started = [
        await asyncio.create_subprocess_exec(*command, env={**os.environ, **environment})
        for _ in range(WORKERS)
    ]
    try:
        yield
    finally:
        for process in started:
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
        for process in started:
            try:
                await asyncio.wait_for(process.wait(), patient(EXIT_SECONDS))
            except asyncio.TimeoutError:
                process.kill()
                await process.wait()
