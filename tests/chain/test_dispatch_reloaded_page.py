"""Who leaves and comes back, while the job that served him is not over: he gets an agent."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from livekit import agents

from runguard_otel.testing.dispatcher import Dispatcher
from tests.kit.executors import AGENT, Run, running

pytestmark = [
    pytest.mark.chain,
    pytest.mark.skipif(not hasattr(agents, "AgentServer"), reason="since 1.3"),
]


@contextlib.asynccontextmanager
async def served(folder: Path, executor: str) -> AsyncIterator[tuple[Dispatcher, Run, str]]:
    """A worker with a job whose session is open."""
    command = [sys.executable, str(AGENT), "start"]
    async with (
        Dispatcher() as server,
        running(
            folder,
            *command,
            **server.environment,
            RG_INSTRUMENT="module",
            RG_EXECUTOR=executor,
            RG_DO="reloads",
        ) as run,
    ):
        (worker,) = await server.wait_workers(1)
        assert (await server.dispatch(worker, server.job("room-a"))).available
        await run.step("session")
        yield server, run, worker
        os.killpg(run.process.pid, signal.SIGKILL)  # its jobs stay, and it would wait for them


@pytest.mark.parametrize("executor", ["process", "thread"])
async def test_a_job_without_a_session_keeps_nobody_out(tmp_path: Path, executor: str) -> None:
    """Who was dispatched while the session still ran stands by, and enters when it closes."""
    async with served(tmp_path, executor) as (server, run, worker):
        assert (await server.dispatch(worker, server.job("room-a"))).available
        (tmp_path / "left").touch()
        first, second = await run.step("job"), await run.step("job", 2)
        assert second["token"] > first["token"] > 0
        assert not run.steps("ended"), "the first job goes on, as it would without us"


async def test_a_job_that_starts_another_session_serves_its_room_again(tmp_path: Path) -> None:
    """With the same claim: nobody had asked for it meanwhile."""
    async with served(tmp_path, "process") as (server, run, worker):
        (tmp_path / "left").touch()
        await run.step("closed")
        (tmp_path / "back").touch()
        await run.step("session", 2)
        other = await server.dispatch(worker, server.job("room-a"))
        await server.wait_ended(other.job.id)
        assert len(run.steps("job")) == 1, "it stood by in vain"
        assert not run.steps("ended")


async def test_a_job_whose_room_got_another_one_meanwhile_ends_when_it_starts_a_session(
    tmp_path: Path,
) -> None:
    async with served(tmp_path, "process") as (server, run, worker):
        (tmp_path / "left").touch()
        await run.step("closed")
        (tmp_path / "left").unlink()  # the second one keeps its session
        assert (await server.dispatch(worker, server.job("room-a"))).available
        await run.step("session", 2)
        (tmp_path / "back").touch()
        ended = await run.step("ended")
        assert ended["reason"] in (  # whatever is first: its heartbeat, or its question
            "runguard: claim lost (passed_on)",
            "runguard: another job serves this room",
        )
