"""A job serves its room until its last session has closed, however long the job itself goes on.

A user who reloads the page leaves, and the session closes; the job stays in the room, and LiveKit
runs what winds it up for minutes. Stock, a job that is dispatched for the returning user serves
him: a claim that is kept until the job's end would leave him without an agent.
"""

from __future__ import annotations

import weakref
from typing import Any, Protocol

from runguard_otel.adapters.agents_v1.context import current_job, session_closer
from runguard_otel.adapters.agents_v1.services import Services
from runguard_otel.adapters.patching import Patch
from runguard_otel.adapters.safety import shield

__all__ = ["Server", "patches"]


class Server(Protocol):
    """Who holds the claims of jobs."""

    def rest(self, ctx: Any) -> None:
        """The job of that ``JobContext`` has no session any more."""

    def resume(self, ctx: Any) -> None:
        """It has one again."""


def patches(services: Services, server: Server, guard: str) -> list[Patch]:
    """The patches for sessions of 1.x; none where the host has no ``AgentSession``."""
    try:
        from livekit.agents.voice import AgentSession
    except ImportError:  # 0.12
        return []

    jobs: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()
    closer = session_closer(AgentSession)

    async def start(wrapped: Any, session: Any, args: Any, kwargs: Any) -> Any:
        with shield(services.recorder, "AgentSession.start"):
            ctx = current_job()
            if ctx is not None:
                jobs[session] = ctx
                server.resume(ctx)
        return await wrapped(*args, **kwargs)

    async def close(wrapped: Any, session: Any, args: Any, kwargs: Any) -> Any:
        try:
            return await wrapped(*args, **kwargs)
        finally:
            with shield(services.recorder, f"AgentSession.{closer}"):
                ctx = jobs.pop(session, None)
                if ctx is not None and all(other is not ctx for other in jobs.values()):
                    server.rest(ctx)

    return [
        Patch(AgentSession, "start", start, guard, "A job with a session serves its room."),
        Patch(AgentSession, closer, close, guard, "A job whose last session closed does not."),
    ]
