"""``postgresql://...?mode=advisory``: a claim lives exactly as long as its holder's connection.

The best answer to crashes (another worker takes over within milliseconds) and the worst to hangs (a
stopped worker keeps its room as long as its connection lives). It needs one connection per job
process and does not work behind transaction pooling, where consecutive statements meet different
sessions: it checks itself for that and refuses.

The lock decides. A row beside it keeps what a lock cannot: the fencing token and who holds it.
"""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass

from runguard_otel.claims.postgres import asking, listing, prepare
from runguard_otel.claims.postgres_driver import Row, Session, driver_for, split_options
from runguard_otel.claims.redact import redact_url
from runguard_otel.claims.registry import (
    ClaimRecord,
    Granted,
    Held,
    Holder,
    Missing,
    Observation,
    RegistryUnavailable,
    Renewed,
    Superseded,
)
from runguard_otel.claims.within import within

__all__ = ["PostgresAdvisoryRegistry", "lock_id"]

# A table of its own: its rows have no lease end, which lease mode would wait for without end.
TABLE = "runguard_claim_advisory"
CHECKS = 3
LOOKS = 20

_LOCK = "SELECT pg_try_advisory_lock($1), pg_backend_pid()"
_UNLOCK = "SELECT pg_advisory_unlock($1)"
_READ = f"""
SELECT tok, job, inst, till > '-infinity', (extract(epoch FROM clock_timestamp()) * 1000000)::bigint
FROM {TABLE} WHERE k = $1
"""
_WRITE = f"""
INSERT INTO {TABLE} AS c (k, tok, job, inst, wrk, at, till, n, how)
VALUES ($1, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint, $2, $3, $4,
        clock_timestamp(), 'infinity', 0, 'new')
ON CONFLICT (k) DO UPDATE SET
    tok = CASE WHEN c.inst = EXCLUDED.inst AND c.job = EXCLUDED.job AND c.till > '-infinity'
               THEN c.tok ELSE greatest(c.tok + 1, EXCLUDED.tok) END,
    how = CASE WHEN c.till = '-infinity' THEN 'new'
               WHEN c.job <> EXCLUDED.job THEN 'takeover'
               WHEN c.inst <> EXCLUDED.inst THEN 'handoff'
               ELSE 'reentrant' END,
    job = EXCLUDED.job, inst = EXCLUDED.inst, wrk = EXCLUDED.wrk, n = c.n + 1,
    at = clock_timestamp(), till = 'infinity'
RETURNING tok, how
"""
_TOUCH = f"""
UPDATE {TABLE} SET n = n + 1
WHERE k = $1 AND tok = $2 AND inst = $3 AND till > '-infinity' RETURNING pg_backend_pid()
"""
_RELEASE = f"""
UPDATE {TABLE} SET till = '-infinity' WHERE k = $1 AND tok = $2 AND inst = $3 RETURNING tok
"""
_ABANDON = f"""
UPDATE {TABLE} SET till = '-infinity'
WHERE k = $1 AND job = $2 AND wrk = $3 AND till > '-infinity' RETURNING tok
"""


def lock_id(key: str) -> int:
    """The 64-bit lock of a key. ``hashtext`` has 32 bits: 13 collisions in 300,000 room names."""
    digest = hashlib.blake2b(key.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


@dataclass(frozen=True)
class _Ours:
    who: Holder
    token: int


class PostgresAdvisoryRegistry:
    """See :class:`~runguard_otel.claims.registry.ClaimRegistry`. The ``ttl`` means nothing here.

    Args:
        url: As for ``PostgresRegistry``; a pool cannot be given, because the connection is the
            claim.
    """

    backend = "postgres"
    default_timeout = 0.25

    def __init__(self, url: str) -> None:
        self._url, options = split_options(url)
        self._driver = driver_for(self._url, options.get("driver"))
        self._session: Session | None = None
        self._pid = 0
        # Advisory locks are re-entrant: their session would be granted them again for another job.
        self._ours: dict[str, _Ours] = {}
        self._turn = asyncio.Lock()

    def __repr__(self) -> str:
        return f"PostgresAdvisoryRegistry({redact_url(self._url)!r})"

    async def open(self) -> None:
        """See the protocol.

        Raises:
            RegistryUnavailable: Also if a transaction pooler stands in between.
        """
        async with self._turn:
            await self._connect()

    async def _connect(self) -> Session:
        if self._session is None:
            with asking(self._driver, self._url):
                session = await self._driver.connect()
                try:
                    pid = await self._direct(session)
                    await prepare(self._driver, TABLE)
                except BaseException:
                    session.close()
                    raise
            self._session, self._pid = session, pid
        return self._session

    async def _direct(self, session: Session) -> int:
        """The backend of our session, if it is ours alone."""
        other = await self._driver.connect()
        try:
            (first,) = await session.fetch("SELECT pg_backend_pid()")
            for _ in range(CHECKS):
                # While the other is inside a transaction, a pooler must give us another backend.
                await other.fetch("BEGIN")
                (theirs,) = await other.fetch("SELECT pg_backend_pid()")
                (again,) = await within(1, session.fetch("SELECT pg_backend_pid()"))
                await other.fetch("ROLLBACK")
                if again != first or theirs == first:
                    raise RegistryUnavailable(_POOLED)
        except asyncio.TimeoutError:
            raise RegistryUnavailable(_POOLED) from None
        finally:
            other.close()
        return int(first[0])

    async def _fetch(self, statement: str, *args: object) -> list[Row]:
        session = await self._connect()
        try:
            with asking(self._driver, self._url):
                return await session.fetch(statement, *args)
        except (RegistryUnavailable, asyncio.CancelledError):
            # Whatever happened to it: without this connection there are no locks.
            self._drop()
            raise

    def _drop(self) -> None:
        session, self._session = self._session, None
        self._ours.clear()
        if session is not None:
            session.close()

    async def _lock(self, key: str) -> bool:
        ((got, pid),) = await self._fetch(_LOCK, lock_id(key))
        if pid != self._pid:
            self._drop()
            raise RegistryUnavailable(_POOLED)
        return bool(got)

    async def acquire(
        self, key: str, who: Holder, ttl: float, *, observed: Observation | None = None
    ) -> Granted | Held:
        """See the protocol. A hand-off waits until the old connection has ended.

        A held lock proves its holder's connection alive, so every :class:`Held` has a new version.
        """
        async with self._turn:
            ours = self._ours.get(key)
            if ours is not None and (ours.who.job_id, ours.who.instance) == _identity(who):
                await self._touch(key, ours.token, who)
                return Granted(ours.token, "reentrant")
            for _ in range(LOOKS):
                if ours is None and await self._lock(key):
                    return await self._write(key, who)
                for token, job, instance, held, now in await self._fetch(_READ, key):
                    if held:
                        return Held(token, str(now), instance, job, None)
                # The holder is between its lock and its row, or between its row and its unlock.
                await asyncio.sleep(0.01)
            raise RegistryUnavailable(f"PostgreSQL: {key} is locked, but {TABLE} has no row for it")

    async def _touch(self, key: str, token: int, who: Holder) -> bool:
        for (pid,) in await self._fetch(_TOUCH, key, token, who.instance):
            if pid != self._pid:
                self._drop()
                raise RegistryUnavailable(_POOLED)
            return True
        return False

    async def _write(self, key: str, who: Holder) -> Granted:
        ((token, how),) = await self._fetch(_WRITE, key, who.job_id, who.instance, who.worker)
        self._ours[key] = _Ours(who, token)
        return Granted(token, how)

    async def renew(
        self, key: str, who: Holder, token: int, ttl: float
    ) -> Renewed | Superseded | Missing:
        """See the protocol. After a lost connection it takes the lock again, if nobody did."""
        async with self._turn:
            if key not in self._ours and not await self._lock(key):
                return await self._other(key)
            if await self._touch(key, token, who):
                self._ours.setdefault(key, _Ours(who, token))
                return Renewed()
            answer = await self._other(key)
            if key not in self._ours:
                await self._fetch(_UNLOCK, lock_id(key))
            return answer

    async def _other(self, key: str) -> Superseded | Missing:
        for token, job, instance, _, _ in await self._fetch(_READ, key):
            return Superseded(token, job, instance)
        return Missing()

    async def release(self, key: str, who: Holder, token: int) -> bool:
        """See the protocol. The row first, then the lock: a rival sees "released", never nobody."""
        async with self._turn:
            ours = self._ours.get(key)
            if ours is None or ours.token != token or ours.who.instance != who.instance:
                return False
            released = await self._fetch(_RELEASE, key, token, who.instance)
            await self._fetch(_UNLOCK, lock_id(key))
            self._ours.pop(key, None)
            return bool(released)

    async def abandon(self, key: str, job_id: str, worker: str) -> bool:
        """See the protocol. A dead process's lock is gone with it; this only tidies its row."""
        async with self._turn:
            if key in self._ours or not await self._lock(key):
                return False
            done = await self._fetch(_ABANDON, key, job_id, worker)
            await self._fetch(_UNLOCK, lock_id(key))
            return bool(done)

    async def inspect(self, key: str | None = None) -> list[ClaimRecord]:
        """See the protocol. After a crash a row says ``held`` until somebody claims the key."""
        with asking(self._driver, self._url):
            await prepare(self._driver, TABLE)
            return await listing(self._driver, TABLE, key)

    async def aclose(self) -> None:
        """See the protocol. Ends every claim of this registry."""
        async with self._turn:
            self._drop()
            self._driver.close()


def _identity(who: Holder) -> tuple[str, str]:
    return who.job_id, who.instance


_POOLED = (
    "PostgreSQL: mode=advisory cannot work behind a transaction pooler (statements of one client "
    "meet different sessions); connect directly, use session pooling, or use mode=lease"
)
