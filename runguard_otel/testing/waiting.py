"""Waiting in tests: for what is ready, and for what takes real time."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable

__all__ = ["settle", "until"]


async def settle(rounds: int = 300) -> None:
    """Let everything that is ready run, and what becomes ready through it. No time passes.

    Args:
        rounds: How many turns of the event loop.
    """
    for _ in range(rounds):
        await asyncio.sleep(0)


async def until(reached: Callable[..., object], seconds: float = 5.0) -> None:
    """Wait for something that takes real time, such as playing a sentence.

    Args:
        reached: Asked again and again until it says something true.
        seconds: For how long.

    Raises:
        AssertionError: If it was not reached in time.
    """
    deadline = asyncio.get_running_loop().time() + seconds
    while not reached():
        if asyncio.get_running_loop().time() > deadline:
            raise AssertionError(f"not reached within {seconds:g} s: {_words(reached)}")
        await asyncio.sleep(0.005)


def _words(reached: Callable[..., object]) -> str:
    try:
        return inspect.getsource(reached).strip()
    except (OSError, TypeError):  # no source at hand
        return repr(reached)
