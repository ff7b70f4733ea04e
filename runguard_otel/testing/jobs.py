"""A job without a worker: a real ``JobContext`` whose room is on a stage."""

from __future__ import annotations

import asyncio
import importlib
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from livekit import rtc
from livekit.protocol import agent

from runguard_otel.testing.ffi import StageServer
from runguard_otel.testing.stage import ROOM

__all__ = ["RunningJob", "job_context", "job_info", "job_on_stage", "job_proc", "running_job"]


def job_context(info: Any, room: rtc.Room | None = None) -> Any:
    """The ``JobContext`` of a job without a process, as the installed release wants it made."""
    host: Any = importlib.import_module("livekit.agents.job")
    if room is None:
        room = rtc.Room()
        room._info.name = info.job.room.name

    def nothing(*_: object) -> None: ...

    wanted = {"executor_type": getattr(host, "JobExecutorType", None)}
    known = inspect.signature(host.JobProcess.__init__).parameters
    process: dict[str, Any] = {"user_arguments": None, "http_proxy": None}
    if wanted["executor_type"] is not None:
        process["executor_type"] = host.JobExecutorType.THREAD
    return host.JobContext(
        proc=host.JobProcess(**{n: v for n, v in process.items() if n in known}),
        info=info,
        room=room,
        on_connect=nothing,
        on_shutdown=nothing,
        inference_executor=None,
    )


def job_info(
    stage: StageServer, room: str, agent_name: str = "", metadata: str = "", job_id: str = "AJ_1"
) -> Any:
    """What a worker tells its job process about an assigned job, as the release wants it."""
    host: Any = importlib.import_module("livekit.agents.job")
    accepted = host.JobAcceptArguments(name="", identity="agent", metadata="")
    job = agent.Job(id=job_id, agent_name=agent_name, metadata=metadata)
    job.room.name, job.room.sid = room, f"RM_{room}"
    known = inspect.signature(host.RunningJobInfo).parameters
    facts = {
        "accept_arguments": accepted,
        "job": job,
        "url": "wss://stage",
        "token": stage.token(room, "agent"),
        "worker_id": "AW_1",
        "fake_job": False,
    }
    return host.RunningJobInfo(**{n: v for n, v in facts.items() if n in known})


@asynccontextmanager
async def job_on_stage(
    stage: StageServer,
    room: str = ROOM,
    agent_name: str = "",
    metadata: str = "",
    job_id: str = "AJ_1",
) -> AsyncIterator[Any]:
    """A job's surroundings, for what you run yourself: its context, room and HTTP session.

    Args:
        stage: Where its room is.
        room: The room it is dispatched to.
        agent_name: Its agent name.
        metadata: What the dispatch says to it.
        job_id: LiveKit's id of it.

    Yields:
        The ``JobContext``; it is the current one. When the block ends, so does the job.
    """
    host: Any = importlib.import_module("livekit.agents.job")
    info = job_info(stage, room, agent_name, metadata, job_id)
    connection = rtc.Room()
    ctx = job_context(info, connection)
    token = host._JobContextVar.set(ctx)
    web: Any = importlib.import_module("livekit.agents.utils.http_context")
    web._new_session_ctx()
    try:
        yield ctx
    finally:
        session = getattr(ctx, "_primary_agent_session", None)
        if session is not None:
            await session.aclose()
        for callback in ctx._shutdown_callbacks:
            await callback("the call is over")
        await connection.disconnect()
        await web._close_http_ctx()
        host._JobContextVar.reset(token)


@dataclass(frozen=True)
class RunningJob:
    """A job that :func:`running_job` runs.

    Args:
        ctx: Its ``JobContext``.
        task: Its entrypoint; done when that has returned, or was never called.
        reached: Whether the entrypoint was called: a duplicate's is not.
    """

    ctx: Any
    task: asyncio.Task[None]
    _entered: asyncio.Event

    @property
    def reached(self) -> bool:
        """Whether the application's entrypoint was called; that of a refused job never is."""
        return self._entered.is_set()


@asynccontextmanager
async def running_job(
    stage: StageServer,
    entrypoint: Callable[[Any], Awaitable[None]],
    room: str = ROOM,
    *,
    agent_name: str = "",
    metadata: str = "",
    job_id: str = "AJ_1",
) -> AsyncIterator[RunningJob]:
    """Run an agent's entrypoint as a job process does, claim and all, in this process.

    Args:
        stage: Where its room is.
        entrypoint: What ``@server.rtc_session()`` stands on, or ``entrypoint_fnc``.
        room: The room it is dispatched to.
        agent_name: Its agent name.
        metadata: What the dispatch says to it.
        job_id: LiveKit's id of it; two jobs at a time need two.

    Yields:
        The running job. When the block ends, so does the job, as LiveKit ends it.
    """
    entered = asyncio.Event()

    async def enter(ctx: Any) -> None:
        entered.set()
        await entrypoint(ctx)

    async with job_on_stage(stage, room, agent_name, metadata, job_id) as ctx:
        task: asyncio.Task[None] = asyncio.ensure_future(_guarded(enter)(ctx))
        try:
            yield RunningJob(ctx, task, entered)
            if task.done() and not task.cancelled():
                task.result()
        finally:
            session = getattr(ctx, "_primary_agent_session", None)
            if session is not None:
                await session.aclose()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def _guarded(entrypoint: Callable[[Any], Awaitable[None]]) -> Any:
    """The entrypoint as LiveKit's runner of jobs holds it, once ``instrument()`` has been there."""
    return job_proc(entrypoint)._job_entrypoint_fnc


def job_proc(entrypoint: Callable[[Any], Awaitable[None]]) -> Any:
    """LiveKit's runner of one job, as the installed release wants it made."""
    host: Any = importlib.import_module("livekit.agents.ipc.job_proc_lazy_main")
    wanted: dict[str, Any] = {
        "session_end_fnc": None,
        "session_end_timeout": 1,
        "executor_type": None,  # not read before a job starts
    }
    known = inspect.signature(host._JobProc.__init__).parameters
    arguments = {name: value for name, value in wanted.items() if name in known}
    return host._JobProc(lambda _: None, entrypoint, **arguments)
