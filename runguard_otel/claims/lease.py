"""The rules of a lease, as pure functions: what the embedded registries store and decide.

The networked registries say the same in their servers' languages; the contract suite
(``tests/contract/registry_contract.py``) holds all of them to it.
"""

from __future__ import annotations

import time
from typing import NamedTuple

from runguard_otel.claims.registry import (
    SILENT_LEASES,
    ClaimRecord,
    Granted,
    Held,
    Holder,
    How,
    Missing,
    Observation,
    Renewed,
    Superseded,
)

__all__ = ["Lease", "acquire", "record", "release", "renew"]


class Lease(NamedTuple):
    """One record.

    Args:
        token: Fencing token.
        who: The holder, or the last one.
        acquired_at: Unix seconds, for people only.
        ends: Lease end on the registry's clock, in seconds.
        version: Renewals so far; a change proves the holder alive.
        held: False once released: the record stays, as memory of the token.
        ending: Whether the holder gives it to any job that asks.
    """

    token: int
    who: Holder
    acquired_at: float
    ends: float
    version: int = 0
    held: bool = True
    ending: bool = False


def acquire(
    lease: Lease | None,
    who: Holder,
    ttl: float,
    now: float,
    observed: Observation | None = None,
) -> tuple[Lease | None, Granted | Held]:
    """Decide an acquire.

    The token is at least the wall clock in microseconds, so that it stays ahead even if the
    registry loses its data: a plain counter would start again at 1 and fence no holder.

    Args:
        lease: What is on record.
        who: Who asks.
        ttl: For how long, in seconds.
        now: The registry's clock, in seconds.
        observed: What a standby has seen.

    Returns:
        The record to write (``None``: write nothing) and the answer.
    """
    wall = time.time()
    how: How = "new"
    if lease is not None and lease.held:
        if lease.who.job_id == who.job_id:
            if lease.who == who:
                version = lease.version + 1
                kept = lease._replace(ends=now + ttl, version=version, ending=False)
                return kept, Granted(lease.token, "reentrant")
            how = "handoff"
        elif lease.ending:
            how = "passed_on"
        elif lease.ends > now and not _silent(lease, observed, ttl):
            return None, Held(
                token=lease.token,
                version=str(lease.version),
                instance=lease.who.instance,
                job_id=lease.who.job_id,
                remaining=lease.ends - now,
                worker=lease.who.worker,
                held_seconds=max(0.0, wall - lease.acquired_at),
            )
        else:
            how = "takeover"
    token = max(lease.token + 1 if lease else 1, int(wall * 1e6))
    return Lease(token, who, wall, now + ttl), Granted(token, how)


def renew(
    lease: Lease | None, who: Holder, token: int, ttl: float, now: float, ending: bool = False
) -> tuple[Lease | None, Renewed | Superseded | Missing]:
    """Decide a renewal; arguments and result as in :func:`acquire`."""
    if lease is None:
        return None, Missing()
    if not lease.held or lease.token != token or lease.who.instance != who.instance:
        return None, Superseded(lease.token, lease.who.job_id, lease.who.instance)
    version = lease.version + 1
    return lease._replace(ends=now + ttl, version=version, ending=ending), Renewed()


def release(lease: Lease | None, *, token: int | None = None, **expected: str) -> Lease | None:
    """The record to write when it is held by whom we expect, else ``None``.

    Args:
        lease: What is on record.
        token: The token it must have, if that matters.
        **expected: Fields of :class:`Holder` and the values they must have.
    """
    if lease is None or not lease.held or (token is not None and lease.token != token):
        return None
    if any(getattr(lease.who, name) != value for name, value in expected.items()):
        return None
    return lease._replace(held=False, ending=False)


def _silent(lease: Lease, observed: Observation | None, ttl: float) -> bool:
    """Whether the holder was watched for two leases without a renewal: our clock jumped back."""
    return (
        observed is not None
        and (observed.token, observed.version) == (lease.token, str(lease.version))
        and observed.unchanged_seconds >= SILENT_LEASES * ttl
    )


def record(key: str, lease: Lease, now: float) -> ClaimRecord:
    """The record as people see it."""
    return ClaimRecord(
        key=key,
        token=lease.token,
        job_id=lease.who.job_id,
        instance=lease.who.instance,
        worker=lease.who.worker,
        acquired_at=lease.acquired_at,
        remaining=max(0.0, lease.ends - now) if lease.held else 0.0,
        version=str(lease.version),
        state="released" if not lease.held else "ending" if lease.ending else "held",
    )
