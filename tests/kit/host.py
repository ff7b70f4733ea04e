"""What differs between the releases of livekit-agents that the tests run on, found by asking."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import time
from collections.abc import Callable
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

import pytest
from livekit import agents
from livekit.agents import JobRequest
from livekit.agents.ipc.job_proc_lazy_main import _JobProc
from livekit.agents.ipc.job_thread_executor import ThreadJobExecutor

AgentServer: Any = getattr(agents, "AgentServer", None)

SERVER: Any = AgentServer or vars(agents)["Worker"]
"""The worker's class; its name until 1.2 was ``Worker``."""

RUNS_WITHOUT_SERVER = (
    AgentServer is not None and "unregistered" in inspect.signature(AgentServer.run).parameters
)
"""Whether a worker can run without a LiveKit server (since 1.3)."""

REJECTS_FOR_GOOD = "terminate" in inspect.signature(JobRequest.reject).parameters
"""Whether a refusal can say that no other worker need be asked (since 1.4)."""

HAS_METRICS = (
    find_spec("livekit.agents.telemetry") is not None
    and find_spec("livekit.agents.telemetry.otel_metrics") is not None
)
"""Whether the host has metrics of its own (since 1.6)."""

ENDS_FAILED_JOBS = "job crashed" in inspect.getsource(_JobProc._run_job_task)
"""Whether a job whose entrypoint raised ends by itself (since 1.4), or stays for ever."""


MAY_HANG_AT_ITS_END = "_shutting_down_fut" in inspect.getsource(ThreadJobExecutor.aclose)
"""Since 1.5 a worker whose jobs are threads waits for a last message that may never come, without
us too: from 1.5 to 1.7 up to every second time, in 1.8 once in fifty on a busy machine."""


def console_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the CLI leaves things behind that was told ``console``."""
    cli: Any = importlib.import_module("livekit.agents.cli")
    if hasattr(cli, "AgentsConsole"):  # since 1.3
        monkeypatch.setattr(cli.AgentsConsole, "_instance", SimpleNamespace(enabled=True))
    else:
        monkeypatch.setattr(cli.cli, "CLI_ARGUMENTS", SimpleNamespace(console=True))


def make_server(executor: agents.JobExecutorType, **options: Any) -> Any:
    """A worker, not running. Where it would register, nothing listens."""
    options = {
        "ws_url": "ws://stage",
        "api_key": "stage",
        "api_secret": "stage-secret-stage-secret-stage-secret",
        "job_executor_type": executor,
        **options,
    }
    if AgentServer is not None:
        return AgentServer(**options)

    async def entrypoint(_: Any) -> None: ...

    return SERVER(agents.WorkerOptions(entrypoint_fnc=entrypoint, **options))


async def until(reached: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait for what another thread or process does."""
    deadline = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < deadline, "did not happen in time"
        await asyncio.sleep(0.01)


async def close_server(server: Any, running: asyncio.Task[Any]) -> None:
    """Stop a worker and await the end of ``run``."""
    closing = asyncio.ensure_future(server.aclose())
    if not MAY_HANG_AT_ITS_END:
        await closing
        await asyncio.wait_for(running, 15)
        return
    await asyncio.wait({closing, running}, timeout=2)
    closing.cancel()
    running.cancel()
    await asyncio.gather(closing, running, return_exceptions=True)
