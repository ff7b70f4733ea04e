"""Workers of the first release and of this one share a registry while a fleet is updated.

A worker of the first release takes an ending claim for a held one, as it always did. What must not
be: a mark that falls on its claim, or a record of either that the other cannot read.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from runguard_otel.claims.registries.dynamodb.registry import DynamoRegistry
from runguard_otel.claims.registries.postgres.registry import PostgresRegistry
from runguard_otel.claims.registries.redis.registry import RedisRegistry
from runguard_otel.claims.registries.sqlite import SqliteRegistry
from runguard_otel.claims.registry import ClaimRegistry, Held, Observation, Renewed, Superseded
from tests.kit.first_release import FirstDynamo, FirstPostgres, FirstRedis, FirstSqlite
from tests.kit.process import Server
from tests.kit.registries import holder, taken
from tests.kit.servers import postgres_url

pytestmark = pytest.mark.contract

TTL = 0.4


class Fleet(NamedTuple):
    old: ClaimRegistry
    new: ClaimRegistry
    wait: Callable[[float], Awaitable[object]]


@pytest.fixture(params=["sqlite", "redis", "psycopg", "asyncpg", "dynalite"])
async def fleet(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Fleet]:
    name = request.param
    old: ClaimRegistry
    new: ClaimRegistry
    if name == "sqlite":
        path = tmp_path / "claims.sqlite3"
        old, new = FirstSqlite(path), SqliteRegistry(path)
    elif name == "redis":
        server: Server = request.getfixturevalue("redis_server")
        url = f"redis://127.0.0.1:{server.port}"
        old, new = FirstRedis(url), RedisRegistry(url)
    elif name == "dynalite":
        server = request.getfixturevalue("dynalite_server")
        url = f"dynamodb://{uuid.uuid4().hex}?region=us-east-1&endpoint={server.url}&create=true"
        old, new = FirstDynamo(url), DynamoRegistry(url)
    else:
        server = request.getfixturevalue("postgres_server")
        url = postgres_url(server.port, options=f"?driver={name}")
        old, new = FirstPostgres(url), PostgresRegistry(url)
    await old.open()
    await new.open()
    yield Fleet(old, new, asyncio.sleep)
    await old.aclose()
    await new.aclose()


@pytest.fixture
def key() -> str:
    return f"rg:v1:{{{uuid.uuid4().hex}}}"


async def test_the_mark_of_a_new_worker_never_falls_on_an_old_ones_claim(
    fleet: Fleet, key: str
) -> None:
    """Mutant: a mark that is not bound to its token, and that an old grant does not overwrite."""
    ending, successor = holder("AJ_a"), holder("AJ_b")
    first = await taken(fleet.new, key, ending, TTL)
    await fleet.new.renew(key, ending, first.token, TTL, ending=True)
    seen = await fleet.old.acquire(key, successor, TTL)
    assert isinstance(seen, Held), "it behaves as today"
    await fleet.wait(TTL * 1.2)
    watched = Observation(seen.token, seen.version, TTL * 1.2)
    second = await fleet.old.acquire(key, successor, 60, observed=watched)
    assert not isinstance(second, Held)
    assert isinstance(await fleet.new.acquire(key, holder("AJ_c"), 60), Held)
    assert await fleet.old.renew(key, successor, second.token, 60) == Renewed()
    assert isinstance(await fleet.new.acquire(key, holder("AJ_c"), 60), Held)
    (record,) = await fleet.new.inspect(key)
    assert (record.state, record.job_id) == ("held", "AJ_b")
    answer = await fleet.new.renew(key, ending, first.token, 60, ending=True)
    assert answer == Superseded(second.token, "AJ_b", successor.instance)


async def test_a_new_worker_takes_what_an_old_one_left(fleet: Fleet, key: str) -> None:
    old, new = holder("AJ_a"), holder("AJ_b")
    first = await taken(fleet.old, key, old, 60)
    assert isinstance(await fleet.new.acquire(key, new, 60), Held)
    assert await fleet.old.release(key, old, first.token)
    second = await taken(fleet.new, key, new, 60)
    assert second.token > first.token
    assert isinstance(await fleet.old.acquire(key, old, 60), Held)
    assert await fleet.new.renew(key, new, second.token, 60, ending=True) == Renewed()
    assert await fleet.new.renew(key, new, second.token, 60) == Renewed()
    assert await fleet.new.release(key, new, second.token)
    assert (await taken(fleet.old, key, old, 60)).token > second.token
