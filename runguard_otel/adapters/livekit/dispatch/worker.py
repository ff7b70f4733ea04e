"""The worker's part of dispatch: refuse a duplicate before a process is spent on it.

It refuses only what it knows exactly: that a job of its own serves the conversation right now. In
all other cases it accepts, and the job process stands by. Until that has taken over, the worker
keeps the claim reserved. What a dead job process left behind it gives back before the server hears
of the death.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import threading
from collections.abc import Coroutine
from typing import Any

from runguard_otel.adapters.livekit.dispatch.reports import GUARD, ClaimReports
from runguard_otel.adapters.livekit.dispatch.witness import serves, who_is_there
from runguard_otel.adapters.livekit.facts.job import (
    api_of,
    executor_of,
    in_console,
    is_alive,
    job_facts,
)
from runguard_otel.adapters.livekit.services import Services
from runguard_otel.adapters.safety import shield
from runguard_otel.core.ports import (
    ClaimAnswer,
    ClaimEvent,
    ClaimHandle,
    ClaimHolder,
    ClaimsPort,
    JobFacts,
)

__all__ = ["WorkerSide"]

RELEASE_SECONDS = 1.0
"""How long the server may wait for the report of a job's end while its claim is given back."""
LOOK_AGAIN_SECONDS = 0.25
"""A process that was killed, and a session that was closed, a moment ago still look alive."""


class WorkerSide:
    """State of one worker process.

    Args:
        services: Shared by all patches.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self._server: Any = None
        self._held: dict[str, ClaimHandle] = {}
        self._accepting: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def accept(self, wrapped: Any, request: Any, args: Any, kwargs: Any) -> Any:
        """``JobRequest.accept``: reserve the claim first; a known duplicate is rejected for good.

        Only in enforce: observe must not delay an answer, and the job process reports the same.
        """
        recorder, job_id = self._services.recorder, str(request.id)
        answer: ClaimAnswer | None = None
        with shield(recorder, "JobRequest.accept"):
            answer = await self._ask(request.job)
        if answer is not None and answer.handle is None:
            return await self._refuse(request, answer)
        if answer is not None and answer.handle is not None:
            self._held[job_id] = answer.handle
        self._accepting.add(job_id)
        try:
            return await wrapped(*args, **kwargs)
        except BaseException:  # assignment timed out, no process, cancelled: it will not serve
            self._later(self._let_go(job_id))
            raise
        finally:
            self._accepting.discard(job_id)

    def load(self, *_: Any, **__: Any) -> None:
        """``ProcPool.__init__``: import what the registry needs.

        In a thread: the worker's loop runs, and the first job request would wait for it.
        """
        claims = self._services.claims
        if claims is not None and self._services.enforcing(GUARD) and not in_console():
            threading.Thread(target=claims.load, name="runguard-load", daemon=True).start()

    async def give_back(self, server: Any, process: Any, *_: Any, **__: Any) -> None:
        """``AgentServer._update_job_status``: what a job that ended left behind is released first.

        It is called when a process has got its job, and when it closes, in whatever way. The server
        starts a failed job anew as soon as it hears of it (``JRP_ON_FAILURE``, its default), and
        that one would have to stand by while the dead one's lease is fresh.
        """
        self._server = server
        info, claims = process.running_job, self._services.claims
        if claims is None or info is None or process.status.name == "RUNNING":
            return
        released = self._later(self._clear(server, process, info))
        await asyncio.wait({released}, timeout=RELEASE_SECONDS)

    async def _ask(self, job: Any) -> ClaimAnswer | None:
        claims, host = self._services.claims, os.environ.get("LIVEKIT_URL", "")
        if claims is None or not host or not self._services.enforcing(GUARD):
            return None
        facts = job_facts(job, host)
        reports = ClaimReports(self._services, facts, None)
        answer = await self._reserve(claims, facts, reports)
        if not await self._is_served(answer.holder, facts):
            return answer
        await asyncio.sleep(LOOK_AGAIN_SECONDS)
        answer = await self._reserve(claims, facts, reports)
        if not await self._is_served(answer.holder, facts):
            return answer
        cause = "holder_serving"
        reports.claim_event(ClaimEvent("refused", cause, 0, answer.holder))
        return ClaimAnswer(None, cause, answer.holder)

    async def _reserve(
        self, claims: ClaimsPort, facts: JobFacts, reports: ClaimReports
    ) -> ClaimAnswer:
        """Ask for the claim. What a dead job of this worker holds is given back first.

        LiveKit hears of a death when it finds the time, and the room may be asked for before.
        """
        answer = await claims.claim_for_worker(facts, reports)
        executor = self._executor_of(answer.holder)
        if executor is None or is_alive(executor):
            return answer
        await self._clear(self._server, executor, executor.running_job)
        return await claims.claim_for_worker(facts, reports)

    def _executor_of(self, holder: ClaimHolder) -> Any | None:
        if not holder.job_id or self._server is None:
            return None
        return executor_of(self._server, holder.job_id)

    async def _is_served(self, holder: ClaimHolder, facts: JobFacts) -> bool:
        """Whether a job of this worker is known to live and to have its caller, at this moment."""
        executor = self._executor_of(holder)
        if executor is None or not is_alive(executor):
            return False
        present = await who_is_there(api_of(self._server), facts.room)
        return present is not None and serves(present, holder.token) is True

    async def _refuse(self, request: Any, answer: ClaimAnswer) -> Any:
        """Say no so that the server asks no other worker, unless another worker may know better."""
        with shield(self._services.recorder, "JobRequest.reject"):
            self._services.recorder.add("runguard.jobs.ended", 1, job_outcome="refused")
        for_good = answer.cause != "registry_closed"
        if "terminate" in inspect.signature(request.reject).parameters:
            return await request.reject(terminate=for_good)
        return await request.reject()  # before 1.4

    async def _clear(self, server: Any, process: Any, info: Any) -> None:
        """Release what a dead process held, unless the same job already runs somewhere else."""
        job_id = str(info.job.id)
        if job_id in self._accepting or executor_of(server, job_id, other_than=process):
            return
        self._held.pop(job_id, None)  # given back with whatever the process has made of it
        claims = self._services.claims
        if claims is not None:
            host = os.environ.get("LIVEKIT_URL", "") or str(info.url)
            await claims.abandon(job_facts(info.job, host))

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
