"""A queue of our own before the connections of a client, shared by all who use that client."""

from __future__ import annotations

import asyncio
from weakref import WeakKeyDictionary

__all__ = ["turns_of"]

_turns: WeakKeyDictionary[object, asyncio.Semaphore] = WeakKeyDictionary()


def turns_of(client: object, at_most: int) -> asyncio.Semaphore:
    """The queue before a client: one per client, however many registries were built on it.

    Args:
        client: A client or pool, which belongs to one event loop.
        at_most: How many calls may be on their way at once.
    """
    try:
        turns = _turns.get(client)
        if turns is None:
            turns = _turns[client] = asyncio.Semaphore(max(1, at_most))
        return turns
    except TypeError:  # it cannot be remembered by reference: asyncpg's pool queues by itself
        return asyncio.Semaphore(max(1, at_most))
