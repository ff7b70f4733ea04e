"""Jobs that no server dispatched: ``connect``, ``simulate_job``; and no job: ``download-files``."""

from __future__ import annotations

import asyncio
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiohttp import web
from livekit import agents, api
from livekit.protocol import models

from runguard_otel.testing.dispatcher import Dispatcher
from tests.kit.executors import AGENT, GUARDS, running
from tests.kit.ports import free_port
from tests.kit.scrape import scrape, total

pytestmark = [
    pytest.mark.chain,
    pytest.mark.skipif(not hasattr(agents, "AgentServer"), reason="since 1.3"),
]

SIMULATED = f"""
import asyncio, runpy, sys
from pathlib import Path
sys.path.insert(0, {str(AGENT.parent)!r})
from executor_agent import server

async def main():
    @server.once("worker_started")
    def simulate():
        server.simulating = asyncio.ensure_future(server.simulate_job("room-a", fake_job=True))
    running = asyncio.ensure_future(server.run(devmode=True, unregistered=True))
    while not Path("stop").exists():
        await asyncio.sleep(0.05)
    await server.aclose()
    await running

if __name__ == "__main__":
    asyncio.run(main())
"""


@dataclass
class RoomService(Dispatcher):
    """A server that can also be asked for its rooms, as ``connect`` does."""

    async def _serve_other(self, request: web.Request) -> web.Response:
        if not request.path.endswith("/ListRooms"):
            return await super()._serve_other(request)
        rooms = api.ListRoomsResponse(rooms=[models.Room(name="room-a", sid="RM_a")])
        return web.Response(body=rooms.SerializeToString(), content_type="application/protobuf")


async def test_connect_is_a_real_job_and_the_next_one_need_not_wait_for_its_lease(
    tmp_path: Path,
) -> None:
    """Ctrl+C ends that command at once, without a word to its job: the job gives its claim back."""
    port = free_port()
    (tmp_path / "first").mkdir()
    (tmp_path / "second").mkdir()
    async with RoomService() as server:
        settings = {
            **server.environment,
            "RG_INSTRUMENT": "main",
            "RG_DO": "stay",
            "RUNGUARD_CLAIMS_URL": f"sqlite://{tmp_path}/claims.sqlite3",
            "RUNGUARD_METRICS_PORT": str(port),
        }
        command = [sys.executable, str(AGENT), "connect", "--room", "room-a"]
        async with running(tmp_path / "first", *command, **settings) as run:
            first = await run.step("job")
            assert first["guards"] == GUARDS
            counts = await scrape(port)
            assert total(counts, "runguard_jobs") == 1
            assert total(counts, "runguard_signatures_total", signature="job_claim:acquired") == 1
            # LiveKit ignores Ctrl+C for as long as it starts a process, here the next spare one.
            await run.until(lambda: run.said("process initialized") == 2)
            assert await run.end(signal.SIGINT) == 1  # LiveKit's word for it
        async with running(tmp_path / "second", *command, **settings) as run:
            second = await run.step("job")
            assert second["token"] > first["token"] > 0
            counts = await scrape(port)
            assert total(counts, "runguard_signatures_total", signature="job_claim:acquired") == 1
            assert total(counts, "runguard_signatures_total", signature="job_claim:taken_over") == 0


@pytest.mark.parametrize("executor", ["process", "thread"])
async def test_a_simulated_job_is_counted_by_its_worker_and_claims_nothing(
    tmp_path: Path, executor: str
) -> None:
    port = free_port()
    (tmp_path / "simulated.py").write_text(SIMULATED, encoding="utf-8")
    async with running(
        tmp_path,
        sys.executable,
        "simulated.py",
        RG_INSTRUMENT="module",
        RG_EXECUTOR=executor,
        RG_DO="loop",
        RUNGUARD_METRICS_PORT=str(port),
        LIVEKIT_URL="ws://127.0.0.1:1",
        LIVEKIT_API_KEY="key",
        LIVEKIT_API_SECRET="secret",
    ) as run:
        job = await run.step("job")
        assert (job["guards"], job["token"]) == (GUARDS, 0)
        await run.step("ended")
        while total(counts := await scrape(port), "runguard_jobs_ended_total") < 1:
            await asyncio.sleep(0.1)
        assert total(counts, "runguard_jobs_ended_total") == 1
        assert total(counts, "runguard_signatures_total") == 0  # not even room_reconnect
        assert "ReconnectLoopError" not in (await run.step("looped"))["became"]
        await run.settled()
        (tmp_path / "stop").touch()
        assert await asyncio.wait_for(run.process.wait(), 10) == 0
        assert "Traceback" not in run.log()
        assert not list(run.temporary.glob("runguard-hub-*"))


async def test_download_files_starts_nothing(tmp_path: Path) -> None:
    command = [sys.executable, str(AGENT), "download-files"]
    async with running(tmp_path, *command, RG_INSTRUMENT="module") as run:
        assert await asyncio.wait_for(run.process.wait(), 20) == 0
        assert run.steps("main")[0]["guards"] == GUARDS
        assert not run.said("runguard")
        assert not list(run.temporary.iterdir())
