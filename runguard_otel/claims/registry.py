"""The protocol every claim registry speaks, and the words it answers with.

A registry keeps one lease record per key and changes it only by compare-and-set. It knows nothing
of heartbeats, policy or LiveKit: one ``ClaimKeeper`` owns all that, so backends behave the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

__all__ = [
    "ClaimRecord",
    "ClaimRegistry",
    "Granted",
    "Held",
    "Holder",
    "How",
    "Missing",
    "Observation",
    "RegistryUnavailable",
    "Renewed",
    "Superseded",
]

How = Literal["new", "reentrant", "handoff", "takeover"]


class RegistryUnavailable(Exception):
    """The registry could not be asked. The only exception a registry raises.

    The message never holds credentials: URLs in it are redacted.
    """


@dataclass(frozen=True)
class Holder:
    """Who asks for a claim.

    Args:
        job_id: LiveKit's job id. The same job may always come back.
        instance: A uuid4 made by each process that claims. The same job with another instance is a
            hand-off: the older instance is fenced off by a higher token.
        worker: A uuid4 made by each worker process and handed to its job processes. LiveKit's own
            worker id will not do: it changes whenever the worker re-registers.
    """

    job_id: str
    instance: str
    worker: str


@dataclass(frozen=True)
class Observation:
    """What a standby has seen, for registries without a clock of their own (DynamoDB).

    Args:
        version: The renewal version that has not changed.
        unchanged_seconds: For how long, on the observer's own clock, in seconds.
    """

    version: str
    unchanged_seconds: float


@dataclass(frozen=True)
class Granted:
    """The claim is ours.

    Args:
        token: Fencing token: strictly higher than any token granted before for this key, but equal
            to the last one for ``reentrant``.
        how: ``new``; ``reentrant`` (same job and instance: nothing changed but the lease end);
            ``handoff`` (same job, new instance); ``takeover`` (the last lease ran out unreleased).
    """

    token: int
    how: How


@dataclass(frozen=True)
class Held:
    """Another job holds the claim.

    Args:
        token: Its fencing token.
        version: Its renewal version; a change proves the holder alive.
        instance: Its instance.
        job_id: Its job.
        remaining: Seconds until its lease ends, or ``None`` where the registry compares no clocks.
    """

    token: int
    version: str
    instance: str
    job_id: str
    remaining: float | None


@dataclass(frozen=True)
class Renewed:
    """The lease end was moved."""


@dataclass(frozen=True)
class Superseded:
    """Proof that the claim is somebody else's, or was released.

    Args:
        token: The token now on record.
        job_id: The job now on record. The same job as ours means it was handed off.
        instance: The instance now on record.
    """

    token: int
    job_id: str
    instance: str


@dataclass(frozen=True)
class Missing:
    """There is no record at all: the registry lost its data."""


@dataclass(frozen=True)
class ClaimRecord:
    """One record, for people (``runguard-otel claims list``). No room name: keys are hashes."""

    key: str
    token: int
    job_id: str
    instance: str
    worker: str
    acquired_at: float
    remaining: float | None
    version: str
    state: Literal["held", "released"]


class ClaimRegistry(Protocol):
    """A place where claims are kept.

    Every method raises :class:`RegistryUnavailable` and nothing else. None of them bounds its own
    time beyond its client's socket timeout; the keeper does. Times are in seconds.
    """

    backend: str
    """``memory``, ``sqlite``, ``redis``, ``postgres`` or ``dynamodb``; a metric label."""

    default_timeout: float
    """How long the keeper waits for one call, in seconds: 0.25, or 1.0 where that cannot hold."""

    async def open(self) -> None:
        """Connect, so that the first claim pays no connection setup. Safe to call twice."""

    async def acquire(
        self, key: str, who: Holder, ttl: float, *, observed: Observation | None = None
    ) -> Granted | Held:
        """Take the claim unless another job's lease is still running.

        Args:
            key: The hashed claim key, see ``claims.key``.
            who: The asking job, instance and worker.
            ttl: Lease length.
            observed: For clockless registries: take it over if the record still is as observed and
                has been so for at least the record's own lease length.
        """

    async def renew(
        self, key: str, who: Holder, token: int, ttl: float
    ) -> Renewed | Superseded | Missing:
        """Move the lease end, if token and instance still match."""

    async def release(self, key: str, who: Holder, token: int) -> bool:
        """Mark the claim released if token and instance match; the record stays as token memory.

        Returns:
            Whether this call released it; a second call is a no-op that returns ``False``.
        """

    async def abandon(self, key: str, job_id: str, worker: str) -> bool:
        """Release whatever instance of this job on this worker holds the claim.

        For the worker whose job process died without releasing: it knows the job and itself, but
        not the dead process's instance.
        """

    async def inspect(self, key: str | None = None) -> list[ClaimRecord]:
        """The record of ``key``, or all records. For people, not for decisions."""

    async def aclose(self) -> None:
        """Give back connections. Safe to call twice."""
