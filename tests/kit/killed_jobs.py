"""Job processes whose threads count until they are killed, and leave word of how far they came."""

from __future__ import annotations

import mmap
import multiprocessing
import os
import random
import threading
import time
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

from opentelemetry.sdk.trace import TracerProvider

from runguard_otel.settings import Settings
from runguard_otel.telemetry.build import build

__all__ = ["Told", "run_jobs"]

AGENT = "support"
THREADS = 3
_COUNTS = 40
"""Of each thread of a job that is not killed."""
_GAP_SECONDS = 0.001
_LATEST_KILL = 0.4
"""Seconds from the start of a process: while it starts, while it counts."""


@dataclass(frozen=True)
class Told:
    """What the threads of all jobs have said; the truth lies between.

    Args:
        returned: Counts after which a thread went on.
        begun: These, and those that a thread was at when it was killed.
    """

    returned: int
    begun: int


def run_jobs(address: str, jobs: int, folder: Path, *, parallel: int = 8, seed: int = 7) -> Told:
    """Run jobs, and kill every third at a random instant.

    Args:
        address: Of the worker's hub.
        jobs: How many.
        folder: Where they leave word: a file each.
        parallel: How many at a time.
        seed: Of the instants.
    """
    rng = random.Random(seed)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    running: list[tuple[BaseProcess, float]] = []
    for number in range(jobs):
        while len(running) >= parallel:
            running = _after_a_moment(running)
        word = folder / str(number)
        word.write_bytes(bytes(2 * THREADS * 8))
        killed = number % 3 == 0
        process: BaseProcess = context.Process(target=_count, args=(address, word, killed))
        process.start()
        due = rng.uniform(0.0, _LATEST_KILL) if killed else float("inf")
        running.append((process, time.monotonic() + due))
    while running:
        running = _after_a_moment(running)
    told = [memoryview(word.read_bytes()).cast("Q").tolist() for word in folder.iterdir()]
    return Told(sum(sum(t[THREADS:]) for t in told), sum(sum(t[:THREADS]) for t in told))


def _after_a_moment(running: list[tuple[BaseProcess, float]]) -> list[tuple[BaseProcess, float]]:
    """Kill whose time has come; those that still run."""
    time.sleep(0.001)
    for process, due in running:
        if time.monotonic() >= due:
            process.kill()
    return [(process, due) for process, due in running if process.is_alive()]


def _count(address: str, word: Path, without_end: bool) -> None:
    """The process. What a file's mapping holds is there after a SIGKILL, as a block's is."""
    with word.open("r+b") as file:
        words = memoryview(mmap.mmap(file.fileno(), 0)).cast("Q")
    tracer = TracerProvider().get_tracer("killed")
    telemetry = build(Settings.load(), agent_name=lambda: AGENT)
    telemetry.use_hub(address)
    telemetry.job_started()
    telemetry.recorder.guard_opened("room_reconnect")

    def work(thread: int) -> None:
        number = 0
        with tracer.start_as_current_span("turn"):
            while without_end or number < _COUNTS:
                number += 1
                words[thread] = number
                telemetry.recorder.add(
                    "runguard.signatures", 1, signature="room_reconnect", outcome="allowed"
                )
                words[THREADS + thread] = number
                time.sleep(_GAP_SECONDS)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    telemetry.job_ended("", "clean")
    telemetry.flush(2.0)
    os._exit(0)
