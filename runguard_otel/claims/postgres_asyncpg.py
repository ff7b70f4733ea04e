"""asyncpg, the other way to PostgreSQL. See :mod:`runguard_otel.claims.postgres_driver`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from runguard_otel.claims.postgres_driver import (
    CONNECT_SECONDS,
    CONNECTIONS,
    POOL_SECONDS,
    Row,
    Session,
)

if TYPE_CHECKING:
    import asyncpg

__all__ = ["AsyncpgDriver"]


class AsyncpgSession:
    """One asyncpg connection."""

    def __init__(self, conn: asyncpg.Connection[Any]) -> None:
        self._conn = conn

    async def fetch(self, statement: str, *args: object) -> list[Row]:
        """See :class:`Session`."""
        try:
            return [tuple(row) for row in await self._conn.fetch(statement, *args)]
        except asyncio.CancelledError:
            self._conn.terminate()
            raise

    async def close(self) -> None:
        """See :class:`Session`."""
        self._conn.terminate()


class AsyncpgDriver:
    """asyncpg; a small pool of its own unless one is given."""

    def __init__(self, url: str, pool: asyncpg.Pool[Any] | None = None) -> None:
        import asyncpg

        self.errors: tuple[type[BaseException], ...] = (
            asyncpg.PostgresError,
            asyncpg.InterfaceError,
            asyncpg.InternalClientError,
            OSError,
            asyncio.TimeoutError,
        )
        self._url = url
        self._given = pool
        self._pool = pool
        self._opening = asyncio.Lock()
        self._options: dict[str, Any] = {
            "statement_cache_size": 0,
            "timeout": CONNECT_SECONDS,
            "server_settings": {"application_name": "runguard-otel"},
        }

    async def open(self) -> None:
        """See :class:`Driver`."""
        import asyncpg

        async with self._opening:
            if self._pool is None:
                self._pool = await asyncpg.create_pool(
                    self._url, min_size=1, max_size=CONNECTIONS, reset=_no_reset, **self._options
                )

    async def fetch(self, statement: str, *args: object) -> list[Row]:
        """See :class:`Driver`."""
        if self._pool is None:
            await self.open()
        assert self._pool is not None
        async with self._connection(self._pool) as conn:
            return await AsyncpgSession(conn).fetch(statement, *args)

    @asynccontextmanager
    async def _connection(self, pool: asyncpg.Pool[Any]) -> AsyncIterator[Any]:
        conn = await pool.acquire(timeout=POOL_SECONDS)
        try:
            yield conn
        finally:
            await pool.release(conn)

    async def connect(self) -> Session:
        """See :class:`Driver`."""
        import asyncpg

        return AsyncpgSession(await asyncpg.connect(self._url, **self._options))

    async def close(self) -> None:
        """See :class:`Driver`."""
        if self._pool is not None and self._pool is not self._given:
            pool, self._pool = self._pool, None
            pool.terminate()


async def _no_reset(_: object) -> None:
    """Our statements leave nothing behind in a session, so returning one costs no round trip."""
