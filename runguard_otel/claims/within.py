"""A bound on a wait that loses no cancellation and does not count delays of our own."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from runguard_otel.claims.nap import Nap
from runguard_otel.core.running import PIECES, RunningTime

__all__ = ["Overdue", "within"]

T = TypeVar("T")


class Overdue(asyncio.TimeoutError):
    """The work was not done in time.

    Args:
        late: For how long meanwhile our own event loop did not run, in seconds: somebody blocked
            it, or the machine has no CPU to spare. What waited in a socket then was not read.
    """

    def __init__(self, late: float) -> None:
        super().__init__()
        self.late = late


async def within(seconds: float, work: Coroutine[Any, Any, T]) -> T:
    """Run ``work`` for at most so many seconds in which our event loop runs.

    ``asyncio.wait_for`` swallows a cancellation that arrives when the work is just done (before
    Python 3.12). ``asyncio.run`` cancels each task once: a heartbeat that never heard of it beats
    on, and the process never ends.

    Time in which it does not run does not count, for who was asked may have answered.

    Raises:
        Overdue: If it is not done by then; it is cancelled, and has ended.
    """
    late = 0.0
    loop = asyncio.get_running_loop()
    task, clock = loop.create_task(work), loop.time
    piece, began = seconds / PIECES, clock()
    try:
        await _ended(task, piece)
        if not task.done():  # the first piece is enough for nearly all
            time = RunningTime(seconds)
            time.passed(piece, clock() - began)
            while time.left > 0 and not task.done():
                piece, began = time.piece, clock()
                await _ended(task, piece)
                time.passed(piece, clock() - began)
            late = time.late
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait({task})
        if not task.cancelled():
            task.exception()  # retrieved, so that asyncio does not warn
    if task.cancelled():
        raise Overdue(late)
    return task.result()


async def _ended(task: asyncio.Task[T], seconds: float) -> None:
    nap = Nap(seconds)
    task.add_done_callback(nap.wake)
    await nap.over()
