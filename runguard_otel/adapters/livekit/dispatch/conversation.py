"""The claim of one job: it protects a conversation, not a process.

It is held while a session serves, or is about to. From the first sign of the end it is *ending*:
the room emits ``disconnected``, the last session starts to close (the caller left, ``shutdown``,
``aclose``), or the job is asked to end. The next job then gets it at once. This one may finish what
it is doing; when the next agent is in the room it falls silent and leaves, and its callbacks run.
A worker that drains asks no job to end: they serve until their sessions close.
"""

from __future__ import annotations

import asyncio
import logging
import os
import weakref
from collections.abc import Callable, Coroutine
from typing import Any

from runguard_otel.adapters.livekit.dispatch.fencing import Fence
from runguard_otel.adapters.livekit.dispatch.reports import GUARD, ClaimReports
from runguard_otel.adapters.livekit.dispatch.witness import Witness
from runguard_otel.adapters.livekit.facts.job import job_facts, session_type, url_of
from runguard_otel.adapters.livekit.facts.room import serving_mark, whose_leaving_ends_it
from runguard_otel.adapters.livekit.services import Services
from runguard_otel.adapters.safety import shield
from runguard_otel.core.ports import ClaimEvent, ClaimHandle, ClaimHolder

__all__ = ["DUPLICATE", "Conversation"]

logger = logging.getLogger("runguard_otel")

WHERE = "_JobProc.entrypoint"
DUPLICATE = "runguard: another job serves this room"
FAREWELL_SECONDS = 10.0
"""How long a sentence that has begun may go on when the next agent is in the room."""


class Conversation:
    """One job's claim, through all sessions that it starts.

    Args:
        services: Shared by all patches.
        ctx: LiveKit's ``JobContext``.
        falls_silent: Told when :attr:`silent` becomes true.
    """

    def __init__(
        self, services: Services, ctx: Any, falls_silent: Callable[[], None] = lambda: None
    ) -> None:
        self._services = services
        self._ctx = ctx
        self._handle: ClaimHandle | None = None
        self._fence: Fence | None = None
        self._reports: ClaimReports | None = None
        self._claiming: asyncio.Task[Any] | None = None
        self._open: weakref.WeakSet[Any] = weakref.WeakSet()
        self._sessions: weakref.WeakSet[Any] = weakref.WeakSet()
        self._room_io: Any = None
        self._end = asyncio.Event()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._falls_silent = falls_silent
        self.silent = False
        """Whether its sessions must not answer any more: the next agent does."""

    async def admit(self) -> bool:
        """Claim the room before a line of the user's entrypoint runs; may stand by, unconnected.

        Returns:
            Whether the entrypoint may run. In observe always, and at once.
        """
        self._claiming = self._later(self._claim())
        if not self._services.enforcing(GUARD):
            return True
        ended = self._later(self._end.wait())
        try:
            await asyncio.wait({self._claiming, ended}, return_when=asyncio.FIRST_COMPLETED)
            return self._claiming.done() and self._claiming.result() is not False
        finally:
            ended.cancel()
            if not self._claiming.done():
                self._claiming.cancel()

    def connected(self) -> None:
        """The job is in its room."""
        if self._fence is not None:
            self._fence.enter()

    def session_starts(self, session: Any) -> None:
        """A session serves the room; if the last one had begun to close, claim the room again."""
        self._sessions.add(session)
        self._open.add(session)
        handle = self._handle
        if handle is None or not handle.ending or self._end.is_set():
            return
        if not handle.mark_serving():
            self._later(self._claim_again())

    def session_closes(self, session: Any) -> None:
        """A session begins to close: it may take minutes, for no new caller."""
        if session in self._open:
            self._open.discard(session)
            if not self._open:
                self._ends()

    def linked(self, room_io: Any) -> None:
        """A session has found its caller: show in the room whom we serve."""
        self._room_io = room_io
        if self._fence is not None:
            self._fence.refresh()

    def asked_to_end(self) -> None:
        """The job's end has begun, whoever asked for it."""
        self._end.set()
        self._ends()

    async def give_up(self) -> None:
        """The entrypoint failed. Before the job is in its room, it never serves it.

        Stock, another dispatch would serve the room: our claim must not keep it out. Up to 1.3 such
        a job never ends by itself.
        """
        if not self._ctx.room.isconnected():
            await self.over()

    async def over(self) -> None:
        """The job is over: give the claim back."""
        if self._claiming is not None and not self._claiming.done():
            self._claiming.cancel()
            await asyncio.gather(self._claiming, return_exceptions=True)
        if self._reports is not None:
            self._reports.over()
        handle, self._handle = self._handle, None
        if self._fence is not None:
            self._fence.leave()
        if handle is not None:
            await handle.release()

    def _ends(self) -> None:
        if self._handle is not None:
            self._handle.mark_ending()

    def _claim(self) -> Coroutine[Any, Any, bool]:
        """Ask in the caller's context: its tasks then find the claim as their own."""
        claims = self._services.claims
        assert claims is not None
        facts = job_facts(self._ctx.job, os.environ.get("LIVEKIT_URL", "") or url_of(self._ctx))
        self._reports = reports = ClaimReports(self._services, facts, self._lost)
        witness = Witness(facts.room) if session_type() else None
        asking = claims.claim_for_job(facts, reports, witness.serves if witness else None)

        async def claim() -> bool:
            try:
                answer = await asking
            finally:
                if witness is not None:
                    witness.close()
            if answer.handle is not None:
                self._claimed(answer.handle, reports)
            return answer.handle is not None

        return claim()

    def _claimed(self, handle: ClaimHandle, reports: ClaimReports) -> None:
        self._handle = handle
        if self._services.enforcing(GUARD):
            self._fence = Fence(
                self._services,
                self._ctx,
                handle,
                self._serving,
                lambda token: self._outranked(reports, token),
            )
            reports.on_event = self._fence.refresh
        if self._end.is_set():
            self._ends()

    async def _claim_again(self) -> None:
        """Somebody else got the room, or could have got it, before the next session started."""
        if not await self._claim():
            if self._services.enforcing(GUARD):
                self._ctx.shutdown(reason=DUPLICATE)
        elif self._ctx.room.isconnected():
            self.connected()

    def _serving(self) -> str:
        caller = whose_leaving_ends_it(self._room_io) if self._room_io is not None else None
        return serving_mark(caller.sid, caller.identity) if caller is not None else ""

    def _lost(self, cause: str) -> None:
        logger.warning("this job ends: its claim to the room was lost (%s)", cause)
        self._ctx.shutdown(reason=f"runguard: claim lost ({cause})")

    def _outranked(self, reports: ClaimReports, token: int) -> None:
        """An agent with a newer claim is in the room: the next one, or one let in by mistake."""
        stays = self._services.settings.claims_on_superseded != "shutdown"
        if self._handle is None:
            return
        if self._handle.ending or self._handle.superseded:
            if not stays:
                self._later(self._make_way())
            return
        own = self._handle.token
        reports.claim_event(ClaimEvent("lost", "outranked", own, ClaimHolder(token)))
        if not stays:
            reports.claim_lost("outranked")

    async def _make_way(self) -> None:
        """Hear and answer no more, finish the sentence, and leave the room."""
        self.silent = True
        self._falls_silent()
        sessions = list(self._sessions)
        for session in sessions:
            session.input.set_audio_enabled(False)
        speeches = [speech for s in sessions if (speech := s.current_speech) is not None]
        if speeches:
            said = {self._later(_said(speech)) for speech in speeches}
            await asyncio.wait(said, timeout=FAREWELL_SECONDS)
        logger.info("the next agent is in the room: this job leaves it, its callbacks still run")
        await self._ctx.room.disconnect()

    def _later(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        async def shielded() -> Any:
            with shield(self._services.recorder, WHERE):
                return await work

        task = asyncio.get_running_loop().create_task(shielded(), name="runguard-claims")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


async def _said(speech: Any) -> None:
    await speech.wait_for_playout()
