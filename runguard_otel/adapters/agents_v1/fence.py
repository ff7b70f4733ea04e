"""Defence in depth: agents of one room compare their fencing tokens, and the lower one leaves.

When the registry failed, two jobs may have joined the same room in good faith. Each publishes its
claim as a participant attribute; whoever sees a higher token for the *same* claim knows, without
any registry, that it was superseded. Both sides see the same order, so they never both leave.
"""

from __future__ import annotations

import asyncio
from typing import Any

from runguard_otel.adapters.agents_v1.claim_reports import ClaimReports
from runguard_otel.adapters.agents_v1.services import Services
from runguard_otel.adapters.safety import shield
from runguard_otel.core.ports import ClaimEvent, ClaimHandle

__all__ = ["ATTRIBUTE", "Fence"]

ATTRIBUTE = "runguard.claim"
"""``<12 hex digits of the claim's hash>:<token>``; holds no name."""
AGENT_NAME = "lk.agent.name"
ON_BEHALF = "lk.publish_on_behalf"
WHERE = "JobContext.connect"


class Fence:
    """The fence of one job in its room.

    Args:
        services: Shared by all patches.
        ctx: LiveKit's ``JobContext``.
        handle: The job's claim.
        reports: Hears when we are outranked.
    """

    def __init__(
        self, services: Services, ctx: Any, handle: ClaimHandle, reports: ClaimReports
    ) -> None:
        self._services = services
        self._ctx = ctx
        self._handle = handle
        self._reports = reports
        self._published = ""
        self._outranked = False
        self._entered = False
        self._tasks: set[asyncio.Task[None]] = set()

    def enter(self) -> None:
        """The job has connected: publish our claim, and look at everybody's."""
        if self._entered:
            return
        self._entered = True
        room = self._ctx.room

        def seen(participant: Any) -> None:
            with shield(self._services.recorder, WHERE):
                self._look(participant)

        def changed(attributes: Any, participant: Any) -> None:
            if ATTRIBUTE in attributes:
                seen(participant)

        room.on("participant_connected", seen)
        room.on("participant_attributes_changed", changed)
        self.refresh()
        for participant in list(room.remote_participants.values()):
            self._look(participant)

    def leave(self) -> None:
        """The claim is given back: whoever has it now outranks nobody."""
        self._outranked = True

    def refresh(self) -> None:
        """Publish our token if it changed; in a task, so that the call never waits for it."""
        fence = self._handle.fence
        if not self._entered or not self._handle.token or fence == self._published:
            return
        self._published = fence

        async def publish() -> None:
            with shield(self._services.recorder, WHERE):
                await self._ctx.room.local_participant.set_attributes({ATTRIBUTE: fence})

        task = asyncio.get_running_loop().create_task(publish(), name="runguard-fence")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _look(self, participant: Any) -> None:
        attributes = participant.attributes
        theirs = attributes.get(ATTRIBUTE, "")
        same_agent = attributes.get(AGENT_NAME, "") == str(self._ctx.job.agent_name)
        if not theirs or not same_agent or attributes.get(ON_BEHALF) or self._outranked:
            return
        claim, _, token = theirs.partition(":")
        if claim != self._handle.fence.partition(":")[0] or not token.isdecimal():
            return
        if int(token) > self._handle.token:
            self._outranked = True
            event = ClaimEvent("lost", "outranked", self._handle.token, int(token))
            self._reports.claim_event(event)
            if self._services.settings.claims_on_superseded == "shutdown":
                self._reports.claim_lost("outranked")
