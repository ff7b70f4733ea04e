"""A wait that time ends, or who wakes it: for one, at a fraction of what ``asyncio.wait`` costs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

__all__ = ["Later", "Nap", "call_later"]


class Timer(Protocol):
    """Something that happens later, or never."""

    def cancel(self) -> object:
        """It does not happen."""


Later = Callable[[float, Callable[[], None]], Timer]
"""``later(seconds, call)``."""


def call_later(seconds: float, call: Callable[[], None]) -> Timer:
    """The running loop's."""
    return asyncio.get_running_loop().call_later(seconds, call)


class Nap:
    """Begins at once, and is awaited once.

    Args:
        seconds: How long.
        later: For tests.
    """

    __slots__ = ("_timer", "_waiter")

    def __init__(self, seconds: float, later: Later = call_later) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        self._timer = later(seconds, self.wake)

    def wake(self, *_: object) -> None:
        """It is over; on its own loop."""
        if not self._waiter.done():
            self._waiter.set_result(None)

    async def over(self) -> None:
        """Until then."""
        try:
            await self._waiter
        finally:
            self._timer.cancel()
