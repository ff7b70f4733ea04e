"""asyncpg, the other way to PostgreSQL. See ``driver`` beside this module."""

from __future__ import annotations

import asyncio
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
        self.turns = (
            asyncio.Semaphore(CONNECTIONS) if pool is None else turns_of(pool, pool.get_max_size())
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
            pool = self._pool
            try:
                conn = await pool.acquire(timeout=POOL_SECONDS)
            except asyncio.TimeoutError:
                if pool.get_size() >= pool.get_max_size():
                    raise RegistryBusy("PostgreSQL: every connection is in use") from None
                raise
            try:
                return await AsyncpgSession(conn).fetch(statement, *args)
            finally:
                await pool.release(conn)
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
