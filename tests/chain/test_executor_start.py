"""``start`` and ``python -m livekit.agents start``, under every executor and start method."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from runguard_otel.testing.dispatcher import Dispatcher
from tests.kit.executors import AGENT, GUARDS, Run, running
from tests.kit.ports import free_port
from tests.kit.scrape import scrape, total

pytestmark = [pytest.mark.chain]

LOOP = ["ConnectError", "ConnectError", "ConnectError", "ReconnectLoopError"]
SCRIPT = [sys.executable, str(AGENT), "start"]
MODULE = [sys.executable, "-m", "livekit.agents", "start", str(AGENT)]
TOO_LATE = "Call instrument() at the top of the agent's module"


async def serve_one_room(run: Run, server: Dispatcher) -> None:
    (worker,) = await server.wait_workers(1)
    assert (await server.dispatch(worker, server.job("room-a"))).available
    await run.step("ended")


@pytest.mark.parametrize(
    ("command", "instrument", "environment"),
    [
        (SCRIPT, "module entry", {"RG_MP": "forkserver"}),
        (SCRIPT, "main entry", {"RG_MP": "spawn"}),
        (SCRIPT, "main entry", {"RG_EXECUTOR": "thread"}),
        (MODULE, "module entry", {"RG_MP": "spawn"}),
    ],
    ids=["forkserver", "spawn-main", "thread-main", "python -m"],
)
async def test_worker_and_jobs_are_guarded_and_everything_counts_once(
    tmp_path: Path, command: list[str], instrument: str, environment: dict[str, str]
) -> None:
    """Although ``instrument()`` is called at the top and once more in the entrypoint."""
    port = free_port()
    async with (
        Dispatcher() as server,
        running(
            tmp_path,
            *command,
            **server.environment,
            **environment,
            RG_INSTRUMENT=instrument,
            RG_DO="loop",
            RUNGUARD_METRICS_PORT=str(port),
        ) as run,
    ):
        await serve_one_room(run, server)
        job, looped = await run.step("job"), await run.step("looped")
        assert job["guards"] == GUARDS
        assert job["token"] > 0
        assert looped["became"] == LOOP
        while total(counts := await scrape(port), "runguard_jobs_ended_total") < 1:
            await asyncio.sleep(0.1)
        assert total(counts, "runguard_jobs_ended_total") == 1
        assert total(counts, "runguard_signatures_total", signature="room_reconnect") == 3
        assert total(counts, "runguard_trips_total") == 1
        await run.ends_cleanly()
        modes = "all guards enforce, except session_overrun (observe)"
        on = f"runguard is on: {modes}; claims in sqlite (this host); metrics at http://"
        assert run.said("runguard is on") == run.said(f"{on}127.0.0.1:{port}/metrics") == 1
        assert not run.said(TOO_LATE)


async def test_under_main_python_m_never_calls_instrument(tmp_path: Path) -> None:
    """LiveKit imports the file there; ``doctor FILE`` says it, since none of our code runs."""
    async with (
        Dispatcher() as server,
        running(tmp_path, *MODULE, **server.environment, RG_INSTRUMENT="main") as run,
    ):
        await serve_one_room(run, server)
        assert (await run.step("job"))["guards"] == []
        assert not run.steps("main")
        await run.ends_cleanly()


@pytest.mark.parametrize(
    ("instrument", "why"),
    [
        ("entry", "instrument() was called inside a running job"),
        ("prewarm", "this job's worker is not instrumented"),
    ],
    ids=["in the entrypoint", "in prewarm"],
)
async def test_too_late_is_said_once_and_what_was_counted_still_leaves(
    tmp_path: Path, instrument: str, why: str
) -> None:
    async with (
        Dispatcher() as server,
        running(
            tmp_path,
            *SCRIPT,
            **server.environment,
            RG_INSTRUMENT=instrument,
            RG_DO="loop",
            OTEL_METRICS_EXPORTER="console",
            OTEL_METRIC_EXPORT_INTERVAL="3600000",
        ) as run,
    ):
        await serve_one_room(run, server)
        job = await run.step("job")
        assert (job["guards"], job["token"]) == (GUARDS, 0)
        assert (await run.step("looped"))["became"] == LOOP
        await run.until(lambda: run.said('"name": "runguard.trips"'))
        await run.ends_cleanly()
        assert run.said(why) == run.said(TOO_LATE) == 1
        assert not run.said("runguard is on")


async def test_a_worker_that_runs_already_is_not_reached(tmp_path: Path) -> None:
    """Neither the process that is there nor a later one: LiveKit took before what they run."""
    async with (
        Dispatcher() as server,
        running(tmp_path, *SCRIPT, **server.environment, RG_INSTRUMENT="later") as run,
    ):
        (worker,) = await server.wait_workers(1)
        await run.step("prewarm")  # the process of the first job
        (run.folder / "later").touch()
        await run.step("later")
        for served, room in enumerate(("room-a", "room-b"), 1):
            assert (await server.dispatch(worker, server.job(room))).available
            await run.step("ended", served)
            await run.step("prewarm", served + 1)  # the process of the next
        assert [job["guards"] for job in run.steps("job")] == [[], []]
        await run.ends_cleanly()
