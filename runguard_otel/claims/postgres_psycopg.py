"""psycopg 3, the default way to PostgreSQL. See :mod:`runguard_otel.claims.postgres_driver`."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from typing import TYPE_CHECKING, Any

from runguard_otel.claims.postgres_driver import (
    CONNECT_SECONDS,
    CONNECTIONS,
    POOL_SECONDS,
    Row,
    Session,
)

if TYPE_CHECKING:
    import psycopg
    from psycopg_pool import AsyncConnectionPool

__all__ = ["PsycopgDriver"]


async def _psycopg_fetch(
    conn: psycopg.AsyncConnection[Any], statement: str, args: tuple[object, ...]
) -> list[Row]:
    from psycopg import AsyncRawCursor

    async def run() -> list[Row]:
        async with AsyncRawCursor(conn) as cursor:
            await cursor.execute(statement.encode(), args or None)
            return await cursor.fetchall() if cursor.description else []

    task = asyncio.create_task(run())
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        _shut(conn)
        # The closed socket ends the statement within this turn of the loop; its error says no more.
        await asyncio.wait({task})
        task.exception()
        raise


def _shut(conn: psycopg.AsyncConnection[Any]) -> None:
    # Shut, not closed: the event loop still watches the descriptor by its number.
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(conn.fileno())) as twin:
        twin.shutdown(socket.SHUT_RDWR)


async def _check(conn: psycopg.AsyncConnection[Any]) -> None:
    """Refuse a pooled connection that the server has closed meanwhile, without a round trip.

    Raises:
        psycopg.OperationalError: The pool's sign to take another one.
    """
    from psycopg import OperationalError

    with socket.socket(fileno=os.dup(conn.fileno())) as twin:
        twin.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            if twin.recv(1, socket.MSG_PEEK) == b"":
                raise OperationalError("the server closed an idle connection")


class PsycopgSession:
    """One psycopg connection in autocommit."""

    def __init__(self, conn: psycopg.AsyncConnection[Any]) -> None:
        self._conn = conn

    async def fetch(self, statement: str, *args: object) -> list[Row]:
        """See :class:`Session`."""
        return await _psycopg_fetch(self._conn, statement, args)

    async def close(self) -> None:
        """See :class:`Session`."""
        await self._conn.close()


class PsycopgDriver:
    """psycopg 3; a small pool of its own unless one is given."""

    def __init__(self, url: str, pool: AsyncConnectionPool[Any] | None = None) -> None:
        import psycopg
        import psycopg_pool

        self.errors: tuple[type[BaseException], ...] = (
            psycopg.Error,
            psycopg_pool.PoolTimeout,
            psycopg_pool.PoolClosed,
            psycopg_pool.TooManyRequests,
            OSError,
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
        self._given = pool
        self._pool = pool

    async def open(self) -> None:
        """See :class:`Driver`."""
        from psycopg_pool import AsyncConnectionPool

        if self._pool is None:
            pool: AsyncConnectionPool[Any] = AsyncConnectionPool(
                self._url,
                kwargs=self._options,
                min_size=1,
                max_size=CONNECTIONS,
                timeout=POOL_SECONDS,
                reconnect_timeout=5,
                name="runguard-claims",
                check=_check,
                open=False,
            )
            self._pool = pool
            await pool.open()

    async def fetch(self, statement: str, *args: object) -> list[Row]:
        """See :class:`Driver`."""
        await self.open()
        assert self._pool is not None
        async with self._pool.connection() as conn:
            return await _psycopg_fetch(conn, statement, args)

    async def connect(self) -> Session:
        """See :class:`Driver`."""
        import psycopg

        return PsycopgSession(await psycopg.AsyncConnection.connect(self._url, **self._options))

    async def close(self) -> None:
        """See :class:`Driver`."""
        if self._pool is not None and self._pool is not self._given:
            pool, self._pool = self._pool, None
            await pool.close(timeout=1)
