"""A bound on a wait that never loses a cancellation."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

__all__ = ["within"]

T = TypeVar("T")


async def within(seconds: float, work: Coroutine[Any, Any, T]) -> T:
    """Run ``work`` for at most so many seconds.

    ``asyncio.wait_for`` swallows a cancellation that arrives when the work is just done (before
    Python 3.12). ``asyncio.run`` cancels each task once: a heartbeat that never heard of it beats
    on, and the process never ends.

    Raises:
        asyncio.TimeoutError: If it is not done by then; it is cancelled, and has ended.
    """
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait({task}, timeout=seconds)
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait({task})
        if not task.cancelled():
            task.exception()  # heard of, also where nobody asks for it
    if task.cancelled():
        raise asyncio.TimeoutError
    return task.result()
