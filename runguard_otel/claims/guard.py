"""``JobDispatchGuard``: one claim by hand, without ``instrument()`` and without LiveKit."""

from __future__ import annotations

import inspect
import logging
import uuid
from typing import Any, cast

from runguard_otel.claims.circuit import BoundedRegistry, Circuit
from runguard_otel.claims.holder import LeaseHolder
from runguard_otel.claims.key import claim_key
from runguard_otel.claims.registry import ClaimRegistry, Holder
from runguard_otel.claims.state import Policy, Timing
from runguard_otel.core.ports import ClaimEvent, JobFacts
from runguard_otel.errors import ClaimLostError

__all__ = ["JobDispatchGuard"]

logger = logging.getLogger("runguard_otel")


class JobDispatchGuard:
    """The right of one worker to serve one room.

    Keep it for the length of the call: it renews the claim in the background until :meth:`release`.
    Also an asynchronous context manager, which raises where :meth:`claim` says no, and releases at
    its end.

    Args:
        room_name: The room.
        worker_id: Who asks. The same worker may claim the same room again at any time.
        registry: A :class:`~runguard_otel.claims.registry.ClaimRegistry`, a ``redis.asyncio``
            client, or ``None`` for the host's SQLite file.
        agent_name: Agents of different names do not compete.
        namespace: Keeps deployments that share a registry apart.
        ttl_seconds: Lease length.
        heartbeat_seconds: How often it is renewed.
        fail_open: Whether ``claim()`` says yes when the registry cannot be reached.
        _registry: The same as ``registry``, under the name it was first published with.

    Raises:
        ValueError: If the times do not go together.
        TypeError: If the registry is neither kind.
    """

    def __init__(
        self,
        room_name: str,
        worker_id: str,
        registry: object | None = None,
        *,
        agent_name: str = "",
        namespace: str = "",
        ttl_seconds: float = 9.0,
        heartbeat_seconds: float = 3.0,
        fail_open: bool = True,
        _registry: object | None = None,
    ) -> None:
        self.room_name = room_name
        self.worker_id = worker_id
        self.lost = ""
        """Why the claim was lost, once it was; ``""`` before."""
        self._registry = _adapted(registry if registry is not None else _registry)
        self._timing = Timing(
            ttl_seconds,
            heartbeat_seconds,
            min(self._registry.default_timeout, heartbeat_seconds / 2),
            notice=0.0,  # it always knows whom it serves
        )
        self._policy = Policy(fail_open=fail_open)
        self._who = Holder(worker_id, uuid.uuid4().hex, worker_id)
        self._key = claim_key(JobFacts("", room_name, agent_name, "", "", worker_id, namespace))
        self._circuit = Circuit()
        self._holder: LeaseHolder | None = None

    @property
    def token(self) -> int:
        """The fencing token: higher than every token granted before for this room; 0 if none."""
        return self._holder.token if self._holder is not None else 0

    @property
    def verified(self) -> bool:
        """Whether the lease is known to run right now. No I/O."""
        return self._holder is not None and self._holder.verified

    async def claim(self, timeout_seconds: float = 5.0) -> bool:
        """Try to become the one that serves the room.

        If somebody else holds it, it watches whether that one is alive: a renewal ends the wait
        with no, a lease that runs out is taken over.

        Args:
            timeout_seconds: How long to watch at most. A crashed holder's room can only be taken
                over if this is at least what is left of its lease.

        Returns:
            Whether to serve.
        """
        if self._holder is not None and not self._holder.state.final:
            self._holder.stop()
        bounded = BoundedRegistry(
            self._registry, self._timing.timeout, self._circuit, self.registry_call
        )
        self.lost = ""
        self._holder = LeaseHolder(
            bounded, self._key, self._who, self, timing=self._timing, policy=self._policy
        )
        granted = await self._holder.claim(patience=timeout_seconds)
        if granted:
            self._holder.start()
        return granted

    async def release(self) -> bool:
        """Give the claim back, if it still is ours: never somebody else's.

        Returns:
            Whether this call released it.
        """
        return self._holder is not None and await self._holder.release()

    async def __aenter__(self) -> JobDispatchGuard:
        """Claim the room.

        Raises:
            ClaimLostError: If somebody else serves it. Failing open is no reason.
        """
        if not await self.claim():
            raise ClaimLostError("another job serves this room")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.release()

    def claim_event(self, event: ClaimEvent) -> None:
        """Part of ClaimListener."""
        logger.debug("claim %s %s", event.kind, event.cause)

    def registry_call(self, operation: str, result: str, seconds: float) -> None:
        """Part of ClaimListener; standing alone there is no telemetry to report to."""

    def claim_lost(self, cause: str) -> None:
        """Part of ClaimListener: remembers why."""
        self.lost = cause


def _adapted(registry: object | None) -> ClaimRegistry:
    if registry is None:
        from runguard_otel.claims.registries.sqlite import SqliteRegistry, default_path

        return SqliteRegistry(default_path())
    if hasattr(registry, "acquire") and hasattr(registry, "abandon"):
        return cast("ClaimRegistry", registry)
    if inspect.iscoroutinefunction(getattr(registry, "execute_command", None)):
        from runguard_otel.claims.registries.redis.registry import RedisRegistry

        client: Any = registry
        return RedisRegistry(client=client)
    raise TypeError(
        f"registry must be a ClaimRegistry or a redis.asyncio client, got {type(registry).__name__}"
    )
