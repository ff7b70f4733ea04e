"""What a claim is to whoever asked for it: a token, what is known of it, a way to give it back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from runguard_otel.claims.holder import LeaseHolder
from runguard_otel.claims.key import fence_of
from runguard_otel.claims.state import ClaimState

__all__ = ["Claim", "NoClaim"]

Over = Callable[[LeaseHolder], Awaitable[None]]


class NoClaim:
    """A yes without a claim: the job process will find out."""

    token = 0
    fence = ""
    verified = False
    superseded = False
    ending = False

    def mark_ending(self) -> None:
        """Nothing to pass on."""

    def mark_serving(self) -> bool:
        """Nothing to serve with."""
        return False

    async def release(self) -> bool:
        """Nothing to give back."""
        return False


class Claim:
    """A lease's holder, as adapters and users see it.

    Args:
        holder: The holder.
        over: Told when the claim was given back.
    """

    def __init__(self, holder: LeaseHolder, over: Over) -> None:
        self._holder = holder
        self._over = over

    @property
    def token(self) -> int:
        """The fencing token; 0 while the claim is unverified."""
        return self._holder.token

    @property
    def fence(self) -> str:
        """``<claim>:<token>``, to compare with others in the same room."""
        return f"{fence_of(self._holder.key)}:{self._holder.token}"

    @property
    def verified(self) -> bool:
        """Whether the lease is known to run right now."""
        return self._holder.verified

    @property
    def superseded(self) -> bool:
        """Whether another job or instance is proven to hold it."""
        return self._holder.state is ClaimState.SUPERSEDED

    @property
    def ending(self) -> bool:
        """Whether it was last marked as ending."""
        return self._holder.ending

    def mark_ending(self) -> None:
        """See :class:`~runguard_otel.core.ports.ClaimHandle`."""
        self._holder.mark_ending()

    def mark_serving(self) -> bool:
        """See :class:`~runguard_otel.core.ports.ClaimHandle`."""
        return self._holder.mark_serving()

    @property
    def state(self) -> ClaimState:
        """Where the claim stands."""
        return self._holder.state

    async def release(self) -> bool:
        """Give it back; a second call returns ``False``."""
        try:
            return await self._holder.release()
        finally:
            await self._over(self._holder)
