"""Defence in depth: agents of one room compare their fencing tokens, and the lower one leaves.

When the registry failed, two jobs may have joined the same room in good faith. Each publishes its
claim as a participant attribute; whoever sees a higher token for the *same* claim knows, without
any registry, that it was superseded. Both sides see the same order, so they never both leave.

The same tells a job whose conversation is over that the next agent has come.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from runguard_otel.adapters.livekit.services import Services
from runguard_otel.adapters.safety import shield
from runguard_otel.core.ports import ClaimHandle

__all__ = ["ATTRIBUTE", "SERVING", "Fence"]

ATTRIBUTE = "runguard.claim"
"""``<claim>:<token>``, see ``ClaimHandle.fence``; holds no name."""
SERVING = "runguard.serving"
"""Whom the agent serves, as a sid and a hash; see ``dispatch.witness``."""
AGENT_NAME = "lk.agent.name"
ON_BEHALF = "lk.publish_on_behalf"
WHERE = "JobContext.connect"


class Fence:
    """The fence of one job in its room.

    Args:
        services: Shared by all patches.
        ctx: LiveKit's ``JobContext``.
        handle: The job's claim.
        serving: Returns whom the job serves, or ``""``.
        outranked: Called once, with the other's token, when an agent with a newer claim is there.
    """

    def __init__(
        self,
        services: Services,
        ctx: Any,
        handle: ClaimHandle,
        serving: Callable[[], str],
        outranked: Callable[[int], None],
    ) -> None:
        self._services = services
        self._ctx = ctx
        self._handle = handle
        self._serving = serving
        self._outranked = outranked
        self._published: dict[str, str] = {}
        self._over = False
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
                self._refresh_soon()

        def changed(attributes: Any, participant: Any) -> None:
            if ATTRIBUTE in attributes:
                seen(participant)

        room.on("participant_connected", seen)
        room.on("participant_attributes_changed", changed)
        room.on("participant_disconnected", lambda _: self._refresh_soon())
        self.refresh()
        for participant in list(room.remote_participants.values()):
            self._look(participant)

    def leave(self) -> None:
        """The claim is given back: whoever has it now does not outrank us."""
        self._over = True

    def refresh(self) -> None:
        """Publish what has changed; in a task, so that the call never waits for it."""
        if not self._entered or not self._handle.token or self._over:
            return
        now = {ATTRIBUTE: self._handle.fence, SERVING: self._serving()}
        news = {k: v for k, v in now.items() if self._published.get(k, "") != v}
        if not news:
            return
        self._published = now

        async def publish() -> None:
            with shield(self._services.recorder, WHERE):
                await self._ctx.room.local_participant.set_attributes(news)

        task = asyncio.get_running_loop().create_task(publish(), name="runguard-fence")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _refresh_soon(self) -> None:
        """When LiveKit's own handlers of the same event have run: they decide who is served."""
        asyncio.get_running_loop().call_soon(self.refresh)

    def _look(self, participant: Any) -> None:
        attributes = participant.attributes
        same_agent = attributes.get(AGENT_NAME, "") == str(self._ctx.job.agent_name)
        if self._over or not same_agent or attributes.get(ON_BEHALF):
            return
        claim, _, token = attributes.get(ATTRIBUTE, "").rpartition(":")
        same = _same_conversation(claim, self._handle.fence.rpartition(":")[0])
        if same and token.isdecimal() and int(token) > self._handle.token:
            self._over = True
            self._outranked(int(token))


def _same_conversation(theirs: str, ours: str) -> bool:
    """Whether two claims cannot both be served.

    Where a job is for one participant, another stay of that participant has another claim. But
    no one is in a room twice: with the newer stay, the older one is over.
    """
    return bool(theirs) and theirs.partition(".")[0] == ours.partition(".")[0]
