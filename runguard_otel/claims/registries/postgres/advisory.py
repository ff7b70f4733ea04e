"""``postgresql://...?mode=advisory``: a claim lives exactly as long as its holder's connection.

The best answer to crashes (another worker takes over within milliseconds) and the worst to hangs (a
stopped worker keeps its room as long as its connection lives). It needs one connection per job
process and does not work behind transaction pooling, where consecutive statements meet different
sessions: it checks itself for that and refuses.

The lock decides. A row beside it keeps what a lock cannot: the fencing token and who holds it. A
holder that ends says so in its row and gives up the lock; it takes it back to serve again.
"""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from runguard_otel.claims.redact import redact_url
from runguard_otel.claims.registries.postgres.choice import driver_for
from runguard_otel.claims.registries.postgres.driver import Row, Session, split_options
from runguard_otel.claims.registries.postgres.table import (
    ADVISORY,
    ENDING,
    asking,
    listing,
    prepare,
)
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

CHECKS = 3
LOOKS = 20

_LOCK = "SELECT pg_try_advisory_lock($1), pg_backend_pid()"
_UNLOCK = "SELECT pg_advisory_unlock($1)"
_READ = f"""
SELECT tok, job, inst, wrk, till > '-infinity' AND how <> '{ENDING}',
    (extract(epoch FROM clock_timestamp()) * 1000000)::bigint,
    extract(epoch FROM clock_timestamp() - at)::float8
FROM {ADVISORY} WHERE k = $1
"""
_WRITE = f"""
INSERT INTO {ADVISORY} AS c (k, tok, job, inst, wrk, at, till, n, how)
VALUES ($1, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint, $2, $3, $4,
        clock_timestamp(), 'infinity', 0, 'new')
ON CONFLICT (k) DO UPDATE SET
    tok = CASE WHEN c.inst = EXCLUDED.inst AND c.job = EXCLUDED.job AND c.till > '-infinity'
               THEN c.tok ELSE greatest(c.tok + 1, EXCLUDED.tok) END,
    how = CASE WHEN c.till = '-infinity' THEN 'new'
               WHEN c.job = EXCLUDED.job AND c.inst = EXCLUDED.inst THEN 'reentrant'
               WHEN c.job = EXCLUDED.job THEN 'handoff'
               WHEN c.how = '{ENDING}' THEN 'passed_on'
               ELSE 'takeover' END,
    job = EXCLUDED.job, inst = EXCLUDED.inst, wrk = EXCLUDED.wrk, n = c.n + 1,
    at = clock_timestamp(), till = 'infinity'
RETURNING tok, how
"""
_TOUCH = f"""
UPDATE {ADVISORY} SET n = n + 1, how = CASE WHEN $4::boolean THEN '{ENDING}' ELSE 'renewed' END
WHERE k = $1 AND tok = $2 AND inst = $3 AND till > '-infinity' RETURNING pg_backend_pid()
"""
_RELEASE = f"""
UPDATE {ADVISORY} SET till = '-infinity'
WHERE k = $1 AND tok = $2 AND inst = $3 AND till > '-infinity' RETURNING tok
"""
_ABANDON = f"""
UPDATE {ADVISORY} SET till = '-infinity'
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
        self._one_call = asyncio.Lock()

    def turn(self) -> AbstractAsyncContextManager[object]:
        """See the protocol: one connection, one call."""
        return self._one_call

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
                    await prepare(self._driver, ADVISORY)
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
                for token, job, instance, worker, held, now, seconds in await self._fetch(
                    _READ, key
                ):
                    if held:
                        return Held(token, str(now), instance, job, None, worker, seconds)
                # The holder is between its lock and its row, or between its row and its unlock.
                await asyncio.sleep(0.01)
            raise RegistryUnavailable(f"PostgreSQL: {key} is locked, but {ADVISORY} has no row")

    async def _touch(self, key: str, token: int, who: Holder, *, ending: bool = False) -> bool:
        for (pid,) in await self._fetch(_TOUCH, key, token, who.instance, ending):
            if pid != self._pid:
                self._drop()
                raise RegistryUnavailable(_POOLED)
            return True
        return False

    async def _unlock(self, key: str) -> None:
        if self._ours.pop(key, None) is not None:
            await self._fetch(_UNLOCK, lock_id(key))

    async def _write(self, key: str, who: Holder) -> Granted:
        ((token, how),) = await self._fetch(_WRITE, key, who.job_id, who.instance, who.worker)
        self._ours[key] = _Ours(who, token)
        return Granted(token, how)

    async def renew(
        self, key: str, who: Holder, token: int, ttl: float, *, ending: bool = False
    ) -> Renewed | Superseded | Missing:
        """See the protocol. After a lost connection it takes the lock again if it is free.

        Whoever ends gives the lock away first of all, and looks only whether its row is its own.
        """
        async with self._turn:
            if not ending and key not in self._ours and not await self._lock(key):
                return await self._other(key)
            if await self._touch(key, token, who, ending=ending):
                if ending:
                    await self._unlock(key)
                else:
                    self._ours.setdefault(key, _Ours(who, token))
                return Renewed()
            answer = await self._other(key)
            if key not in self._ours and not ending:
                await self._fetch(_UNLOCK, lock_id(key))
            return answer

    async def _other(self, key: str) -> Superseded | Missing:
        for token, job, instance, *_ in await self._fetch(_READ, key):
            return Superseded(token, job, instance)
        return Missing()

    async def release(self, key: str, who: Holder, token: int) -> bool:
        """See the protocol. The row first, then the lock: a rival sees "released", never a gap."""
        async with self._turn:
            ours = self._ours.get(key)
            if ours is not None and (ours.token, ours.who.instance) != (token, who.instance):
                return False
            released = await self._fetch(_RELEASE, key, token, who.instance)
            await self._unlock(key)
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
            await prepare(self._driver, ADVISORY)
            return await listing(self._driver, ADVISORY, key)

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
