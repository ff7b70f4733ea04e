"""The registry of a deployment whose claims URL cannot be used: it never answers."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, nullcontext

from runguard_otel.claims.registry import (
    ClaimRecord,
    Granted,
    Held,
    Holder,
    Missing,
    Observation,
    RegistryUnavailable,
    Renewed,
    Superseded,
)

__all__ = ["UnavailableRegistry"]


class UnavailableRegistry:
    """Stands in for a registry that could not be built.

    The policy for an unreachable registry then applies, as for any other outage: falling back to a
    file would look like protection across hosts and be none.

    Args:
        backend: What was asked for.
        reason: Why there is none.
    """

    default_timeout = 0.25

    def __init__(self, backend: str, reason: str) -> None:
        self.backend = backend
        self._reason = reason

    def turn(self) -> AbstractAsyncContextManager[object]:
        """There is no wait."""
        return nullcontext()

    async def open(self) -> None:
        """Raises, as every other method."""
        raise RegistryUnavailable(self._reason)

    async def acquire(
        self, key: str, who: Holder, ttl: float, *, observed: Observation | None = None
    ) -> Granted | Held:
        """Raises."""
        raise RegistryUnavailable(self._reason)

    async def renew(
        self, key: str, who: Holder, token: int, ttl: float, *, ending: bool = False
    ) -> Renewed | Superseded | Missing:
        """Raises."""
        raise RegistryUnavailable(self._reason)

    async def release(self, key: str, who: Holder, token: int) -> bool:
        """Raises."""
        raise RegistryUnavailable(self._reason)

    async def abandon(self, key: str, job_id: str, worker: str) -> bool:
        """Raises."""
        raise RegistryUnavailable(self._reason)

    async def inspect(self, key: str | None = None) -> list[ClaimRecord]:
        """Raises."""
        raise RegistryUnavailable(self._reason)

    async def aclose(self) -> None:
        """Nothing to give back."""
