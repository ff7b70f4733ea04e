"""A circuit breaker: one trip per open period."""

from __future__ import annotations

from enum import Enum

__all__ = ["Breaker", "BreakerState"]


class BreakerState(str, Enum):
    """Where a breaker stands."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Breaker:
    """Opens on a loop, half-opens after quiet or first proof of health, closes on enough proof.

    The breaker holds no clock and no policy: its owner tells it the time and what was seen.

    Args:
        quiet_seconds: After this long without a bad event an open breaker is closed again (it
            re-arms). ``None``: time alone never closes it, only proof of health does.
        proofs: How many healthy events in a row close it; the first one already half-opens it.

    Raises:
        ValueError: If an argument is out of range.
    """

    __slots__ = ("_last_bad", "_proofs", "_seen", "_state", "quiet_seconds")

    def __init__(self, quiet_seconds: float | None = None, proofs: int = 1) -> None:
        if quiet_seconds is not None and not quiet_seconds > 0:
            raise ValueError(f"quiet_seconds must be > 0 or None, got {quiet_seconds!r}")
        if proofs < 1:
            raise ValueError(f"proofs must be >= 1, got {proofs!r}")
        self.quiet_seconds = quiet_seconds
        self._proofs = proofs
        self._seen = 0
        self._last_bad = 0.0
        self._state = BreakerState.CLOSED

    @property
    def last_bad(self) -> float:
        """When the latest bad event was (monotonic)."""
        return self._last_bad

    def state(self, now: float) -> BreakerState:
        """Where the breaker stands at ``now`` (monotonic seconds)."""
        quiet = self.quiet_seconds
        if (
            self._state is not BreakerState.CLOSED
            and quiet is not None
            and now - self._last_bad >= quiet
        ):
            self.close()
        return self._state

    def is_open(self, now: float) -> bool:
        """Whether the guard should act at ``now``: open or half-open."""
        if self._state is BreakerState.CLOSED:  # nearly always, and no time opens one
            return False
        return self.state(now) is not BreakerState.CLOSED

    def open(self, now: float) -> bool:
        """Open it; true if it was closed, so that exactly one trip is made per open period."""
        newly = self.state(now) is BreakerState.CLOSED
        self._state = BreakerState.OPEN
        self._seen = 0
        self._last_bad = now
        return newly

    def bad(self, now: float) -> None:
        """A bad event while open: quiet starts anew, and proof gathered so far is void."""
        if self.is_open(now):
            self._state = BreakerState.OPEN
            self._seen = 0
            self._last_bad = now

    def healthy(self, now: float) -> bool:
        """A healthy event; true if it closed the breaker."""
        if self._state is BreakerState.CLOSED or not self.is_open(now):
            return False
        self._seen += 1
        if self._seen < self._proofs:
            self._state = BreakerState.HALF_OPEN
            return False
        self.close()
        return True

    def close(self) -> None:
        """Close it, whatever it was."""
        self._state = BreakerState.CLOSED
        self._seen = 0
