"""The job's part of dispatch: what LiveKit tells of a job and its sessions, told to its claim."""

from __future__ import annotations

import asyncio
import functools
import weakref
from typing import Any

from runguard_otel.adapters.hooks import Answer, Replace
from runguard_otel.adapters.livekit.dispatch.conversation import DUPLICATE, WHERE, Conversation
from runguard_otel.adapters.livekit.dispatch.reports import GUARD
from runguard_otel.adapters.livekit.facts.job import (
    context_of,
    current_job,
    in_console,
    is_fake_job,
    when_asked_to_end,
)
from runguard_otel.adapters.livekit.facts.turn import session_of, without_reply
from runguard_otel.adapters.livekit.services import Services
from runguard_otel.adapters.safety import shield
from runguard_otel.core.verdict import Mode

__all__ = ["JobSide"]


class JobSide:
    """What runs in a process that runs jobs.

    Args:
        services: Shared by all patches.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self._on = True
        self._jobs: dict[int, Conversation] = {}
        self._of_session: weakref.WeakKeyDictionary[Any, Conversation] = weakref.WeakKeyDictionary()
        self._warming: set[asyncio.Task[Any]] = set()
        self.silenced: list[bool] = []
        """Not empty once a conversation of this process must not answer any more."""
        services.on_close.append(self._switch_off)

    def build(
        self,
        job_proc: Any,
        initialize_process_fnc: Any,
        job_entrypoint_fnc: Any,
        *_: Any,
        **__: Any,
    ) -> Replace:
        """``_JobProc.__init__``: put the claim in front of the entrypoint.

        No loop runs yet: what the registry imports holds up no call.
        """
        if self._services.claims is not None and self._wanted():
            self._services.claims.load()
        return Replace(job_entrypoint_fnc=self._guard(job_entrypoint_fnc))

    async def idle(self, wrapped: Any, job_proc: Any, args: Any, kwargs: Any) -> Any:
        """``_JobProc.entrypoint``: connect to the registry while the process waits for a job.

        A new connection costs a job up to 0.3 s; an idle process has the time. And
        when the worker is gone, the process ends without shutdown callbacks: what its job still
        holds is given back here, so that the next job need not wait for the lease.
        """
        claims = self._services.claims
        with shield(self._services.recorder, WHERE):
            if claims is not None and self._wanted():
                warming = asyncio.get_running_loop().create_task(claims.warm())
                self._warming.add(warming)
                warming.add_done_callback(self._warming.discard)
        try:
            return await wrapped(*args, **kwargs)
        finally:
            with shield(self._services.recorder, WHERE):
                conversation = self._jobs.pop(id(context_of(job_proc)), None)
                if conversation is not None:
                    await conversation.over()

    def begins(self, job_proc: Any, *_: Any, **__: Any) -> None:
        """``_JobProc._run_job_task``: hear of it when the job is asked to end."""
        conversation = self._of(context_of(job_proc))

        def asked_to_end(_: str) -> None:
            with shield(self._services.recorder, "_JobProc._run_job_task"):
                conversation.asked_to_end()

        when_asked_to_end(job_proc, asked_to_end)

    def connected(self, ctx: Any, *_: Any, **__: Any) -> None:
        """``JobContext.connect``: once in the room, compare fencing tokens there."""
        self._of(ctx).connected()

    def session_starts(self, session: Any, *_: Any, **__: Any) -> None:
        """``AgentSession.start``."""
        ctx = current_job()
        if ctx is not None:
            self._of_session[session] = conversation = self._of(ctx)
            conversation.session_starts(session)

    def session_closes(self, session: Any, *_: Any, **__: Any) -> None:
        """``AgentSession._aclose_impl``, where all ends of a session meet."""
        conversation = self._of_session.get(session)
        if conversation is not None:
            conversation.session_closes(session)

    def linked(self, room_io: Any, *_: Any, **__: Any) -> None:
        """``RoomIO.set_participant``."""
        ctx = current_job()
        if ctx is not None:
            self._of(ctx).linked(room_io)

    def turn_ends(self, activity: Any, info: Any, *_: Any, **__: Any) -> Answer | None:
        """``AgentActivity.on_end_of_turn``: the last place before a reply.

        A session that closes still hears while its ``on_exit`` runs, and would answer.
        """
        conversation = self._of_session.get(session_of(activity))
        if conversation is None or not conversation.silent or without_reply(info):
            return None
        return Answer(True)

    def _of(self, ctx: Any) -> Conversation:
        known = self._jobs.get(id(ctx))
        if known is None:
            known = Conversation(self._services, ctx, self._falls_silent)
            self._jobs[id(ctx)] = known
        return known

    def _falls_silent(self) -> None:
        self.silenced[:] = [True]

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
                with shield(self._services.recorder, WHERE):
                    if self._on:
                        await self._of(ctx).give_up()
                raise

        return guarded

    async def _admit(self, ctx: Any) -> bool:
        off = self._services.mode(GUARD) is Mode.OFF
        if self._services.claims is None or off or is_fake_job(ctx):
            return True
        conversation = self._of(ctx)
        if not await conversation.admit():
            return False

        # A plain function: LiveKit reads ``__code__.co_argcount`` of a shutdown callback.
        async def runguard_release(reason: str) -> None:
            await conversation.over()

        ctx.add_shutdown_callback(runguard_release)
        return True

    def _switch_off(self) -> None:
        self._on = False
