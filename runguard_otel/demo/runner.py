"""Plays the storms, each run in a process of its own, and says what happens."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sys
import tempfile
from collections.abc import Callable, Coroutine, Iterable
from pathlib import Path
from typing import Any, Final

from runguard_otel.demo.machine import PATIENCE, Machine
from runguard_otel.demo.runs import Plan, Run
from runguard_otel.demo.scene import PHASES
from runguard_otel.demo.wire import EVENTS_FILE, Event

__all__ = ["Listener", "run_plan"]

Listener = Callable[[Run, Event], None]
"""Called with every event, after the run has taken it in."""

RUN_SECONDS: Final = 150
_LOOK_SECONDS: Final = 0.1
_GONE_LOOKS: Final = 100
_GONE_SECONDS: Final = 0.01
_EXCEPTION: Final = re.compile(r"[A-Za-z_][\w.]*(Error|Exception|Exit|Interrupt|Down)\b")
_FOREIGN: Final = ("OTEL_", "RUNGUARD_", "LIVEKIT_")
"""The demonstration exports nothing and reads no settings of the user's."""


async def run_plan(
    plan: Plan,
    listener: Listener,
    *,
    logs: Path | None = None,
    keep_going: bool = True,
    machine: Machine | None = None,
) -> None:
    """Play every run of ``plan``, phase by phase.

    Args:
        plan: What to play; its runs are updated.
        listener: Called with every event.
        logs: Where the logs of failed runs are kept; by default nowhere.
        keep_going: Whether to go on with the next phase after a run has failed.
        machine: What was measured; by default it is as fast as usual.
    """
    machine = machine or Machine()
    turn = asyncio.Semaphore(machine.side_by_side)

    async def play(run: Run, folder: Path) -> None:
        async with turn:
            await _play_run(run, listener, folder, logs, machine.patience)

    # All that the storms' processes leave in their temporary folder goes with this one, also when
    # they were killed.
    with tempfile.TemporaryDirectory(prefix="runguard-demo-", ignore_cleanup_errors=True) as folder:
        for phase in PHASES:
            runs = [run for run in plan.runs if run.storm.name in phase]
            await _side_by_side(play(run, Path(folder)) for run in runs)
            if not keep_going and any(run.error for run in runs):
                return


async def _side_by_side(work: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Do them all; who cancels it gets it back when each of them has ended what it began.

    ``asyncio.gather`` returns with the first that is cancelled: the folder was removed, and the
    loop closed, while another run was still waiting for its killed process.
    """
    tasks = [asyncio.ensure_future(one) for one in work]
    if not tasks:
        return
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    for task in done:
        task.result()


async def _play_run(
    run: Run, listener: Listener, folder: Path, logs: Path | None, patience: float
) -> None:
    stem = folder / run.name.replace(" ", "-")
    events, log = stem.with_suffix(".jsonl"), stem.with_suffix(".log")
    limit = RUN_SECONDS * patience
    events.touch()
    run.state = "boots"
    command = ("-m", "runguard_otel.demo.storms", *run.name.split(" "))
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *command,
            env=_environment(events, patience),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # so that it can be ended with all that it started
        )
        try:
            await asyncio.wait_for(_follow(run, process, events, listener), limit)
        except asyncio.TimeoutError:
            run.error = f"did not end within {limit:.0f} s"
        finally:
            await _end(process)
    if not run.error and not run.finished:
        run.error = f"ended with exit code {process.returncode}"
    if run.error:
        run.state = "failed"
        said = log.read_text("utf-8", "replace")
        run.error += _last_words(said)
        if logs is not None:
            run.log = logs / f"demo-{stem.name}.log"
            run.log.write_text(said, "utf-8")
        listener(run, Event("failed", run.seconds, run.error))


async def _end(process: asyncio.subprocess.Process) -> None:
    """Kill a run with all that it started, and wait until it is gone.

    Else one that is dying leaves a file in the folder that is being removed. A zombie that nobody
    collects (a container without an init) is waited for no longer than that.
    """
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()
    for _ in range(_GONE_LOOKS):
        try:
            os.killpg(process.pid, 0)
        except (ProcessLookupError, PermissionError):  # macOS says the latter of zombies
            return
        await asyncio.sleep(_GONE_SECONDS)


def _last_words(log: str) -> str:
    """The line of a log that says why it ended: no traceback, that is for who reads the log."""
    lines = [line for line in log.splitlines() if line.strip() and not line.startswith((" ", "\t"))]
    errors = [line for line in lines if _EXCEPTION.match(line)]
    last = (errors or lines or [""])[-1]
    return f": {last[:300]}" if last else ""


async def _follow(
    run: Run, process: asyncio.subprocess.Process, path: Path, listener: Listener
) -> None:
    """Hand on what the run's processes append, until the run's own process has ended."""
    with path.open("rb") as file:
        rest = b""
        while True:
            ended = process.returncode is not None
            *lines, rest = (rest + file.read()).split(b"\n")
            for line in lines:
                event = Event.parse(line)
                if event is not None:
                    listener(run, run.feed(event))
            if ended:
                return
            await asyncio.sleep(_LOOK_SECONDS)


def _environment(events: Path, patience: float) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(_FOREIGN)}
    own = {EVENTS_FILE: str(events), PATIENCE: f"{patience:g}", "TMPDIR": str(events.parent)}
    return {**kept, **own, "PYTHONUNBUFFERED": "1"}
