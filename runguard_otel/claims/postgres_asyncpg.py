"""asyncpg, the other way to PostgreSQL. See :mod:`runguard_otel.claims.postgres_driver`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from runguard_otel.claims.postgres_connections import Connections
from runguard_otel.claims.postgres_driver import CONNECT_SECONDS, POOL_SECONDS, Row, Session

if TYPE_CHECKING:
    import asyncpg

__all__ = ["AsyncpgDriver"]


class AsyncpgSession:
    """One asyncpg connection."""

    def __init__(
        self, conn: asyncpg.Connection[Any] | asyncpg.pool.PoolConnectionProxy[Any]
    ) -> None:
        self._conn = conn

    async def fetch(self, statement: str, *args: object) -> list[Row]:
        """See :class:`Session`."""
        try:
            return [tuple(row) for row in await self._conn.fetch(statement, *args)]
        except asyncio.CancelledError:
            self._conn.terminate()
            raise

    def alive(self) -> bool:
        """See :class:`Session`."""
        return not self._conn.is_closed()

    def close(self) -> None:
        """See :class:`Session`."""
        self._conn.terminate()


class AsyncpgDriver:
    """asyncpg; connections of its own unless a pool is given."""

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
        self._options: dict[str, Any] = {
            "statement_cache_size": 0,
            "timeout": CONNECT_SECONDS,
            "server_settings": {"application_name": "runguard-otel"},
        }
        self._pool = pool
        self._own = Connections(self.connect)

    async def open(self) -> None:
        """See :class:`Driver`."""
        if self._pool is None:
            async with self._own.one(CONNECT_SECONDS):
                pass

    async def fetch(self, statement: str, *args: object) -> list[Row]:
        """See :class:`Driver`."""
        if self._pool is not None:
            async with self._pool.acquire(timeout=POOL_SECONDS) as conn:
                return await AsyncpgSession(conn).fetch(statement, *args)
        async with self._own.one(POOL_SECONDS) as session:
            return await session.fetch(statement, *args)

    async def connect(self) -> Session:
        """See :class:`Driver`."""
        import asyncpg

        return AsyncpgSession(await asyncpg.connect(self._url, **self._options))

    def close(self) -> None:
        """See :class:`Driver`."""
        self._own.close()
        self._own = Connections(self.connect)
