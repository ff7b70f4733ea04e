"""``on_trip`` callbacks: each in its own try, none in the host's way."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
import queue
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

from runguard_otel.core.verdict import Trip

__all__ = ["Callbacks", "TripCallback"]

logger = logging.getLogger("runguard_otel")

TripCallback = Callable[[Trip], "Awaitable[Any] | Any"]

_MAX_WAITING = 100
_Waiting = queue.Queue["tuple[TripCallback, Trip, contextvars.Context] | None"]


class Callbacks:
    """Calls whoever wants to know of a trip.

    An async callback becomes a task of the loop in which the guard tripped. A plain one runs in a
    thread of ours, in order of the trips, because it may block (a web hook) and the guard's caller
    is the host's event loop. At most 100 calls wait; later ones are given up with a log line.
    """

    def __init__(self) -> None:
        self._callbacks: list[TripCallback] = []
        self._waiting: _Waiting | None = None  # bounded by hand: its end always fits
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def register(self, callback: TripCallback) -> None:
        """Call ``callback`` on every trip from now on."""
        if callback not in self._callbacks:
            self._callbacks.append(callback)

    def fire(self, trip: Trip) -> None:
        """Start every callback; returns at once."""
        for callback in tuple(self._callbacks):
            if inspect.iscoroutinefunction(callback):
                try:
                    loop = asyncio.get_running_loop()
                except RuntimeError:
                    self._in_thread(callback, trip)
                    continue
                task = loop.create_task(_call_async(callback, trip))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            else:
                self._in_thread(callback, trip)

    def flush(self, timeout: float) -> bool:
        """Wait until the plain callbacks have run; false if ``timeout`` seconds were too few."""
        deadline = time.monotonic() + timeout
        waiting = self._waiting
        while waiting is not None and waiting.unfinished_tasks:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.005)  # the queue's own join() has no bound
        return True

    def close(self) -> None:
        """Let the thread end when it has run what waits; never blocks.

        A later trip is still passed on, by a new thread.
        """
        with self._lock:
            if self._waiting is not None:
                self._waiting.put(None)
                self._thread, self._waiting = None, None

    def _in_thread(self, callback: TripCallback, trip: Trip) -> None:
        with self._lock:
            if self._waiting is None:
                self._waiting = queue.Queue()
            room = self._waiting.qsize() < _MAX_WAITING
            if room:
                self._waiting.put((callback, trip, contextvars.copy_context()))
                if self._thread is None or not self._thread.is_alive():
                    self._thread = threading.Thread(
                        target=_run, args=(self._waiting,), name="runguard-on-trip", daemon=True
                    )
                    self._thread.start()
        if not room:
            logger.warning("on_trip callback %r is too slow: a trip was not passed on", callback)


_USERS_OWN: Final = (Exception, SystemExit)
"""What a callback may raise: ``sys.exit()`` in one must end neither our thread nor the host."""


def _run(waiting: _Waiting) -> None:
    while (call := waiting.get()) is not None:
        callback, trip, context = call
        try:
            context.run(_call, callback, trip)
        finally:
            waiting.task_done()


async def _call_async(callback: TripCallback, trip: Trip) -> None:
    try:
        await callback(trip)
    except _USERS_OWN:
        logger.warning("on_trip callback %r failed", callback, exc_info=True)


def _call(callback: TripCallback, trip: Trip) -> None:
    try:
        result = callback(trip)
        if inspect.isawaitable(result):
            asyncio.run(_wait(result))
    except _USERS_OWN:
        logger.warning("on_trip callback %r failed", callback, exc_info=True)


async def _wait(result: Awaitable[Any]) -> None:
    await result
