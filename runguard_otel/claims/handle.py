"""What a claim is to whoever asked for it: a token, what is known of it, a way to give it back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from runguard_otel.claims.keeper import ClaimKeeper
from runguard_otel.claims.state import ClaimState

__all__ = ["Claim", "NoClaim"]

Over = Callable[[ClaimKeeper], Awaitable[None]]


class NoClaim:
    """A yes without a claim: the job process will find out."""

    token = 0
    fence = ""
    verified = False
    superseded = False

    async def release(self) -> bool:
        """Nothing to give back."""
        return False


class Claim:
    """A keeper, as adapters and users see it.

    Args:
        keeper: The keeper.
        over: Told when the claim was given back.
    """

    def __init__(self, keeper: ClaimKeeper, over: Over) -> None:
        self._keeper = keeper
        self._over = over

    @property
    def token(self) -> int:
        """The fencing token; 0 while the claim is unverified."""
        return self._keeper.token

    @property
    def fence(self) -> str:
        """``<claim>:<token>``; the first 12 digits of the key's hash are enough within a room."""
        return f"{self._keeper.key.partition('{')[2][:12]}:{self._keeper.token}"

    @property
    def verified(self) -> bool:
        """Whether the lease is known to run right now."""
        return self._keeper.verified

    @property
    def superseded(self) -> bool:
        """Whether another job or instance is proven to hold it."""
        return self._keeper.state is ClaimState.SUPERSEDED

    @property
    def state(self) -> ClaimState:
        """Where the claim stands."""
        return self._keeper.state

    async def release(self) -> bool:
        """Give it back; a second call returns ``False``."""
        try:
            return await self._keeper.release()
        finally:
            await self._over(self._keeper)
