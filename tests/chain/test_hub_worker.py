"""A real worker, its forked job processes, and one line: ``runguard_otel.instrument()``."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.kit.ports import free_port
from tests.kit.scrape import Samples, scrape, total
from tests.kit.workers import Workers, workers

pytestmark = [pytest.mark.chain]


async def until_ended(port: int, jobs: int) -> Samples:
    deadline = time.monotonic() + 60
    while True:
        samples = await scrape(port)
        if total(samples, "runguard_jobs_ended_total") >= jobs:
            return samples
        assert time.monotonic() < deadline, samples
        await asyncio.sleep(0.2)


async def three_rooms(here: Workers) -> list[dict[str, Any]]:
    for room in ("Room-Anna", "Room-Berta", "Room-Clara"):
        made = await here.dispatcher.dispatch(here.ids[0], here.dispatcher.job(room))
        assert made.available
    return await here.entered(3)


@pytest.mark.parametrize(("instrument", "start"), [("main", "forkserver"), ("module", "spawn")])
async def test_the_worker_counts_for_its_job_processes_and_notices_their_deaths(
    tmp_path: Path, instrument: str, start: str
) -> None:
    port = free_port()
    async with workers(
        tmp_path, 1, instrument=instrument, RG_MP=start, RUNGUARD_METRICS_PORT=str(port)
    ) as here:
        before = await scrape(port)
        assert total(before, "runguard_jobs_ended_total") == 0
        _nothing_is_open_in_idle_processes(here.processes[0].pid)
        entered = await three_rooms(here)
        pids = [step["pid"] for step in entered]
        assert {step["preloaded"] for step in entered} == {start == "forkserver"}
        assert set(pids) <= set(_descendants(here.processes[0].pid))  # so the check above saw them
        running = await scrape(port)
        assert total(running, "runguard_jobs") == 3
        os.kill(pids[0], signal.SIGKILL)
        await until_ended(port, 1)
        here.finish()
        after = await until_ended(port, 3)
        log = here.log()
    assert total(after, "runguard_jobs") == 0
    assert total(after, "runguard_jobs_ended_total", job_outcome="killed") == 1
    assert total(after, "runguard_jobs_ended_total", job_outcome="clean") == 2
    assert total(after, "runguard_signatures_total", signature="job_claim:acquired") >= 3
    assert total(after, "runguard_events_dropped_total") == 0
    assert total(after, "runguard_internal_errors_total") == 0
    assert len(after) <= 200
    records = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    ours = [r["message"] for r in records if r["name"].startswith("runguard_otel")]
    assert ours
    for said in (str(after), *ours):  # LiveKit adds fields of its own to every record of a job
        assert not any(name in said for name in ("Room-Anna", "Room-Berta", "Room-Clara"))


async def test_jobs_that_are_threads_are_counted_in_the_worker_too(tmp_path: Path) -> None:
    port = free_port()
    async with workers(tmp_path, 1, RG_EXECUTOR="thread", RUNGUARD_METRICS_PORT=str(port)) as here:
        await three_rooms(here)
        assert total(await scrape(port), "runguard_jobs") == 3
        here.finish()
        after = await until_ended(port, 3)
    assert total(after, "runguard_jobs") == 0
    assert total(after, "runguard_jobs_ended_total", job_outcome="clean") == 3


def _nothing_is_open_in_idle_processes(worker: int) -> None:
    """They are started, and forked, before any job: nothing may be open that a fork would share."""
    processes = _descendants(worker)
    assert len(processes) >= 3
    for pid in processes:
        assert not [name for name in _threads(pid) if "runguard" in name]
        assert not [line for line in _unix_sockets(pid) if "runguard-hub-" in line]
    assert [line for line in _unix_sockets(worker) if "runguard-hub-" in line]  # the check can fail


def _descendants(pid: int) -> list[int]:
    """Fork server, resource tracker and every process made for jobs."""
    found = [
        int(child)
        for children in Path(f"/proc/{pid}/task").glob("*/children")
        for child in children.read_text().split()
    ]
    return found + [grand for child in found for grand in _descendants(child)]


def _threads(pid: int) -> list[str]:
    return [path.read_text().strip() for path in Path(f"/proc/{pid}/task").glob("*/comm")]


def _unix_sockets(pid: int) -> list[str]:
    inodes = set()
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = os.readlink(fd)
        except OSError:
            continue
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    lines = Path("/proc/net/unix").read_text().splitlines()[1:]
    return [line for line in lines if line.split()[6] in inodes]
