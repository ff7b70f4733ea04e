"""A worker that is reloaded in dev mode keeps its rooms; the claims are in a real Redis.

The real path: ``python -m livekit.agents start --dev --cli-addr``, as ``lk agent dev`` starts a
worker, with this test in the part of that tool. Over its dev channel it asks the old worker for the
running jobs, and gives them to the new worker, which passes them to ``AgentServer._reload_jobs``.
The tool interrupts the old worker's process group, kills what is left of it, and only then starts
the new worker. Killed is the harder half: the claim is then still held when the new worker starts.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import struct
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from livekit.protocol import agent
from livekit.protocol.agent_pb import agent_dev

from runguard_otel.claims.registries.redis.registry import RedisRegistry
from runguard_otel.testing.dispatcher import Dispatcher
from tests.kit.process import Server
from tests.kit.workers import AGENT, REPOSITORY, Workers

pytestmark = [pytest.mark.chain]


@dataclass
class Reloader:
    """The dev channel of ``lk agent dev``: length-prefixed messages, one connection a worker.

    Args:
        saved: The jobs that the next worker is given.
        channels: The workers' connections, oldest first.
    """

    saved: agent_dev.GetRunningAgentJobsResponse = field(
        default_factory=agent_dev.GetRunningAgentJobsResponse
    )
    channels: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = field(default_factory=list)

    async def welcome(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A worker may say who it is, asks for jobs to restore, and gets the saved ones."""
        while not (await _receive(reader)).HasField("get_running_jobs_request"):
            pass
        await _send(writer, agent_dev.AgentDevMessage(get_running_jobs_response=self.saved))
        self.channels.append((reader, writer))

    async def capture(self) -> list[agent.Job]:
        """Ask the newest worker which jobs it runs, and save them for the next."""
        reader, writer = self.channels[-1]
        request = agent_dev.GetRunningAgentJobsRequest()
        await _send(writer, agent_dev.AgentDevMessage(get_running_jobs_request=request))
        self.saved = (await _receive(reader)).get_running_jobs_response
        return [agent.Job.FromString(info.job) for info in self.saved.jobs]


async def _send(writer: asyncio.StreamWriter, message: agent_dev.AgentDevMessage) -> None:
    data = message.SerializeToString()
    writer.write(struct.pack("!I", len(data)) + data)
    await writer.drain()


async def _receive(reader: asyncio.StreamReader) -> agent_dev.AgentDevMessage:
    (length,) = struct.unpack("!I", await reader.readexactly(4))
    return agent_dev.AgentDevMessage.FromString(await reader.readexactly(length))


@dataclass
class DevWorkers(Workers):
    """Workers that are started one after the other, each told where the dev channel is.

    Args:
        address: Where the dev channel listens, ``host:port``.
        claims: The registry's URL.
    """

    address: str = ""
    claims: str = ""

    async def add(self) -> asyncio.subprocess.Process:
        """Start one more."""
        inherited = {
            k: v for k, v in os.environ.items() if not k.startswith(("RUNGUARD_", "OTEL_"))
        }
        environment = {
            **inherited,
            **self.dispatcher.environment,
            "PYTHONPATH": str(REPOSITORY),
            "RUNGUARD_CLAIMS_URL": self.claims,
            "RG_STEPS": str(self.folder / "steps"),
            "RG_STOP": str(self.folder / "stop"),
            "RG_INSTRUMENT": "module",
        }
        command = [sys.executable, "-m", "livekit.agents", "start", str(AGENT)]
        command += ["--dev", "--cli-addr", self.address]
        with (self.folder / f"worker-{len(self.processes)}.log").open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                *command,
                cwd=REPOSITORY,
                env=environment,
                stdout=log,
                stderr=log,
                start_new_session=True,  # a process group of its own, with its jobs
            )
        self.processes.append(process)
        return process

    async def held(self) -> list[tuple[str, int]]:
        """Job and token of every record that is held now."""
        registry = RedisRegistry(self.claims)
        try:
            return [(r.job_id, r.token) for r in await registry.inspect() if r.state == "held"]
        finally:
            await registry.aclose()


@contextlib.asynccontextmanager
async def dev_mode(folder: Path, redis: Server) -> AsyncIterator[tuple[DevWorkers, Reloader]]:
    reloader = Reloader()
    listening = await asyncio.start_server(reloader.welcome, "127.0.0.1", 0)
    host, port = listening.sockets[0].getsockname()
    async with Dispatcher() as dispatcher:
        here = DevWorkers(
            folder,
            dispatcher=dispatcher,
            address=f"{host}:{port}",
            claims=f"redis://127.0.0.1:{redis.port}",
        )
        try:
            yield here, reloader
        finally:
            await here.end()
            listening.close()
            for _, writer in reloader.channels:
                writer.close()


async def test_a_reload_keeps_the_room(tmp_path: Path, redis_server: Server) -> None:
    async with dev_mode(tmp_path, redis_server) as (here, reloader):
        server, old = here.dispatcher, await here.add()
        (one,) = await server.wait_workers(1)
        first = await server.dispatch(one, server.job("reloaded"))
        (entered,) = await here.entered(1)
        assert [job.id for job in await reloader.capture()] == [first.job.id]

        os.killpg(old.pid, signal.SIGKILL)
        await asyncio.wait_for(old.wait(), 30)
        assert (first.job.id, entered["token"]) in await here.held()  # nobody gave it back
        await here.add()

        reloaded = (await here.entered(2))[1]
        assert reloaded["job"] == first.job.id
        assert reloaded["pid"] != entered["pid"]
        assert reloaded["token"] > entered["token"]
        assert (first.job.id, reloaded["token"]) in await here.held()

        (two,) = await server.wait(lambda: [w for w in server.workers if w != one])
        assert await here.stood_by_in_vain(await server.dispatch(two, server.job("reloaded")))
        assert [step["job"] for step in here.steps()] == [first.job.id, first.job.id]
        assert not here.steps("left")


async def test_a_reloaded_job_takes_over_from_one_that_still_runs(
    tmp_path: Path, redis_server: Server
) -> None:
    """Worse than the tool does it: the old worker ends only after the new one has its job."""
    async with dev_mode(tmp_path, redis_server) as (here, reloader):
        server, old = here.dispatcher, await here.add()
        (one,) = await server.wait_workers(1)
        first = await server.dispatch(one, server.job("overlapping"))
        (entered,) = await here.entered(1)
        assert (entered["job"], entered["token"] > 0) == (first.job.id, True)
        assert [job.id for job in await reloader.capture()] == [first.job.id]

        await here.add()
        reloaded = (await here.entered(2))[1]
        assert reloaded["job"] == first.job.id
        assert reloaded["pid"] != entered["pid"]
        assert reloaded["token"] > entered["token"]  # a hand-off, so the older one is fenced off:
        (left,) = await server.wait(lambda: here.steps("left"))
        assert (left["pid"], left["reason"]) == (
            entered["pid"],
            "runguard: claim lost (handed_off)",
        )

        old.send_signal(signal.SIGTERM)
        await asyncio.wait_for(old.wait(), 30)
        (two,) = await server.wait(lambda: [w for w in server.workers if w != one])

        # The old worker and its job process took nothing of the reloaded job along.
        assert await here.stood_by_in_vain(await server.dispatch(two, server.job("overlapping")))
        assert [step["job"] for step in here.steps()] == [first.job.id, first.job.id]
        assert len(here.steps("left")) == 1

        # And when the reloaded job ends, the room is free.
        here.finish()
        await server.wait(lambda: len(here.steps("left")) == 2)
        (tmp_path / "stop").unlink()
        heir = await server.dispatch(two, server.job("overlapping"))
        assert heir.available
        taken = (await here.entered(3))[2]
        assert (taken["job"], taken["token"] > reloaded["token"]) == (heir.job.id, True)
