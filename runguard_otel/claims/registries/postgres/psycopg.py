"""psycopg 3, the default way to PostgreSQL. See ``driver`` beside this module."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import socket
from typing import TYPE_CHECKING, Any

from runguard_otel.claims.registries.postgres.connections import CONNECTIONS, Connections
from runguard_otel.claims.registries.postgres.driver import (
    CONNECT_SECONDS,
    POOL_SECONDS,
    Row,
    Session,
)
from runguard_otel.claims.registry import RegistryBusy
from runguard_otel.claims.turns import turns_of

if TYPE_CHECKING:
    import psycopg
    from psycopg_pool import AsyncConnectionPool

__all__ = ["PsycopgDriver"]


@functools.cache
def _connection_class() -> type[psycopg.AsyncConnection[Any]]:
    import psycopg

    class Impatient(psycopg.AsyncConnection[Any]):
        """When a whole loop ends, each of its tasks is cancelled, and the statement's with them."""

        async def cancel_safe(self, *, timeout: float = 30.0) -> None:
            """Do not ask: a silent server would hold up the process for five seconds."""
            _shut(self)

    return Impatient


def _shut(conn: psycopg.AsyncConnection[Any]) -> None:
    # Shut, not closed: the event loop still watches the descriptor by its number.
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(conn.fileno())) as twin:
        twin.shutdown(socket.SHUT_RDWR)


class PsycopgSession:
    """One psycopg connection in autocommit."""

    def __init__(self, conn: psycopg.AsyncConnection[Any]) -> None:
        self._conn = conn

    async def fetch(self, statement: str, *args: object) -> list[Row]:
        """See :class:`Session`."""
        task = asyncio.create_task(self._run(statement, args))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            _shut(self._conn)
            # The closed socket ends the statement in this turn of the loop; its error is no news.
            await asyncio.wait({task})
            task.exception()
            raise

    def alive(self) -> bool:
        """See :class:`Session`. A socket that the server has closed has an end to read."""
        if self._conn.closed:
            return False
        with socket.socket(fileno=os.dup(self._conn.fileno())) as twin:
            twin.setblocking(False)
            try:
                return twin.recv(1, socket.MSG_PEEK) != b""
            except BlockingIOError:
                return True
            except OSError:
                return False

    def close(self) -> None:
        """See :class:`Session`."""
        self._conn.pgconn.finish()

    async def _run(self, statement: str, args: tuple[object, ...]) -> list[Row]:
        from psycopg import AsyncRawCursor

        async with AsyncRawCursor(self._conn) as cursor:
            await cursor.execute(statement.encode(), args or None)
            return await cursor.fetchall() if cursor.description else []


class PsycopgDriver:
    """psycopg 3; connections of its own unless a pool is given."""

    def __init__(self, url: str, pool: AsyncConnectionPool[Any] | None = None) -> None:
        import psycopg

        self.errors: tuple[type[BaseException], ...] = (psycopg.Error, OSError)
        if pool is not None:
            import psycopg_pool

            self.errors += (
                psycopg_pool.PoolTimeout,
                psycopg_pool.PoolClosed,
                psycopg_pool.TooManyRequests,
            )
        self._url = url
        self._options: dict[str, Any] = {
            "autocommit": True,
            "prepare_threshold": None,
            "connect_timeout": CONNECT_SECONDS,
            "tcp_user_timeout": 2000,
            "keepalives_idle": 5,
            "keepalives_interval": 2,
            "keepalives_count": 2,
            "application_name": "runguard-otel",
        }
        self._pool = pool
        self.turns = (
            asyncio.Semaphore(CONNECTIONS) if pool is None else turns_of(pool, pool.max_size)
        )
        self._own = Connections(self.connect)

    async def open(self) -> None:
        """See :class:`Driver`."""
        if self._pool is None:
            async with self._own.one(CONNECT_SECONDS):
                pass

    async def fetch(self, statement: str, *args: object) -> list[Row]:
        """See :class:`Driver`."""
        if self._pool is not None:
            import psycopg_pool

            try:
                async with self._pool.connection(timeout=POOL_SECONDS) as conn:
                    return await PsycopgSession(conn).fetch(statement, *args)
            except (psycopg_pool.PoolTimeout, psycopg_pool.TooManyRequests):
                if self._pool.get_stats().get("pool_size", 0) >= self._pool.max_size:
                    raise RegistryBusy("PostgreSQL: every connection is in use") from None
                raise
        async with self._own.one(POOL_SECONDS) as session:
            return await session.fetch(statement, *args)

    async def connect(self) -> Session:
        """See :class:`Driver`."""
        connected = await _connection_class().connect(self._url, **self._options)
        return PsycopgSession(connected)

    def close(self) -> None:
        """See :class:`Driver`."""
        self._own.close()
        self._own = Connections(self.connect)
