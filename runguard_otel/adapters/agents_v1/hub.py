"""Worker start and job end: when telemetry opens, and when it must be out.

Under forkserver a job process ends with ``os._exit``: ``atexit`` never runs, and LiveKit flushes
only its own exporters. So the end of ``_run_job_task`` is the last moment at which a span of the
call can still leave, and the worker's ``run`` is the only place that knows a worker is one.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from runguard_otel.adapters.agents_v1.announce import (
    NOT_IN_THE_WORKER,
    say_started,
    say_too_late,
)
from runguard_otel.adapters.agents_v1.rehearsal import in_console
from runguard_otel.adapters.agents_v1.services import Services
from runguard_otel.adapters.patching import Patch
from runguard_otel.adapters.safety import shield
from runguard_otel.core.ports import Lifecycle, Recorder

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider

__all__ = ["FLUSH_SECONDS", "in_thread", "patches"]

FLUSH_SECONDS = 2.0
STOP_SECONDS = 5.0


def patches(services: Services) -> list[Patch]:
    """The two patches that give telemetry its life in LiveKit's process model."""
    from livekit.agents import worker
    from livekit.agents.ipc.job_proc_lazy_main import _JobProc

    recorder = services.recorder

    async def run(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
        lifecycle = services.lifecycle
        if lifecycle is None:
            return await wrapped(*args, **kwargs)
        with shield(recorder, "AgentServer.run"):
            services.under_worker, console = True, in_console()
            if not console:
                lifecycle.start_worker(_agent_name(instance), listen=_uses_processes(instance))
            say_started(services, console=console)
        try:
            return await wrapped(*args, **kwargs)
        finally:
            with shield(recorder, "AgentServer.run"):
                stop = functools.partial(lifecycle.stop_worker, FLUSH_SECONDS)
                await in_thread(recorder, stop, STOP_SECONDS)

    async def run_job_task(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
        lifecycle = services.lifecycle
        if lifecycle is None:
            return await wrapped(*args, **kwargs)
        with shield(recorder, "_JobProc._run_job_task"):
            say_too_late(services, NOT_IN_THE_WORKER)
            _export_host_spans(lifecycle)
            lifecycle.job_started()
        returned = False
        try:
            result = await wrapped(*args, **kwargs)
            returned = True
            return result
        finally:
            with shield(recorder, "_JobProc._run_job_task"):
                services.settle()
                outcome = _outcome(instance) if returned else "crashed"
                lifecycle.job_ended(_job_id(instance), outcome)
                await in_thread(recorder, lambda: lifecycle.flush(FLUSH_SECONDS), FLUSH_SECONDS)

    server = getattr(worker, "AgentServer", None) or getattr(worker, "Worker", None)
    table = [
        Patch(
            _JobProc,
            "_run_job_task",
            run_job_task,
            "telemetry",
            "Counts the job and flushes spans at its end, for at most 2 s and off the event loop.",
        )
    ]
    if server is not None:
        why = "Opens the telemetry hub and /metrics when a worker really runs, closes them after."
        table.append(Patch(server, "run", run, "telemetry", why))
    return table


async def in_thread(recorder: Recorder, call: Callable[[], Any], seconds: float) -> None:
    """Run a blocking call in a thread of its own and wait, but not longer than ``seconds``.

    Not the loop's executor: the loop joins that at its end, and a hung collector would hold it. A
    cancellation waits as long: LiveKit cancels every task as soon as a worker has closed, and the
    last counts would be lost with us. (For the same reason we wait for a future, not a task.)
    """
    loop = asyncio.get_running_loop()
    done = loop.create_future()

    def finish() -> None:
        if not done.done():
            done.set_result(None)

    def work() -> None:
        with shield(recorder, "flush"):
            call()
        with contextlib.suppress(RuntimeError):  # nobody waits any more and the loop is closed
            loop.call_soon_threadsafe(finish)

    threading.Thread(target=work, name="runguard-flush", daemon=True).start()
    deadline, cancelled = loop.time() + seconds, False
    while not done.done() and loop.time() < deadline:
        try:
            await asyncio.wait([done], timeout=deadline - loop.time())
        except asyncio.CancelledError:
            cancelled = True
    if cancelled:
        raise asyncio.CancelledError


def _export_host_spans(lifecycle: Lifecycle) -> None:
    provider = lifecycle.host_span_provider()
    if provider is None:
        return
    try:
        from livekit.agents import telemetry
    except ImportError:  # before 1.2 the host has no spans
        return
    telemetry.set_tracer_provider(cast("TracerProvider", provider))


def _uses_processes(server: Any) -> bool:
    options = getattr(server, "_opts", None)  # before 1.3 the options are an object of their own
    executor = getattr(server, "_job_executor_type", None) or getattr(
        options, "job_executor_type", None
    )
    return getattr(executor, "name", "PROCESS") != "THREAD"


def _agent_name(server: Any) -> str:
    options = getattr(server, "_opts", None)
    name = getattr(server, "_agent_name", None) or getattr(options, "agent_name", None)
    return str(name or "")


def _job_id(job_proc: Any) -> str:
    job = getattr(getattr(job_proc, "_job_ctx", None), "job", None)
    return str(getattr(job, "id", "") or "")


def _outcome(job_proc: Any) -> str:
    """LiveKit swallows what the entrypoint raises; it only shows in the reason of the shutdown."""
    future = getattr(job_proc, "_shutdown_fut", None)
    if future is None or not future.done() or future.cancelled() or future.exception():
        return "clean"
    return "crashed" if getattr(future.result(), "reason", "") == "job crashed" else "clean"
