"""What the tests of ``adapters/livekit/facts`` share: which release it is, and a job that runs."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

from livekit import agents
from livekit.agents import utils

from runguard_otel.testing.ffi import StageServer
from runguard_otel.testing.jobs import job_info, job_proc
from runguard_otel.testing.stage import ROOM

__all__ = ["RELEASE", "Client", "running_job_proc", "since"]

RELEASE: Final = tuple(int(part) for part in agents.__version__.split(".")[:2])
"""Major and minor of the installed livekit-agents."""


def since(major: int, minor: int) -> bool:
    """Whether the installed release is that one or newer."""
    return (major, minor) <= RELEASE


class Client:
    """The worker's end of a job process: takes every message."""

    async def send(self, _: object) -> None: ...


@asynccontextmanager
async def running_job_proc(
    stage: StageServer, entrypoint: Callable[[Any], Awaitable[None]]
) -> AsyncIterator[Any]:
    """LiveKit's own runner of a job, in this process, between ``StartJob`` and its end."""
    proto: Any = importlib.import_module("livekit.agents.ipc.proto")
    runner: Any = job_proc(entrypoint)
    runner.initialize(proto.InitializeRequest(), Client())
    channel: Any = utils.aio.Chan()
    running = asyncio.ensure_future(runner.entrypoint(channel))
    start = proto.StartJobRequest()
    start.running_job = job_info(stage, ROOM)
    channel.send_nowait(start)
    while not runner.has_running_job:
        await asyncio.sleep(0)
    try:
        yield runner
    finally:
        channel.send_nowait(proto.ShutdownRequest(reason="the test is over"))
        await asyncio.wait({running}, timeout=5)
        running.cancel()
        channel.close()
