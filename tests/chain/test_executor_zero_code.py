"""``opentelemetry-instrument python agent.py start``: not a line of ours in the agent."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from runguard_otel.testing.dispatcher import Dispatcher
from tests.kit.executors import AGENT, GUARDS, running
from tests.kit.ports import free_port
from tests.kit.scrape import scrape, total

pytestmark = [pytest.mark.chain]

WRAPPER = Path(sys.executable).with_name("opentelemetry-instrument")


@pytest.mark.parametrize(
    "environment",
    [{"RG_MP": "forkserver"}, {"RG_MP": "spawn"}, {"RG_EXECUTOR": "thread"}],
    ids=["forkserver", "spawn", "thread"],
)
async def test_it_reaches_the_worker_and_its_jobs(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    port = free_port()
    async with (
        Dispatcher() as server,
        running(
            tmp_path,
            str(WRAPPER),
            sys.executable,
            str(AGENT),
            "start",
            **server.environment,
            **environment,
            RG_DO="loop",
            OTEL_TRACES_EXPORTER="none",
            OTEL_LOGS_EXPORTER="none",
            OTEL_METRICS_EXPORTER="prometheus",
            RUNGUARD_METRICS_PORT=str(port),
        ) as run,
    ):
        (worker,) = await server.wait_workers(1)
        assert (await server.dispatch(worker, server.job("room-a"))).available
        job = await run.step("job")
        assert job["guards"] == GUARDS
        assert job["token"] > 0
        assert (await run.step("looped"))["became"][-1] == "ReconnectLoopError"
        while total(counts := await scrape(port), "runguard_jobs_ended_total") < 1:
            await asyncio.sleep(0.1)
        assert total(counts, "runguard_signatures_total", signature="room_reconnect") == 3
        await run.ends_cleanly()
        assert run.said("runguard is on") == 1
