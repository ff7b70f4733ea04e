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
from typing import Any

from runguard_otel.adapters.livekit.facts import job as host
from runguard_otel.adapters.livekit.process.messages import (
    NOT_IN_THE_WORKER,
    say_started,
    say_too_late,
)
from runguard_otel.adapters.livekit.services import Services
from runguard_otel.adapters.safety import shield
from runguard_otel.core.ports import Lifecycle, Recorder

__all__ = ["FLUSH_SECONDS", "Lifetime", "flush"]

FLUSH_SECONDS = 2.0
STOP_SECONDS = 5.0
PRELOAD = "runguard_otel.preload"


class Lifetime:
    """Tells telemetry when a worker and its jobs begin and end.

    Args:
        services: Without a ``lifecycle`` nothing is told.
    """

    def __init__(self, services: Services) -> None:
        self._services = services

    async def run_worker(self, wrapped: Any, server: Any, args: Any, kwargs: Any) -> Any:
        """``AgentServer.run``: telemetry is open while it runs."""
        services, lifecycle = self._services, self._services.lifecycle
        if lifecycle is None:
            return await wrapped(*args, **kwargs)
        with shield(services.recorder, "AgentServer.run"):
            services.under_worker, console = True, host.in_console()
            if not console:
                # Without a wait: a task that LiveKit started before `run` hands a reloaded worker
                # its jobs, and takes for granted that `run` has come to its own first wait.
                lifecycle.start_worker(
                    host.server_agent_name(server),
                    listen=host.uses_processes(server),
                    expected=not host.in_development(server, kwargs),
                )
                host.preload(server, PRELOAD)
            say_started(services, console=console)
        try:
            return await wrapped(*args, **kwargs)
        finally:
            with shield(services.recorder, "AgentServer.run"):
                stop = functools.partial(lifecycle.stop_worker, FLUSH_SECONDS)
                await _in_thread(services.recorder, stop, STOP_SECONDS)

    def worker_drains(self, *_: Any, **__: Any) -> None:
        """``AgentServer.drain``: its jobs finish, for half an hour perhaps, then it ends."""
        if self._services.lifecycle is not None:
            self._services.lifecycle.worker_ending()

    async def run_job(self, wrapped: Any, job_proc: Any, args: Any, kwargs: Any) -> Any:
        """``_JobProc._run_job_task``: one job, from its first line to its last span."""
        services, lifecycle = self._services, self._services.lifecycle
        if lifecycle is None:
            return await wrapped(*args, **kwargs)
        with shield(services.recorder, "_JobProc._run_job_task"):
            say_too_late(services, NOT_IN_THE_WORKER)
            host.export_spans_to(lifecycle.host_span_provider())
            lifecycle.job_started(host.job_id(job_proc))
        returned = False
        try:
            result = await wrapped(*args, **kwargs)
            returned = True
            return result
        finally:
            with shield(services.recorder, "_JobProc._run_job_task"):
                services.settle()
                job_id = host.job_id(job_proc)
                ended = services.ends.pop(job_id, "clean")
                crashed = not returned or host.crashed(job_proc)
                lifecycle.job_ended(job_id, "crashed" if crashed else ended)
                await flush(services.recorder, lifecycle)


async def flush(recorder: Recorder, lifecycle: Lifecycle) -> None:
    """Push out what waits, for at most :data:`FLUSH_SECONDS` and off the event loop."""
    await _in_thread(recorder, lambda: lifecycle.flush(FLUSH_SECONDS), FLUSH_SECONDS)


async def _in_thread(recorder: Recorder, call: Callable[[], Any], seconds: float) -> None:
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
        with contextlib.suppress(RuntimeError):  # the waiter is gone and the loop closed
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
