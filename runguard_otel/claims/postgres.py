"""``postgresql://``: claims as lease rows, changed by single conditional statements.

No statement relies on a session, so transaction poolers are fine. ``clock_timestamp()`` is the
server's clock at that moment; ``now()`` would stand still from the start of a transaction.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from runguard_otel.claims.postgres_driver import Driver, Row, driver_for, split_options
from runguard_otel.claims.redact import redact_url, scrub
from runguard_otel.claims.registry import (
    ClaimRecord,
    ClaimRegistry,
    Granted,
    Held,
    Holder,
    Missing,
    Observation,
    RegistryUnavailable,
    Renewed,
    Superseded,
)
from runguard_otel.errors import SettingsError

if TYPE_CHECKING:
    from runguard_otel.settings import Settings

__all__ = ["SCHEMA", "PostgresRegistry", "asking", "listing", "prepare"]

TABLE = "runguard_claim"
KEEP_DAYS = 7
"""Rows that no job has touched for this long are purged when a registry opens."""

# LOGGED on purpose: an UNLOGGED table is emptied after a crash, and with it every claim.
SCHEMA = (
    """
CREATE TABLE IF NOT EXISTS {table} (
    k text PRIMARY KEY,
    tok bigint NOT NULL,
    job text NOT NULL,
    inst text NOT NULL,
    wrk text NOT NULL,
    at timestamptz NOT NULL,
    till timestamptz NOT NULL,
    n bigint NOT NULL DEFAULT 0,
    how text NOT NULL
) WITH (fillfactor = 70)
""",
    "CREATE INDEX IF NOT EXISTS {table}_at ON {table} (at)",
)
"""Statements that make the table; renewals leave the index alone, so they stay cheap."""

_PEEK = f"""
SELECT tok, n, inst, job, extract(epoch FROM till - clock_timestamp())::float8
FROM {TABLE} WHERE k = $1 AND job <> $2 AND till > clock_timestamp()
"""

# ``how`` and the token are computed from the old row ``c`` inside the one statement that takes it.
_TAKE = f"""
INSERT INTO {TABLE} AS c (k, tok, job, inst, wrk, at, till, n, how)
VALUES ($1, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint, $2, $3, $4,
        clock_timestamp(), clock_timestamp() + $5::float8 * interval '1 second', 0, 'new')
ON CONFLICT (k) DO UPDATE SET
    tok = CASE WHEN c.job = EXCLUDED.job AND c.inst = EXCLUDED.inst AND c.till > '-infinity'
               THEN c.tok ELSE greatest(c.tok + 1, EXCLUDED.tok) END,
    how = CASE WHEN c.till = '-infinity' THEN 'new'
               WHEN c.job <> EXCLUDED.job THEN 'takeover'
               WHEN c.inst <> EXCLUDED.inst THEN 'handoff'
               ELSE 'reentrant' END,
    n = CASE WHEN c.job = EXCLUDED.job AND c.inst = EXCLUDED.inst AND c.till > '-infinity'
             THEN c.n + 1 ELSE 0 END,
    job = EXCLUDED.job, inst = EXCLUDED.inst, wrk = EXCLUDED.wrk,
    at = clock_timestamp(),
    till = clock_timestamp() + $5::float8 * interval '1 second'
WHERE c.till <= clock_timestamp() OR c.job = EXCLUDED.job
RETURNING tok, how
"""

_RENEW = f"""
UPDATE {TABLE} SET till = clock_timestamp() + $4::float8 * interval '1 second', n = n + 1
WHERE k = $1 AND tok = $2 AND inst = $3 AND till > '-infinity' RETURNING tok
"""
_READ = f"SELECT tok, job, inst FROM {TABLE} WHERE k = $1"
_RELEASE = f"""
UPDATE {TABLE} SET till = '-infinity'
WHERE k = $1 AND tok = $2 AND inst = $3 AND till > '-infinity' RETURNING tok
"""
_ABANDON = f"""
UPDATE {TABLE} SET till = '-infinity'
WHERE k = $1 AND job = $2 AND wrk = $3 AND till > '-infinity' RETURNING tok
"""
_LIST = """
SELECT k, tok, job, inst, wrk, extract(epoch FROM at)::float8, till > '-infinity',
    CASE WHEN isfinite(till) THEN extract(epoch FROM till - clock_timestamp())::float8 END, n
FROM {table} WHERE $1::text IS NULL OR k = $1::text ORDER BY k
"""
_PURGE = """
DELETE FROM {table} WHERE k IN (
    SELECT k FROM {table} WHERE at < clock_timestamp() - {days} * interval '1 day'
        AND till < clock_timestamp() - {days} * interval '1 day' LIMIT 1000)
"""


@contextmanager
def asking(driver: Driver, url: str) -> Iterator[None]:
    """Turn what a driver raises into the one exception a registry may raise, without secrets."""
    try:
        yield
    except driver.errors as error:
        # ``from None``: a chained driver error would bring the credentials back into the log.
        raise RegistryUnavailable(
            f"PostgreSQL: {type(error).__name__}: {scrub(str(error), url)}"
        ) from None


async def prepare(driver: Driver, table: str) -> None:
    """Create the table on first use where that is allowed, and forget what ended long ago.

    Raises:
        RegistryUnavailable: If it does not exist and may not be created.
    """
    there = "SELECT to_regclass($1) IS NOT NULL"
    if not (await driver.fetch(there, table))[0][0]:
        try:
            for statement in SCHEMA:
                await driver.fetch(statement.format(table=table))
        except driver.errors as error:
            # Of two workers that create it at once, one may be told that it exists already.
            if not (await driver.fetch(there, table))[0][0]:
                raise RegistryUnavailable(
                    f"PostgreSQL: table {table} is missing and this user may not create it "
                    f"({type(error).__name__}); run `runguard-otel claims init` as one who may"
                ) from None
    with suppress(*driver.errors):  # housekeeping: who may not DELETE may still claim
        await driver.fetch(_PURGE.format(table=table, days=KEEP_DAYS))


async def listing(driver: Driver, table: str, key: str | None) -> list[ClaimRecord]:
    """The records for people."""
    return [_record(row) for row in await driver.fetch(_LIST.format(table=table), key)]


def _record(row: Row) -> ClaimRecord:
    """A row of the listing as a record."""
    key, token, job, instance, worker, at, held, remaining, n = row
    if not held:
        remaining = 0.0
    elif remaining is not None:
        remaining = max(0.0, remaining)
    state: Any = "held" if held else "released"
    return ClaimRecord(key, token, job, instance, worker, at, remaining, str(n), state)


class PostgresRegistry:
    """See :class:`~runguard_otel.claims.registry.ClaimRegistry`.

    Args:
        url: ``postgresql://user@host/database``; every option libpq knows, and ``driver=psycopg``
            (default) or ``driver=asyncpg``.
        pool: A ready ``psycopg_pool.AsyncConnectionPool`` or ``asyncpg.Pool`` instead. It is not
            closed by us.

    Raises:
        SettingsError: Unless exactly one of them is given, or for an unknown option.
        ImportError: If the driver is not installed.
    """

    backend = "postgres"
    default_timeout = 0.25

    def __init__(self, url: str | None = None, *, pool: object | None = None) -> None:
        if (url is None) == (pool is None):
            raise SettingsError("PostgresRegistry takes either a url or a pool")
        self._url, options = split_options(url or "")
        self._driver = driver_for(self._url, options.get("driver"), pool)
        self._prepared = False

    @classmethod
    def from_url(cls, url: str, settings: Settings) -> ClaimRegistry:
        """The registry of a ``claims_url``: lease rows, or ``?mode=advisory``."""
        mode = split_options(url)[1].get("mode", "lease")
        if mode == "advisory":
            from runguard_otel.claims.postgres_advisory import PostgresAdvisoryRegistry

            return PostgresAdvisoryRegistry(url)
        if mode != "lease":
            raise SettingsError(f"claims_url option mode={mode!r}; allowed: lease, advisory")
        return cls(url)

    def __repr__(self) -> str:
        return f"PostgresRegistry({redact_url(self._url)!r})"

    async def _fetch(self, statement: str, *args: object) -> list[Row]:
        await self._prepare()
        with asking(self._driver, self._url):
            return await self._driver.fetch(statement, *args)

    async def open(self) -> None:
        """See the protocol. Creates the table if it is missing and this user may."""
        with asking(self._driver, self._url):
            await self._driver.open()
        await self._prepare()

    async def _prepare(self) -> None:
        if not self._prepared:
            with asking(self._driver, self._url):
                await prepare(self._driver, TABLE)
            self._prepared = True

    async def acquire(
        self, key: str, who: Holder, ttl: float, *, observed: Observation | None = None
    ) -> Granted | Held:
        """See the protocol; ``observed`` is not needed, the server has a clock.

        It looks first: a loser's ``INSERT`` would lock and write the row all the same, which
        doubles what a contest costs.
        """
        while True:
            for token, n, instance, job, remaining in await self._fetch(_PEEK, key, who.job_id):
                return Held(token, str(n), instance, job, remaining)
            taken = await self._fetch(_TAKE, key, who.job_id, who.instance, who.worker, ttl)
            for token, how in taken:
                return Granted(token, how)
            # Somebody took it between the two statements: look again, who.

    async def renew(
        self, key: str, who: Holder, token: int, ttl: float
    ) -> Renewed | Superseded | Missing:
        """See :class:`~runguard_otel.claims.registry.ClaimRegistry`."""
        if await self._fetch(_RENEW, key, token, who.instance, ttl):
            return Renewed()
        for row in await self._fetch(_READ, key):
            return Superseded(*row)
        return Missing()

    async def release(self, key: str, who: Holder, token: int) -> bool:
        """See :class:`~runguard_otel.claims.registry.ClaimRegistry`."""
        return bool(await self._fetch(_RELEASE, key, token, who.instance))

    async def abandon(self, key: str, job_id: str, worker: str) -> bool:
        """See :class:`~runguard_otel.claims.registry.ClaimRegistry`."""
        return bool(await self._fetch(_ABANDON, key, job_id, worker))

    async def inspect(self, key: str | None = None) -> list[ClaimRecord]:
        """See :class:`~runguard_otel.claims.registry.ClaimRegistry`."""
        await self.open()
        with asking(self._driver, self._url):
            return await listing(self._driver, TABLE, key)

    async def aclose(self) -> None:
        """See the protocol. A pool that was given to us stays open."""
        self._prepared = False
        self._driver.close()
