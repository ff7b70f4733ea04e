"""The networked registries keep the contract, each against its real server."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable

import psycopg
import pytest
import redis.asyncio
from aiobotocore.session import get_session

from runguard_otel.claims.registries.dynamodb.registry import DynamoRegistry
from runguard_otel.claims.registries.postgres.advisory import PostgresAdvisoryRegistry
from runguard_otel.claims.registries.postgres.registry import PostgresRegistry
from runguard_otel.claims.registries.redis.registry import RedisRegistry
from runguard_otel.claims.registry import ClaimRegistry
from tests.contract.registry_contract import *  # noqa: F403 - the suite
from tests.kit.process import Server
from tests.kit.redis_claims import ask
from tests.kit.registries import Bench
from tests.kit.servers import postgres_url

pytestmark = pytest.mark.contract

ADVISORY_DIFFERS = {
    # A lock has no lease: what follows from a lease that runs out has no meaning there.
    "test_a_hand_off_fences_the_older_instance",
    "test_abandon_releases_what_a_dead_process_of_this_worker_held",
    "test_an_expired_lease_is_taken_over_and_the_old_holder_learns_it",
    "test_tokens_strictly_increase_over_a_life_of_changes",
    "test_who_was_watched_for_two_leases_without_a_renewal_is_taken_over",
    # Nor is a row's end ever read.
    "test_a_record_of_a_foreign_writer_is_unavailable_and_nothing_else",
}
"""What mode=advisory answers otherwise, tested in test_claim_postgres.py."""
KEY = object()


def redis_bench(server: Server) -> Bench:
    url = f"redis://127.0.0.1:{server.port}"

    async def forget() -> None:
        async with redis.asyncio.from_url(url) as client:
            await client.flushall()

    def spoil(*words: object) -> Callable[[str], Awaitable[None]]:
        async def put(key: str) -> None:
            async with redis.asyncio.from_url(url) as client:
                await ask(client, *(key if word is KEY else word for word in words))

        return put

    # What is promised here is the answer; how long a claim waits for one is tested elsewhere.
    patient = f"{url}?socket_connect_timeout=5&socket_timeout=5"
    return Bench(
        lambda: RedisRegistry(patient),
        asyncio.sleep,
        ttl=0.4,
        forget=forget,
        contenders=200,
        spoil=(
            spoil("HSET", KEY, "tok", "seven"),
            spoil("HSET", KEY, "till", "soon", "n", b"\xff"),
            spoil("HDEL", KEY, "at"),
            spoil("SET", KEY, "a string"),
        ),
    )


def postgres_bench(server: Server, make: Callable[[str], ClaimRegistry], table: str) -> Bench:
    url = postgres_url(server.port)

    async def forget() -> None:
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
            await connection.execute(f"TRUNCATE {table}".encode())

    async def never(key: str) -> None:
        """A row that must not be subtracted from."""
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
            statement = f"UPDATE {table} SET till = 'infinity', tok = {2**63 - 1} WHERE k = %s"
            await connection.execute(statement.encode(), (key,))

    return Bench(lambda: make(url), asyncio.sleep, 0.4, forget, contenders=100, spoil=(never,))


def dynamo_bench(server: Server, contenders: int) -> Bench:
    table = f"claims-{uuid.uuid4().hex}"
    url = f"dynamodb://{table}?region=us-east-1&endpoint={server.url}&create=true"

    async def forget() -> None:
        registry = DynamoRegistry(url)
        keys = [record.key for record in await registry.inspect()]
        await registry.aclose()
        create = get_session().create_client
        async with create("dynamodb", region_name="us-east-1", endpoint_url=server.url) as client:
            for key in keys:
                await client.delete_item(TableName=table, Key={"k": {"S": key}})

    async def replace(key: str) -> None:
        create = get_session().create_client
        async with create("dynamodb", region_name="us-east-1", endpoint_url=server.url) as client:
            await client.put_item(TableName=table, Item={"k": {"S": key}, "tok": {"S": "seven"}})

    return Bench(lambda: DynamoRegistry(url), asyncio.sleep, 0.4, forget, contenders, (replace,))


BACKENDS = (
    "redis", "valkey", "psycopg", "asyncpg", "pgbouncer-psycopg", "pgbouncer-asyncpg",
    "advisory-psycopg", "advisory-asyncpg", "dynalite", "moto",
)  # fmt: skip


@pytest.fixture(params=BACKENDS)
async def bench(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    name = request.param
    server = {
        "redis": "redis_server", "valkey": "valkey_server", "dynalite": "dynalite_server",
        "moto": "moto_server", "pgbouncer": "pgbouncer",
    }.get(name.partition("-")[0], "postgres_server")  # fmt: skip
    running: Server = request.getfixturevalue(server)
    driver = f"?driver={name.rpartition('-')[2]}"
    if name in ("redis", "valkey"):
        yield redis_bench(running)
    elif name in ("dynalite", "moto"):
        yield dynamo_bench(running, contenders=50 if name == "dynalite" else 12)
    elif name.startswith("advisory"):
        if request.node.originalname in ADVISORY_DIFFERS:
            pytest.skip("a lock has no lease that ends")
        yield postgres_bench(
            running, lambda url: PostgresAdvisoryRegistry(url + driver), "runguard_claim_advisory"
        )
    else:
        yield postgres_bench(running, lambda url: PostgresRegistry(url + driver), "runguard_claim")
