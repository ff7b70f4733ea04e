"""Plays the storms, each run in a process of its own, and tells the audience what happens."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from runguard_otel.demo.runs import Programme, Run
from runguard_otel.demo.scene import PHASES
from runguard_otel.demo.wire import EVENTS_FILE, Event

__all__ = ["Audience", "perform"]

Audience = Callable[[Run, Event], None]
"""Called with every event, after the run has taken it in."""

RUN_SECONDS: Final = 150
_LOOK_SECONDS: Final = 0.1
_LAST_LINES: Final = 15
_FOREIGN: Final = ("OTEL_", "RUNGUARD_", "LIVEKIT_")
"""The demonstration reports to nobody and obeys no settings but its own."""


async def perform(
    programme: Programme, audience: Audience, *, folder: Path | None = None, keep_going: bool = True
) -> None:
    """Play every run of ``programme``, phase by phase.

    Args:
        programme: What to play; its runs are updated.
        audience: Hears every event.
        folder: Where events and logs are written; by default a temporary folder.
        keep_going: Whether to go on with the next phase after a run has failed.
    """
    with tempfile.TemporaryDirectory(prefix="runguard-demo-") as temporary:
        place = folder or Path(temporary)
        for phase in PHASES:
            runs = [run for run in programme.runs if run.storm.name in phase]
            await asyncio.gather(*(_play(run, audience, place) for run in runs))
            if not keep_going and any(run.error for run in runs):
                return


async def _play(run: Run, audience: Audience, folder: Path) -> None:
    stem = folder / run.name.replace(" ", "-")
    events, log = stem.with_suffix(".jsonl"), stem.with_suffix(".log")
    events.touch()
    run.state = "boots"
    command = ("-m", "runguard_otel.demo.storms", *run.name.split(" "))
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *command,
            env=_environment(events),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # so that it can be ended with all that it started
        )
        try:
            await asyncio.wait_for(_follow(run, process, events, audience), RUN_SECONDS)
        except asyncio.TimeoutError:
            run.error = f"did not end within {RUN_SECONDS} s"
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    if not run.error and not run.finished:
        run.error = f"ended with exit code {process.returncode}"
    if run.error:
        run.state = "failed"
        last = log.read_text("utf-8", "replace").splitlines()[-_LAST_LINES:]
        run.error += "".join(f"\n    {line[:300]}" for line in last)
        audience(run, Event("failed", run.seconds, run.error.partition("\n")[0]))


async def _follow(
    run: Run, process: asyncio.subprocess.Process, path: Path, audience: Audience
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
                    audience(run, run.feed(event))
            if ended:
                return
            await asyncio.sleep(_LOOK_SECONDS)


def _environment(events: Path) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(_FOREIGN)}
    return {**kept, EVENTS_FILE: str(events), "PYTHONUNBUFFERED": "1"}
