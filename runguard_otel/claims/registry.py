"""The protocol every claim registry speaks, and the words it answers with.

A registry keeps one lease record per key and changes it only by compare-and-set. It knows nothing
of heartbeats, policy or LiveKit: one ``LeaseHolder`` owns all that, so backends behave the same.

A record is *ending* once its holder said so. The mark never falls on the next holder, whichever
release granted its claim: it is kept where every grant writes, or together with the holder's token.
A worker of an older release takes an ending claim for a held one.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, ContextDecorator
from dataclasses import dataclass
from typing import Literal, Protocol

__all__ = [
    "RESERVED",
    "SILENT_LEASES",
    "ClaimRecord",
    "ClaimRegistry",
    "Granted",
    "Held",
    "Holder",
    "How",
    "Missing",
    "Observation",
    "RegistryBusy",
    "RegistryUnavailable",
    "Renewed",
    "Superseded",
    "UnreadableRecord",
    "readable",
]

How = Literal["new", "reentrant", "handoff", "takeover", "passed_on"]
SILENT_LEASES = 2
"""A registry's clock jumped back if no renewal comes for so many of the asker's leases and a
lease still seems to run."""
RESERVED = "reserved-"
"""How the instance begins of a claim that a worker holds for a job process to come."""


class RegistryUnavailable(Exception):
    """The registry could not be asked. The only exception a registry raises.

    The message never holds credentials: URLs in it are redacted.
    """


class RegistryBusy(RegistryUnavailable):
    """It lives and can be asked again: every connection is in use, or others are writing."""


class UnreadableRecord(RegistryUnavailable):
    """What stands under a key is none of our records, or damaged; others can be read."""


class readable(ContextDecorator):  # as contextlib names its own
    """Turn what the record of a foreign writer raises into what a registry may raise.

    Args:
        backend: For the message.
    """

    __slots__ = ("_backend",)

    def __init__(self, backend: str) -> None:
        self._backend = backend

    def __enter__(self) -> None: ...

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, _OF_A_RECORD):
            raise UnreadableRecord(
                f"{self._backend}: the record is none of ours, or damaged ({type(error).__name__})"
            ) from error


_OF_A_RECORD = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


@dataclass(frozen=True)
class Holder:
    """Who asks for a claim.

    Args:
        job_id: LiveKit's job id. The same job may always come back.
        instance: A uuid4 made by each process that claims. The same job with another instance is a
            hand-off: the older instance is fenced off by a higher token.
        worker: A name made by each worker process and handed to its job processes. LiveKit's own
            worker id will not do: it changes whenever the worker re-registers.
    """

    job_id: str
    instance: str
    worker: str


@dataclass(frozen=True)
class Observation:
    """What a standby has seen on its own clock.

    A registry may have no clock of its own (DynamoDB), or one that jumped back and keeps the lease
    of a dead job alive.

    Args:
        token: The holder's fencing token.
        version: The renewal version that has not changed.
        unchanged_seconds: For how long, on the observer's own clock, in seconds.
    """

    token: int
    version: str
    unchanged_seconds: float


@dataclass(frozen=True)
class Granted:
    """The claim is ours.

    Args:
        token: Fencing token: strictly higher than any token granted before for this key, but equal
            to the last one for ``reentrant``.
        how: ``new``; ``reentrant`` (same job and instance: nothing changed but the lease end);
            ``handoff`` (same job, new instance); ``takeover`` (the last lease ran out unreleased);
            ``passed_on`` (another job's conversation was ending).
    """

    token: int
    how: How


@dataclass(frozen=True)
class Held:
    """Another job holds the claim, and is not ending.

    Args:
        token: Its fencing token.
        version: Its renewal version; a change proves the holder alive.
        instance: Its instance.
        job_id: Its job.
        remaining: Seconds until its lease ends, or ``None`` where the registry compares no clocks.
        worker: Its worker.
        held_seconds: For how long it has been the holder.
    """

    token: int
    version: str
    instance: str
    job_id: str
    remaining: float | None
    worker: str = ""
    held_seconds: float = 0.0

    @property
    def reserved(self) -> bool:
        """Whether a worker holds it for a job process that is not there yet."""
        return self.instance.startswith(RESERVED)


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
    state: Literal["held", "ending", "released"]


class ClaimRegistry(Protocol):
    """A place where claims are kept.

    Every method raises :class:`RegistryUnavailable` and nothing else. None of them bounds its own
    time beyond its client's socket timeout; the holder does. Times are in seconds.
    """

    backend: str
    """``memory``, ``sqlite``, ``redis``, ``postgres`` or ``dynamodb``; a metric label."""

    default_timeout: float
    """How long the holder waits for one call, in seconds: 0.25, or 1.0 where that cannot hold."""

    def turn(self) -> AbstractAsyncContextManager[object]:
        """Held during a call: waits while as many are on their way as connections allow.

        That queue is ours: what a call waits in it is no silence of the registry.
        """

    async def open(self) -> None:
        """Connect, so that the first claim pays no connection setup. Safe to call twice."""

    async def acquire(
        self, key: str, who: Holder, ttl: float, *, observed: Observation | None = None
    ) -> Granted | Held:
        """Take the claim unless another job's lease is still running and not ending.

        Args:
            key: The hashed claim key, see ``claims.key``.
            who: The asking job, instance and worker.
            ttl: Lease length.
            observed: Take it over also if the record still is as observed: in a registry without a
                clock if it was for the record's own lease length, else for :data:`SILENT_LEASES`.
        """

    async def renew(
        self, key: str, who: Holder, token: int, ttl: float, *, ending: bool = False
    ) -> Renewed | Superseded | Missing:
        """Move the lease end, if token and instance still match.

        Args:
            key: The hashed claim key.
            who: The holder.
            token: Its fencing token.
            ttl: Lease length.
            ending: Whether from now on it is to be given to any job that asks, or no longer.
        """

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
        """The record of ``key``, or all that can be read. For people, not for decisions."""

    async def aclose(self) -> None:
        """Give back connections. Safe to call twice."""
