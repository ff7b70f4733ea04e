"""``postgresql://``: claims as lease rows, changed by single conditional statements.

No statement relies on a session, so transaction poolers are fine. ``clock_timestamp()`` is the
server's clock at that moment; ``now()`` would stand still from the start of a transaction.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from runguard_otel.claims.redact import redact_url
from runguard_otel.claims.registries.postgres.choice import driver_for
from runguard_otel.claims.registries.postgres.driver import Row, split_options
from runguard_otel.claims.registries.postgres.table import (
    ENDING,
    LEASES,
    asking,
    listing,
    prepare,
)
from runguard_otel.claims.registry import (
    SILENT_LEASES,
    ClaimRecord,
    Granted,
    Held,
    Holder,
    Missing,
    Observation,
    Renewed,
    Superseded,
)
from runguard_otel.errors import SettingsError

__all__ = ["PostgresRegistry"]

# A running lease is given away if its holder ends, or was watched without a renewal.
_GIVEN = f"(c.how = '{ENDING}' OR (c.tok = ${{0}}::bigint AND c.n = ${{1}}::bigint))"

_PEEK = f"""
SELECT tok, n, inst, job, extract(epoch FROM till - clock_timestamp())::float8, wrk,
    extract(epoch FROM clock_timestamp() - at)::float8
FROM {LEASES} AS c
WHERE k = $1 AND job <> $2 AND till > clock_timestamp() AND NOT {_GIVEN.format(3, 4)}
"""

# ``how`` and the token are computed from the old row ``c`` inside the one statement that takes it.
_SAME = "c.job = EXCLUDED.job AND c.inst = EXCLUDED.inst AND c.till > '-infinity'"
_TAKE = f"""
INSERT INTO {LEASES} AS c (k, tok, job, inst, wrk, at, till, n, how)
VALUES ($1, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint, $2, $3, $4,
        clock_timestamp(), clock_timestamp() + $5::float8 * interval '1 second', 0, 'new')
ON CONFLICT (k) DO UPDATE SET
    tok = CASE WHEN {_SAME} THEN c.tok ELSE greatest(c.tok + 1, EXCLUDED.tok) END,
    how = CASE WHEN c.till = '-infinity' THEN 'new'
               WHEN c.job = EXCLUDED.job AND c.inst = EXCLUDED.inst THEN 'reentrant'
               WHEN c.job = EXCLUDED.job THEN 'handoff'
               WHEN c.how = '{ENDING}' THEN 'passed_on'
               ELSE 'takeover' END,
    n = CASE WHEN {_SAME} THEN c.n + 1 ELSE 0 END,
    at = CASE WHEN {_SAME} THEN c.at ELSE clock_timestamp() END,
    job = EXCLUDED.job, inst = EXCLUDED.inst, wrk = EXCLUDED.wrk,
    till = clock_timestamp() + $5::float8 * interval '1 second'
WHERE c.till <= clock_timestamp() OR c.job = EXCLUDED.job OR {_GIVEN.format(6, 7)}
RETURNING tok, how
"""

_RENEW = f"""
UPDATE {LEASES} SET till = clock_timestamp() + $4::float8 * interval '1 second', n = n + 1,
    how = CASE WHEN $5::boolean THEN '{ENDING}' ELSE 'renewed' END
WHERE k = $1 AND tok = $2 AND inst = $3 AND till > '-infinity' RETURNING tok
"""
_READ = f"SELECT tok, job, inst FROM {LEASES} WHERE k = $1"
_RELEASE = f"""
UPDATE {LEASES} SET till = '-infinity'
WHERE k = $1 AND tok = $2 AND inst = $3 AND till > '-infinity' RETURNING tok
"""
_ABANDON = f"""
UPDATE {LEASES} SET till = '-infinity'
WHERE k = $1 AND job = $2 AND wrk = $3 AND till > '-infinity' RETURNING tok
"""


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

    def turn(self) -> AbstractAsyncContextManager[object]:
        """See :class:`~runguard_otel.claims.registry.ClaimRegistry`."""
        return self._driver.turns

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
                await prepare(self._driver, LEASES)
            self._prepared = True

    async def acquire(
        self, key: str, who: Holder, ttl: float, *, observed: Observation | None = None
    ) -> Granted | Held:
        """See the protocol.

        It looks first: a loser's ``INSERT`` would lock and write the row all the same, which
        doubles what a contest costs.
        """
        silent = _silent(observed, ttl)
        while True:
            for token, n, instance, job, *more in await self._fetch(
                _PEEK, key, who.job_id, *silent
            ):
                return Held(token, str(n), instance, job, *more)
            for token, how in await self._fetch(
                _TAKE, key, who.job_id, who.instance, who.worker, ttl, *silent
            ):
                return Granted(token, how)
            # Somebody took it between the two statements: look again, who.

    async def renew(
        self, key: str, who: Holder, token: int, ttl: float, *, ending: bool = False
    ) -> Renewed | Superseded | Missing:
        """See :class:`~runguard_otel.claims.registry.ClaimRegistry`."""
        if await self._fetch(_RENEW, key, token, who.instance, ttl, ending):
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
            return await listing(self._driver, LEASES, key)

    async def aclose(self) -> None:
        """See the protocol. A pool that was given to us stays open."""
        self._prepared = False
        self._driver.close()


def _silent(observed: Observation | None, ttl: float) -> tuple[int, int]:
    """Token and version of a holder that was watched long enough; else of none."""
    if observed is None or observed.unchanged_seconds < SILENT_LEASES * ttl:
        return 0, -1
    return observed.token, int(observed.version)
