"""The job's part of dispatch: the claim with proof, before a line of the user's entrypoint runs."""

from __future__ import annotations

import asyncio
import functools
import logging
import os
from collections.abc import Awaitable, Callable
from typing import Any

from runguard_otel.adapters.agents_v1.claim_reports import GUARD, ClaimReports, facts_of
from runguard_otel.adapters.agents_v1.fence import Fence
from runguard_otel.adapters.agents_v1.rehearsal import in_console, is_rehearsal
from runguard_otel.adapters.agents_v1.services import Services
from runguard_otel.adapters.safety import shield
from runguard_otel.core.ports import ClaimAnswer, ClaimHandle
from runguard_otel.core.verdict import Mode

__all__ = ["JobSide"]

logger = logging.getLogger("runguard_otel")

WHERE = "_JobProc.entrypoint"
DUPLICATE = "runguard: another job serves this room"

Release = Callable[[], Awaitable[None]]


class JobSide:
    """What runs in a process that runs jobs; stateless but for an off switch.

    Args:
        services: Shared by all patches.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self._on = True
        self._tasks: set[asyncio.Task[Any]] = set()
        self._fences: dict[int, Fence] = {}
        self._unreleased: dict[int, Release] = {}
        self._resting: dict[int, asyncio.Task[Any]] = {}
        services.on_close.append(self._switch_off)

    def build(self, wrapped: Any, job_proc: Any, args: Any, kwargs: Any) -> Any:
        """``_JobProc.__init__``: put the claim in front of the entrypoint.

        No loop runs yet: what the registry imports holds up nobody.
        """
        with shield(self._services.recorder, "_JobProc.__init__"):
            if self._services.claims is not None and self._wanted():
                self._services.claims.load()
            if "job_entrypoint_fnc" in kwargs:
                kwargs = {**kwargs, "job_entrypoint_fnc": self._guard(kwargs["job_entrypoint_fnc"])}
            elif len(args) > 1:
                args = (args[0], self._guard(args[1]), *args[2:])
        return wrapped(*args, **kwargs)

    async def idle(self, wrapped: Any, job_proc: Any, args: Any, kwargs: Any) -> Any:
        """``_JobProc.entrypoint``: connect to the registry while the process waits for a job.

        A new connection costs a job up to 0.3 s; an idle process has the time. And
        when the worker is gone, the process ends without shutdown callbacks: what its job still
        holds is given back here, so that the next job need not wait for the lease.
        """
        claims = self._services.claims
        with shield(self._services.recorder, WHERE):
            if claims is not None and self._wanted():
                self._later(claims.warm())
        try:
            return await wrapped(*args, **kwargs)
        finally:
            with shield(self._services.recorder, WHERE):
                release = self._unreleased.pop(id(getattr(job_proc, "_job_ctx", None)), None)
                if release is not None:
                    await release()

    async def connect(self, wrapped: Any, ctx: Any, args: Any, kwargs: Any) -> Any:
        """``JobContext.connect``: once in the room, compare fencing tokens there."""
        result = await wrapped(*args, **kwargs)
        with shield(self._services.recorder, "JobContext.connect"):
            fence = self._fences.get(id(ctx))
            if fence is not None:
                fence.enter()
        return result

    def rest(self, ctx: Any) -> None:
        """Its last session has closed: give the claim back, although the job goes on."""
        release = self._unreleased.pop(id(ctx), None)
        if release is not None:
            self._resting[id(ctx)] = self._later(release())

    def resume(self, ctx: Any) -> None:
        """A session starts after the last one had closed: claim the room again, or leave it."""
        released = self._resting.pop(id(ctx), None)
        if released is not None and self._on:
            self._later(self._again(ctx, released))

    async def _again(self, ctx: Any, released: asyncio.Task[Any]) -> None:
        await released
        if not await self._admit(ctx):
            ctx.shutdown(reason=DUPLICATE)
        elif ctx.room.isconnected() and (fence := self._fences.pop(id(ctx), None)) is not None:
            fence.enter()

    def _wanted(self) -> bool:
        return self._services.mode(GUARD) is not Mode.OFF and not in_console()

    def _guard(self, entrypoint: Any) -> Any:
        @functools.wraps(entrypoint, updated=())
        async def guarded(ctx: Any) -> Any:
            serve = True
            if self._on:
                with shield(self._services.recorder, WHERE):
                    serve = await self._admit(ctx)
            if not serve:
                # Not just return: without a shutdown the job would stay JS_RUNNING for ever.
                ctx.shutdown(reason=DUPLICATE)
                return None
            try:
                return await entrypoint(ctx)
            except Exception:
                await self._give_up(ctx)
                raise
            finally:
                self._fences.pop(id(ctx), None)

        return guarded

    async def _give_up(self, ctx: Any) -> None:
        """A job that failed before it was in its room never serves it; up to 1.3 it never ends.

        Stock, another dispatch would serve the room: our claim must not keep it out.
        """
        with shield(self._services.recorder, WHERE):
            if id(ctx) in self._unreleased and not ctx.room.isconnected():
                await self._unreleased.pop(id(ctx))()

    async def _admit(self, ctx: Any) -> bool:
        claims, mode = self._services.claims, self._services.mode(GUARD)
        if claims is None or mode is Mode.OFF or is_rehearsal(ctx):
            return True
        host = os.environ.get("LIVEKIT_URL", "") or _url(ctx)
        facts = facts_of(ctx.job, host)

        def stop(cause: str) -> None:
            logger.warning("this job ends: its claim to the room was lost (%s)", cause)
            ctx.shutdown(reason=f"runguard: claim lost ({cause})")

        reports = ClaimReports(self._services, facts, stop)
        if mode is not Mode.ENFORCE:  # watch, but keep nobody waiting
            claiming = self._later(claims.claim_for_job(facts, reports))
            self._release_at_end(ctx, _release_when_known(claiming))
            return True
        answer = await claims.claim_for_job(facts, reports)
        if answer.handle is None:
            return False
        fence = Fence(self._services, ctx, answer.handle, reports)
        reports.on_event = fence.refresh
        self._fences[id(ctx)] = fence
        self._release_at_end(ctx, _release(answer.handle, fence))
        return True

    def _release_at_end(self, ctx: Any, release: Release) -> None:
        """A plain function: LiveKit reads ``__code__.co_argcount`` of a shutdown callback."""

        async def runguard_release(reason: str) -> None:
            self._fences.pop(id(ctx), None)
            resting = self._resting.pop(id(ctx), None)
            if resting is not None:
                await resting
            if self._unreleased.pop(id(ctx), None) is not None:
                await release()

        self._unreleased[id(ctx)] = release
        ctx.add_shutdown_callback(runguard_release)

    def _later(self, work: Any) -> asyncio.Task[Any]:
        async def shielded() -> Any:
            with shield(self._services.recorder, WHERE):
                return await work

        task = asyncio.get_running_loop().create_task(shielded(), name="runguard-claims")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _switch_off(self) -> None:
        self._on = False


def _url(ctx: Any) -> str:
    return str(getattr(getattr(ctx, "_info", None), "url", ""))


def _release(handle: ClaimHandle, fence: Fence) -> Release:
    async def release() -> None:
        fence.leave()
        await handle.release()

    return release


def _release_when_known(claiming: asyncio.Task[ClaimAnswer | None]) -> Release:
    async def release() -> None:
        claiming.cancel()
        (answer,) = await asyncio.gather(claiming, return_exceptions=True)
        if isinstance(answer, ClaimAnswer) and answer.handle is not None:
            await answer.handle.release()

    return release
