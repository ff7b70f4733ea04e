"""Many claims at once through few connections: a full pool is no unreachable registry."""

from __future__ import annotations

import asyncio
import uuid
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any

import asyncpg
import psycopg_pool
import pytest
import redis.asyncio

from runguard_otel.claims.circuit import BoundedRegistry, Circuit
from runguard_otel.claims.guard import JobDispatchGuard
from runguard_otel.claims.registries.postgres.registry import PostgresRegistry
from runguard_otel.claims.registry import ClaimRegistry, Granted
from tests.kit.process import Server
from tests.kit.registries import holder
from tests.kit.servers import postgres_url

pytestmark = pytest.mark.contract

CLAIMS = 200


@pytest.mark.parametrize("connections", [None, 3])
async def test_two_hundred_claims_of_one_process_have_one_winner_and_no_warning(
    redis_server: Server, caplog: pytest.LogCaptureFixture, connections: int | None
) -> None:
    """Mutant: no queue of our own. Beyond the client's limit every claim fails open and wins."""
    url = f"redis://127.0.0.1:{redis_server.port}"
    room = uuid.uuid4().hex
    async with redis.asyncio.from_url(url, max_connections=connections) as client:
        guards = [JobDispatchGuard(room, f"worker-{n}", client) for n in range(CLAIMS)]
        won = await asyncio.gather(*(guard.claim(timeout_seconds=0) for guard in guards))
        assert sum(won) == 1
        (winner,) = (guard for guard, served in zip(guards, won, strict=True) if served)
        assert winner.verified
        assert caplog.records == []
        await winner.release()


async def test_connections_that_the_user_needs_are_waited_for(
    redis_server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """The client is the user's, and may be in use by others than us."""
    url = f"redis://127.0.0.1:{redis_server.port}"
    async with redis.asyncio.from_url(url, max_connections=1) as client:
        blocking = asyncio.ensure_future(client.blpop(["a list that stays empty"], timeout=1))
        await asyncio.sleep(0.05)
        guard = JobDispatchGuard(uuid.uuid4().hex, "worker", client)
        assert await guard.claim() and guard.verified
        assert blocking.done()
        assert caplog.records == []
        await guard.release()
        await blocking


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
async def test_a_full_pool_of_the_user_is_no_outage(
    postgres_server: Server, caplog: pytest.LogCaptureFixture, driver: str
) -> None:
    url = postgres_url(postgres_server.port)

    async def rush(registry: ClaimRegistry, taken: asyncio.Event) -> None:
        key, circuit = f"rg:v1:{{{uuid.uuid4().hex}}}", Circuit()
        bounded = [BoundedRegistry(registry, 0.25, circuit, lambda *_: None) for _ in range(CLAIMS)]
        asyncio.get_running_loop().call_later(0.6, taken.set)
        answers = await asyncio.gather(
            *(b.acquire(key, holder(f"AJ_{n}"), 60) for n, b in enumerate(bounded))
        )
        assert sum(isinstance(answer, Granted) for answer in answers) == 1

    async def hold(
        connection: AbstractAsyncContextManager[object], until: asyncio.Event, held: asyncio.Event
    ) -> None:
        async with connection:
            held.set()
            await until.wait()

    until, held = asyncio.Event(), asyncio.Event()
    async with AsyncExitStack() as stack:
        pool: Any
        if driver == "psycopg":
            pool = psycopg_pool.AsyncConnectionPool(url, min_size=1, max_size=1, open=False)
        else:
            pool = asyncpg.create_pool(url, min_size=1, max_size=1)
        await stack.enter_async_context(pool)
        registry = PostgresRegistry(pool=pool)
        await registry.open()
        connection = pool.connection() if driver == "psycopg" else pool.acquire()
        user = asyncio.create_task(hold(connection, until, held))
        await held.wait()
        await rush(registry, until)
        await user
    assert caplog.records == []
