"""Enforce ends what hangs: real workers, real job processes, ends that never come."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from runguard_otel.testing.dispatcher import Dispatcher
from runguard_otel.testing.ffi import StageServer
from tests.kit.ports import free_port
from tests.kit.scrape import Samples, scrape, total
from tests.kit.workers import Workers, runs

pytestmark = [pytest.mark.chain]

AGENT = Path(__file__).parents[1] / "kit" / "hanging_agent.py"
HANGS = ("callback", "blocked", "aclose")
ROOMS = (*HANGS, "alone")
LIMITS = {**dict.fromkeys(HANGS, 4.0), "alone": 2.0}  # a session takes two seconds to close
PRICE = 0.5
GONE_WITHIN = 10.0
PRICES = f"""
[[price]]
component = "stt"
provider = "scripted"
model = "scripted-stt"
rates = {{ open_seconds = "{PRICE}" }}
source = "this test"
date = 2026-11-28
"""


class Provider:
    """Counts the connections that recognisers have open."""

    def __init__(self) -> None:
        self.open = 0
        self.seconds = 0.0
        """How long they were open, all together."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open, began = self.open + 1, time.monotonic()
        try:
            await reader.read()
        except ConnectionError:  # the process was killed
            pass
        finally:
            self.open, self.seconds = self.open - 1, self.seconds + time.monotonic() - began
            writer.close()


@asynccontextmanager
async def hanging(folder: Path, provider: Provider, **environment: str) -> AsyncIterator[Workers]:
    listening = await asyncio.start_server(provider.serve, "127.0.0.1", 0)
    (folder / "prices.toml").write_text(PRICES, encoding="utf-8")
    async with Dispatcher(StageServer.KEY, StageServer.SECRET) as dispatcher:
        here = Workers(folder, dispatcher=dispatcher, agent=AGENT)
        try:
            await here.start(
                1,
                "module",
                **dispatcher.environment,
                RG_PROVIDER=str(listening.sockets[0].getsockname()[1]),
                RUNGUARD_PRICES=str(folder / "prices.toml"),
                RUNGUARD_SESSION_OVERRUN_CLOSE_SECONDS=f"{LIMITS[HANGS[0]]:g}",
                RUNGUARD_SESSION_OVERRUN_LEFT_SECONDS=f"{LIMITS['alone']:g}",
                **environment,
            )
            here.ids = await dispatcher.wait_workers(1)
            yield here
        finally:
            await here.end()
            listening.close()


async def serve_all(here: Workers) -> dict[str, str]:
    """A call in each room; room by job."""
    jobs = {}
    for room in ROOMS:
        made = await here.dispatcher.dispatch(here.ids[0], here.dispatcher.job(room))
        assert made.available
        jobs[made.job.id] = room
    await here.dispatcher.wait(lambda: len(here.steps("serving")) == len(ROOMS))
    return jobs


def by_room(steps: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {step["room"]: step for step in steps}


async def until(port: int, ended: int, seconds: float) -> Samples:
    deadline = time.monotonic() + seconds
    while total(samples := await scrape(port), "runguard_jobs_ended_total") < ended:
        assert time.monotonic() < deadline, samples
        await asyncio.sleep(0.1)
    return samples


async def test_what_goes_on_is_ended_and_its_process_is_gone(tmp_path: Path) -> None:
    """Fails if the loop is asked, if the worker kills nobody, or if LiveKit's 60 s are awaited."""
    port, provider = free_port(), Provider()
    environment = {
        "RUNGUARD_METRICS_PORT": str(port),
        "RUNGUARD_SESSION_OVERRUN_MODE": "enforce",
    }
    async with hanging(tmp_path, provider, **environment) as here:
        jobs = await serve_all(here)
        pids = {room: step["pid"] for room, step in by_room(here.steps("serving")).items()}
        assert all(map(runs, pids.values()))
        assert (provider.open, len(await here.holders())) == (len(ROOMS), len(ROOMS))

        asked = time.time()
        (tmp_path / "leave").touch()
        for job, room in jobs.items():
            if room in HANGS:
                await here.dispatcher.terminate(here.ids[0], job)
        within = max(LIMITS.values()) + GONE_WITHIN
        await here.dispatcher.wait(lambda: not any(map(runs, pids.values())), within)
        samples = await until(port, len(ROOMS), GONE_WITHIN)

        assert len(here.steps("trip")) == len(ROOMS)  # what hangs in one is one, told once
        trips = by_room(here.steps("trip"))
        assert {room: trip["signature"] for room, trip in trips.items()} == {
            **dict.fromkeys(HANGS, "session_overrun:close_hung"),
            "alone": "session_overrun:agent_alone",
        }
        for room, trip in trips.items():
            assert LIMITS[room] <= trip["at"] - asked <= LIMITS[room] + 1, room
        assert provider.open == 0
        deadline = time.monotonic() + GONE_WITHIN
        while await here.holders():
            assert time.monotonic() < deadline
            await asyncio.sleep(0.1)
    assert total(samples, "runguard_jobs_ended_total", job_outcome="hung") == len(HANGS)
    assert total(samples, "runguard_jobs_ended_total", job_outcome="alone") == 1
    open_now = ("runguard_jobs", "runguard_jobs_alone", "runguard_stt_streams")
    assert [total(samples, name) for name in open_now] == [0, 0, 0]
    priced = total(samples, "runguard_cost_estimated_total", component="stt") / PRICE
    assert abs(priced - provider.seconds) <= len(ROOMS)  # a second each
