"""``redis://``: claims in Redis or Valkey, one hash per claim, changed by scripts only."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

from redis.exceptions import ConnectionError as Disconnected
from redis.exceptions import MaxConnectionsError, RedisClusterException, RedisError
from redis.exceptions import TimeoutError as TooSlow

from runguard_otel.claims.redact import redact_url, scrub
from runguard_otel.claims.registries.redis import scripts as scripts
from runguard_otel.claims.registries.redis.client import CONNECTIONS, connect
from runguard_otel.claims.registry import (
    SILENT_LEASES,
    ClaimRecord,
    Granted,
    Held,
    Holder,
    How,
    Missing,
    Observation,
    RegistryBusy,
    RegistryUnavailable,
    Renewed,
    Superseded,
    UnreadableRecord,
    readable,
)
from runguard_otel.claims.turns import turns_of
from runguard_otel.errors import SettingsError

if TYPE_CHECKING:
    from redis.asyncio import Redis
    from redis.asyncio.cluster import RedisCluster
    from redis.commands.core import AsyncScript

__all__ = ["RedisRegistry"]

logger = logging.getLogger("runguard_otel")

WAIT_MS = 100
"""How long a grant waits for its replicas, in milliseconds."""
_KEYS = "rg:v1:*"
_PATIENCE = 10
T = TypeVar("T")
# RedisClusterException is no RedisError. Before Python 3.11 asyncio's TimeoutError is no OSError.
_ERRORS = (
    RedisError,
    RedisClusterException,
    OSError,
    asyncio.TimeoutError,
    asyncio.IncompleteReadError,
)


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


class RedisRegistry:
    """See :class:`~runguard_otel.claims.registry.ClaimRegistry`. Unchanged on Valkey.

    Args:
        url: See :func:`~runguard_otel.claims.registries.redis.client.connect`.
        client: A ready ``redis.asyncio`` client instead, with its own timeouts and retries. It is
            not closed by us.
        wait_replicas: A grant counts only when this many replicas have it; this narrows what a
            failover can lose, at one more round trip. Not with a cluster URL.

    Raises:
        SettingsError: Unless exactly one of ``url`` and ``client`` is given, or the URL is bad.
    """

    backend = "redis"
    default_timeout = 0.25

    def __init__(
        self,
        url: str | None = None,
        *,
        client: Redis | RedisCluster | None = None,
        wait_replicas: int = 0,
    ) -> None:
        if (url is None) == (client is None):
            raise SettingsError("RedisRegistry takes either a url or a client")
        if wait_replicas and not hasattr(client, "connection_pool") and "+cluster" in (url or ""):
            raise SettingsError("claims_redis_wait_replicas does not work with redis+cluster://")
        self._url = url or ""
        self._closing: list[Any] = []
        if client is None:
            client, self._closing = connect(self._url)
        self._client = cast("Redis", client)
        self._wait_replicas = wait_replicas
        # redis-py's own waiting pool costs 20 us a call, a tenth of a claim.
        pool = getattr(client, "connection_pool", None)
        self._turns = turns_of(
            client, min(CONNECTIONS, getattr(pool, "max_connections", CONNECTIONS))
        )
        self._acquire = self._register(scripts.ACQUIRE)
        self._renew = self._register(scripts.RENEW)
        self._release = self._register(scripts.RELEASE)
        self._abandon = self._register(scripts.ABANDON)

    def _register(self, source: str) -> AsyncScript:
        return self._client.register_script(source)

    def __repr__(self) -> str:
        return f"RedisRegistry({redact_url(self._url) or self._client.__class__.__name__!r})"

    def turn(self) -> AbstractAsyncContextManager[object]:
        """See the protocol. All registries of one client wait in one queue."""
        return self._turns

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """Turn what the client raises into the one exception a registry may raise."""
        try:
            with readable("Redis"):
                yield
        except MaxConnectionsError:
            raise RegistryBusy("Redis: every connection of the client is in use") from None
        except _ERRORS as error:
            kind = UnreadableRecord if str(error).startswith("WRONGTYPE") else RegistryUnavailable
            # ``from None``: a chained driver error would bring the credentials back into the log.
            raise kind(f"Redis: {type(error).__name__}: {scrub(str(error), self._url)}") from None

    async def _run(self, script: AsyncScript, key: str, *args: str | int) -> Any:
        """Run a script; once more on a new connection if an idle one turned out to be closed.

        A server that was restarted, or that closes idle connections, is no outage. Asking twice is
        harmless: every script answers the same instance the same way. A timeout is not retried.
        """
        with self._asking():
            try:
                return await script(keys=[key], args=args)
            except Disconnected as error:
                if type(error) is not Disconnected:  # a subclass is an answer: bad login
                    raise
                pool = getattr(self._client, "connection_pool", None)
                if pool is not None:
                    await pool.disconnect(inuse_connections=False)
                return await script(keys=[key], args=args)

    async def open(self) -> None:
        """Connect and load the scripts, so that the first claim is one short round trip."""
        with self._asking():
            for script in (self._acquire, self._renew, self._release, self._abandon):
                await _patiently(partial(self._client.script_load, script.script))
        await self._warn_of_eviction()

    async def _warn_of_eviction(self) -> None:
        try:
            memory = await self._client.info("memory")
        except _ERRORS:  # the least-privilege user may not ask
            return
        policy = memory.get("maxmemory_policy", "noeviction")
        if memory.get("maxmemory") and policy != "noeviction":
            logger.warning(
                "the claim registry's Redis may evict claims under memory pressure "
                "(maxmemory-policy %s): a room could be served twice; use noeviction",
                policy,
            )

    async def acquire(
        self, key: str, who: Holder, ttl: float, *, observed: Observation | None = None
    ) -> Granted | Held:
        """See :class:`~runguard_otel.claims.registry.ClaimRegistry`."""
        args: list[str | int] = [
            who.job_id,
            who.instance,
            who.worker,
            _ms(ttl),
            scripts.RETENTION_MS,
            *_silent(observed, ttl),
        ]
        if self._wait_replicas:
            with self._asking():
                answer = await self._acquire_replicated(key, args)
        else:
            answer = await self._run(self._acquire, key, *args)
        with readable("Redis"):
            if int(answer[0]) == 1:
                return Granted(int(answer[1]), cast("How", _text(answer[2])))
            token, version, instance, job, remaining, worker, held_for = map(_text, answer[1:])
            seconds = int(remaining) / 1e6, int(held_for) / 1e6
            return Held(int(token), version, instance, job, seconds[0], worker, seconds[1])

    async def _acquire_replicated(self, key: str, args: list[str | int]) -> Any:
        # WAIT speaks of the writes of its own connection, so both travel in one pipeline.
        async with self._client.pipeline(transaction=False) as pipe:
            await self._acquire(keys=[key], args=args, client=pipe)
            pipe.execute_command("WAIT", self._wait_replicas, WAIT_MS)
            answer, copies = await pipe.execute()
        if int(answer[0]) == 1 and int(copies) < self._wait_replicas:
            raise RegistryUnavailable(
                f"Redis: granted, but {copies} of {self._wait_replicas} replicas confirmed it "
                f"within {WAIT_MS} ms"
            )
        return answer

    async def renew(
        self, key: str, who: Holder, token: int, ttl: float, *, ending: bool = False
    ) -> Renewed | Superseded | Missing:
        """See :class:`~runguard_otel.claims.registry.ClaimRegistry`."""
        mark = token if ending else 0
        answer = await self._run(
            self._renew, key, who.instance, token, _ms(ttl), scripts.RETENTION_MS, mark
        )
        with readable("Redis"):
            if int(answer[0]) == 1:
                return Renewed()
            if int(answer[0]) == 0:
                return Missing()
            return Superseded(int(answer[1]), _text(answer[2]), _text(answer[3]))

    async def release(self, key: str, who: Holder, token: int) -> bool:
        """See the protocol. After a broken connection it may say no to what it did before."""
        return bool(await self._run(self._release, key, who.instance, token, scripts.RETENTION_MS))

    async def abandon(self, key: str, job_id: str, worker: str) -> bool:
        """See :class:`~runguard_otel.claims.registry.ClaimRegistry`."""
        return bool(await self._run(self._abandon, key, job_id, worker, scripts.RETENTION_MS))

    async def inspect(self, key: str | None = None) -> list[ClaimRecord]:
        """See the protocol. All records are found by scanning, which needs no index."""
        records = []
        with self._asking():
            keys = [key] if key else await _patiently(self._names)
        for name in keys:
            with suppress(*() if key else (UnreadableRecord,)), self._asking():
                records.append(await _patiently(partial(self._record, name)))
        return [record for record in records if record is not None]

    async def _names(self) -> list[str]:
        return sorted([_text(k) async for k in self._client.scan_iter(_KEYS)])

    async def _record(self, key: str) -> ClaimRecord | None:
        fields = ("tok", "job", "inst", "wrk", "at", "till", "n", "ending")
        # redis-py types these for its sync client too, hence the cast.
        found = await cast("Any", self._client.hmget(key, list(fields)))
        if found[0] is None:
            return None
        seconds, micros = await cast("Any", self._client.time())
        tok, job, inst, wrk, at, till, n, ending = (_text(value) for value in found)
        left = int(till) / 1e6 - int(seconds) - int(micros) / 1e6
        state: Literal["held", "ending", "released"] = "ending" if ending == tok else "held"
        if till == "0":
            state = "released"
        acquired = int(at) / 1e6
        return ClaimRecord(key, int(tok), job, inst, wrk, acquired, max(0.0, left), n, state)

    async def aclose(self) -> None:
        """Close our own client; one that was given to us stays open."""
        while self._closing:
            await self._closing.pop().aclose()


async def _patiently(ask: Callable[[], Awaitable[T]]) -> T:
    """Ask again after a timeout, where no call waits and asking twice is harmless.

    The timeout is made for one claim before a call. Among thousands of records that people list one
    may exceed it, and so may the first connection, which a busy machine makes before any call.
    """
    for _ in range(_PATIENCE):
        with suppress(TooSlow):
            return await ask()
    return await ask()


def _silent(observed: Observation | None, ttl: float) -> tuple[int, str]:
    """Token and version of a holder that was watched long enough; else of none."""
    if observed is None or observed.unchanged_seconds < SILENT_LEASES * ttl:
        return 0, ""
    return observed.token, observed.version


def _ms(seconds: float) -> int:
    return max(1, round(seconds * 1000))
