"""The words of a lease's holder: states, timing and policy."""

from __future__ import annotations

import enum
from dataclasses import dataclass

__all__ = ["ClaimState", "Policy", "Timing"]

LONGEST = 86_400.0
"""Seconds that a lease may last; whoever dies keeps his room closed for as long."""
_UNCERTAIN_AT = 2 / 3  # of the lease: two heartbeats of three have failed by then
_HEARTBEAT_SLACK = 1.2  # client-go's rule: the deadline must leave room for a late heartbeat


class ClaimState(str, enum.Enum):
    """Where a claim stands, as its holder may believe."""

    IDLE = "idle"
    STANDBY = "standby"
    """Another job's lease runs; we watch whether it is renewed."""
    HELD = "held"
    UNCERTAIN = "uncertain"
    """Not renewed for two thirds of the lease. Still ours, but somebody should know."""
    EXPIRED = "expired"
    """Our own clock says that the lease may be over. Anybody could hold it now."""
    UNVERIFIED = "unverified"
    """The registry could not be asked; served without proof, claimed late if it comes back."""
    SUPERSEDED = "superseded"
    """Proof that another job or instance holds it. Final."""
    LOST = "lost"
    """Never ours: another job holds it, lives and serves. Final."""
    RELEASED = "released"
    """Given back. Final."""

    def __str__(self) -> str:
        return self.value

    @property
    def final(self) -> bool:
        """Whether nothing more will happen."""
        return self in (ClaimState.SUPERSEDED, ClaimState.LOST, ClaimState.RELEASED)


@dataclass(frozen=True)
class Timing:
    """How long things take, in seconds.

    Args:
        ttl: Lease length.
        heartbeat: How often it is renewed, give or take 10 %.
        timeout: Bound on one registry call.
        notice: How late a holder may learn that its caller is gone. A server may tell an
            agent five seconds late that its caller is gone (one who publishes nothing), so only a
            renewal after that time proves to a standby that the holder serves.

    Raises:
        ValueError: Unless ``ttl > deadline > 1.2 x heartbeat`` and ``timeout < heartbeat``, and all
            of them are a day at most.
    """

    ttl: float = 9.0
    heartbeat: float = 3.0
    timeout: float = 0.25
    notice: float = 6.0

    def __post_init__(self) -> None:
        if not max(self.ttl, self.heartbeat, self.timeout) <= LONGEST:
            raise ValueError(f"need times of {LONGEST:g} s at most")
        if not 0 < self.timeout < self.heartbeat:
            raise ValueError(
                f"need 0 < timeout < heartbeat, got timeout {self.timeout:g} s and heartbeat "
                f"{self.heartbeat:g} s"
            )
        if not self.expires > self.deadline > _HEARTBEAT_SLACK * self.heartbeat:
            raise ValueError(
                f"need ttl > deadline > 1.2 x heartbeat, where the deadline is 2/3 ttl: got ttl "
                f"{self.ttl:g} s (deadline {self.deadline:g} s) and heartbeat {self.heartbeat:g} s"
            )

    @property
    def deadline(self) -> float:
        """Without a renewal for this long the claim is uncertain."""
        return self.ttl * _UNCERTAIN_AT

    @property
    def expires(self) -> float:
        """Without a renewal for this long the holder no longer believes in it.

        Earlier than the registry's end by 5 % and at least 250 ms: our clocks may run at slightly
        different rates, and stopping takes time too.
        """
        return self.ttl - max(0.05 * self.ttl, 0.25)

    @property
    def probe(self) -> float:
        """How often a standby looks."""
        return min(0.25, self.ttl / 20)


@dataclass(frozen=True)
class Policy:
    """What to do when a claim cannot be proven.

    Args:
        fail_open: Registry unreachable: serve unverified (true) or refuse (false).
        stop_when_superseded: On proof that somebody else holds the claim: stop serving.
        stop_when_expired: When it could not be renewed in time: stop serving.
    """

    fail_open: bool = True
    stop_when_superseded: bool = True
    stop_when_expired: bool = False
