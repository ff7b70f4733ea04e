"""The worker's part of dispatch: refuse a duplicate before a process is spent on it.

It answers at once. Without proof that the holder lives it accepts, and the job process, which has
the time to probe, decides. The worker renews its claim until the job process has taken it over, and
releases whatever a dead job process left behind before the server hears of the death.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import threading
from collections.abc import Coroutine
from typing import Any

from runguard_otel.adapters.agents_v1.claim_reports import GUARD, ClaimReports, facts_of
from runguard_otel.adapters.agents_v1.job_entry import Entry
from runguard_otel.adapters.agents_v1.rehearsal import in_console
from runguard_otel.adapters.agents_v1.services import Services
from runguard_otel.adapters.safety import shield
from runguard_otel.core.ports import ClaimAnswer, ClaimHandle

__all__ = ["WorkerSide"]

RELEASE_SECONDS = 1.0
"""How long the server may wait for the report of a job's end while its claim is given back."""


class WorkerSide:
    """State of one worker process.

    Args:
        services: Shared by all patches.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self._held: dict[str, ClaimHandle] = {}
        self._accepting: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def accept(self, wrapped: Any, request: Any, args: Any, kwargs: Any) -> Any:
        """``JobRequest.accept``: claim first; a proven duplicate is rejected for good.

        Only in enforce: observe must not delay an answer, and the job process reports the same.
        """
        recorder, job_id = self._services.recorder, str(request.id)
        answer: ClaimAnswer | None = None
        with shield(recorder, "JobRequest.accept"):
            answer = await self._claim(request.job)
        if answer is not None and answer.handle is None:
            return await self._refuse(request, answer)
        if answer is not None and answer.handle is not None:
            self._held[job_id] = answer.handle
        self._accepting.add(job_id)
        try:
            return await wrapped(*args, **kwargs)
        except BaseException:  # assignment timed out, no process, cancelled: nobody will serve
            self._later(self._let_go(job_id))
            raise
        finally:
            self._accepting.discard(job_id)

    def build_pool(self, wrapped: Any, pool: Any, args: Any, kwargs: Any) -> Any:
        """``ProcPool.__init__``: instrument the job processes."""
        with shield(self._services.recorder, "ProcPool.__init__"):
            entrypoint, bring_up = kwargs.get("job_entrypoint_fnc"), self._services.bring_up
            if entrypoint is not None and bring_up is not None:
                entry = Entry(entrypoint, bring_up, self._payload)
                kwargs = {**kwargs, "job_entrypoint_fnc": entry}
        result = wrapped(*args, **kwargs)
        claims = self._services.claims
        with shield(self._services.recorder, "ProcPool.__init__"):
            if claims is not None and self._services.enforcing(GUARD) and not in_console():
                # in a thread: the worker's loop runs, and the first job request would wait for it
                threading.Thread(target=claims.load, name="runguard-load", daemon=True).start()
        return result

    async def report(self, wrapped: Any, server: Any, args: Any, kwargs: Any) -> Any:
        """``AgentServer._update_job_status``: what a job that ended left behind is released first.

        It is called once for every process that closes, in whatever way. The server starts a failed
        job anew as soon as it hears of it (``JRP_ON_FAILURE``, its default), and whoever is asked
        would refuse for good while the dead one's lease is fresh.
        """
        released: asyncio.Task[None] | None = None
        with shield(self._services.recorder, "AgentServer._update_job_status"):
            process = args[0]
            info, claims = process.running_job, self._services.claims
            if claims is not None and info is not None and process.status.name != "RUNNING":
                released = self._later(self._clear(server._proc_pool, process, info))
        if released is not None:
            await asyncio.wait({released}, timeout=RELEASE_SECONDS)
        return await wrapped(*args, **kwargs)

    def watch(self, wrapped: Any, server: Any, args: Any, kwargs: Any) -> Any:
        """``WatchServer.__init__``: instrument the worker process it starts, and starts again."""
        with shield(self._services.recorder, "WatchServer.__init__"):
            bring_up, settings = self._services.bring_up, self._services.settings.values()
            if args and bring_up is not None:
                runner = Entry(args[0], bring_up, lambda: {"settings": settings})
                args = (runner, *args[1:])
        return wrapped(*args, **kwargs)

    def _payload(self) -> dict[str, Any]:
        """See ``instrumentor.instrument_process``; made when a process is started."""
        lifecycle = self._services.lifecycle
        return {
            "settings": self._services.settings.values(),
            "worker": self._services.worker,
            "extras": {"hub": lifecycle.hub_address if lifecycle is not None else None},
        }

    async def _claim(self, job: Any) -> ClaimAnswer | None:
        claims, host = self._services.claims, os.environ.get("LIVEKIT_URL", "")
        if claims is None or not host or not self._services.enforcing(GUARD):
            return None
        facts = facts_of(job, host)
        return await claims.claim_for_worker(facts, ClaimReports(self._services, facts, None))

    async def _refuse(self, request: Any, answer: ClaimAnswer) -> Any:
        """Say no so that the server tries nobody else, unless another worker may know better."""
        with shield(self._services.recorder, "JobRequest.reject"):
            self._services.recorder.add("runguard.jobs.ended", 1, job_outcome="refused")
        for_good = answer.cause != "unreachable"
        if "terminate" in inspect.signature(request.reject).parameters:
            return await request.reject(terminate=for_good)
        return await request.reject()  # before 1.4

    async def _clear(self, pool: Any, process: Any, info: Any) -> None:
        """Release what a dead process held, unless the same job already runs somewhere else."""
        job_id = str(info.job.id)
        elsewhere = any(
            other is not process
            and getattr(other, "running_job", None) is not None
            and str(other.running_job.job.id) == job_id
            for other in pool.processes
        )
        if elsewhere or job_id in self._accepting:
            return
        await self._let_go(job_id)
        claims = self._services.claims
        if claims is not None:
            host = os.environ.get("LIVEKIT_URL", "") or str(info.url)
            await claims.abandon(facts_of(info.job, host))

    async def _let_go(self, job_id: str) -> None:
        handle = self._held.pop(job_id, None)
        if handle is not None:
            await handle.release()

    def _later(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        async def shielded() -> None:
            with shield(self._services.recorder, "AgentServer._update_job_status"):
                await work

        task = asyncio.get_running_loop().create_task(shielded(), name="runguard-release")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
