"""A few PostgreSQL connections, opened as they are needed and kept.

The drivers' own pools do not fit a claim. psycopg's connects in tasks that outlive a cancellation
(they answer it with another attempt), so a process that ends while its server is silent never ends.
asyncpg's connects on the caller's time, so a server whose handshake takes longer than a claim may
is never reached. Here connecting goes on while the caller gives up, and ends when it is cancelled.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from runguard_otel.claims.registries.postgres.driver import Session

__all__ = ["CONNECTIONS", "Connections"]

CONNECTIONS = 4


class Connections:
    """At most :data:`CONNECTIONS` connections of one event loop.

    Args:
        connect: Opens one. What it raises reaches whoever waits for a connection.
    """

    def __init__(self, connect: Callable[[], Awaitable[Session]]) -> None:
        self._connect = connect
        self._idle: list[Session] = []
        self._waiting: deque[asyncio.Future[Session]] = deque()
        self._connecting: set[asyncio.Task[None]] = set()
        self._count = 0
        self._closed = False

    @asynccontextmanager
    async def one(self, seconds: float) -> AsyncIterator[Session]:
        """A connection for one statement.

        Args:
            seconds: How long to wait for the first one. Where others are in use, it waits for its
                turn; how long is for the caller to say.

        Raises:
            OSError: If there is none in that time.
        """
        session = await self._take(seconds)
        try:
            yield session
        finally:
            self._give(session)

    async def _take(self, seconds: float) -> Session:
        if self._closed:
            raise ConnectionAbortedError("the registry was closed")
        while self._idle:
            session = self._idle.pop()
            if session.alive():
                return session
            self._forget(session)
        waiter: asyncio.Future[Session] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        connected = self._count > len(self._connecting)
        self._grow()
        try:
            await asyncio.wait({waiter}, timeout=None if connected else seconds)
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and not waiter.exception():
                self._give(waiter.result())
            raise
        finally:
            waiter.cancel()
        if waiter.cancelled():
            raise TimeoutError(f"no connection within {seconds:g} s")
        return waiter.result()

    def _grow(self) -> None:
        """Open as many connections as are waited for and allowed."""
        wanted = sum(not waiter.done() for waiter in self._waiting)
        while not self._closed and self._count < CONNECTIONS and len(self._connecting) < wanted:
            self._count += 1
            self._connecting.add(asyncio.get_running_loop().create_task(self._add()))

    async def _add(self) -> None:
        try:
            session = await self._connect()
        except BaseException as error:
            self._count -= 1
            self._connecting.discard(_this_task())
            if not isinstance(error, Exception):
                raise
            if waiter := self._next():
                waiter.set_exception(error)
            self._grow()
        else:
            self._connecting.discard(_this_task())
            self._give(session)

    def _next(self) -> asyncio.Future[Session] | None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                return waiter
        return None

    def _give(self, session: Session) -> None:
        if self._closed or not session.alive():
            self._forget(session)
            self._grow()
        elif waiter := self._next():
            waiter.set_result(session)
        else:
            self._idle.append(session)

    def _forget(self, session: Session) -> None:
        self._count -= 1
        session.close()

    def close(self) -> None:
        """Close what is idle now, what is in use when it is given back, and connect no more."""
        self._closed = True
        for task in self._connecting:
            task.cancel()
        while self._idle:
            self._forget(self._idle.pop())
        while waiter := self._next():
            waiter.set_exception(ConnectionAbortedError("the registry was closed"))


def _this_task() -> asyncio.Task[None]:
    task = asyncio.current_task()
    assert task is not None
    return task
