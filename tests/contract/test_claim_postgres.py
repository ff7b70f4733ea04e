"""Claims in PostgreSQL: least rights, pools given to us, and locks instead of leases."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator

import asyncpg
import psycopg
import psycopg_pool
import pytest

from runguard_otel.claims.registries.open import open_registry
from runguard_otel.claims.registries.postgres.advisory import PostgresAdvisoryRegistry, lock_id
from runguard_otel.claims.registries.postgres.registry import PostgresRegistry
from runguard_otel.claims.registry import (
    Granted,
    Held,
    RegistryUnavailable,
    Renewed,
    Superseded,
)
from runguard_otel.cli.claims.init import grants
from runguard_otel.errors import SettingsError
from runguard_otel.settings import Settings
from tests.kit.process import Server
from tests.kit.registries import holder
from tests.kit.servers import postgres_url

pytestmark = pytest.mark.contract

DRIVERS = ("psycopg", "asyncpg")


@pytest.fixture
def key() -> str:
    return f"rg:v1:{{{uuid.uuid4().hex}}}"


@pytest.fixture
async def admin(postgres_server: Server) -> AsyncIterator[psycopg.AsyncConnection]:
    url = postgres_url(postgres_server.port)
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        yield connection


async def run(admin: psycopg.AsyncConnection, *statements: str) -> None:
    for statement in statements:
        await admin.execute(statement.encode())


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("mode", ["lease", "advisory"])
async def test_the_documented_grants_are_enough_and_all_a_role_has(
    postgres_server: Server, admin: psycopg.AsyncConnection, key: str, driver: str, mode: str
) -> None:
    url = postgres_url(postgres_server.port)
    for made in (PostgresRegistry(url), PostgresAdvisoryRegistry(url)):  # `claims init`
        await made.open()
        await made.aclose()
    role = f"claimer_{mode}_{driver}"
    await run(admin, f"CREATE ROLE {role} LOGIN", *grants(role))
    options = f"?driver={driver}&mode={mode}"
    registry = open_registry(
        postgres_url(postgres_server.port, user=role, options=options), Settings()
    )
    await registry.open()
    who = holder("AJ_a")
    granted = await registry.acquire(key, who, 5)
    assert isinstance(granted, Granted)
    assert await registry.renew(key, who, granted.token, 5) == Renewed()
    assert isinstance(await registry.acquire(key, holder("AJ_b"), 5), Held)
    assert await registry.inspect(key)
    assert await registry.release(key, who, granted.token)
    await registry.aclose()
    await run(admin, "CREATE TABLE IF NOT EXISTS private (x int)")
    login = postgres_url(postgres_server.port, user=role)
    async with await psycopg.AsyncConnection.connect(login) as connection:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await connection.execute("SELECT * FROM private")


async def test_a_missing_table_that_may_not_be_created_is_explained(
    postgres_server: Server, admin: psycopg.AsyncConnection
) -> None:
    await run(admin, "CREATE ROLE poor LOGIN", "CREATE DATABASE empty")
    url = f"postgresql://poor:hunter22@127.0.0.1:{postgres_server.port}/empty"
    registry = PostgresRegistry(url)
    with pytest.raises(RegistryUnavailable, match="runguard-otel claims init") as caught:
        await registry.open()
    assert "hunter22" not in str(caught.value)
    await registry.aclose()


async def test_workers_that_start_at_once_create_the_table_once(
    postgres_server: Server, admin: psycopg.AsyncConnection, key: str
) -> None:
    await run(admin, "CREATE DATABASE fresh")
    url = f"postgresql://postgres@127.0.0.1:{postgres_server.port}/fresh"
    registries = [PostgresRegistry(url) for _ in range(8)]
    await asyncio.gather(*(registry.open() for registry in registries))
    assert isinstance(await registries[0].acquire(key, holder(), 5), Granted)
    for registry in registries:
        await registry.aclose()


async def test_rows_of_long_ago_are_purged_when_a_worker_starts(
    postgres_server: Server, admin: psycopg.AsyncConnection, key: str
) -> None:
    url = postgres_url(postgres_server.port)
    registry = PostgresRegistry(url)
    who = holder()
    granted = await registry.acquire(key, who, 5)
    assert isinstance(granted, Granted)
    await registry.release(key, who, granted.token)
    await admin.execute(
        "UPDATE runguard_claim SET at = at - interval '8 days' WHERE k = %s", (key,)
    )
    await registry.aclose()
    again = PostgresRegistry(url)
    await again.open()
    assert await again.inspect(key) == []
    await again.aclose()


async def test_a_psycopg_pool_of_the_user_is_taken_and_left_open(
    postgres_server: Server, key: str
) -> None:
    url = postgres_url(postgres_server.port)
    async with psycopg_pool.AsyncConnectionPool(url, min_size=1, open=False) as pool:
        registry = PostgresRegistry(pool=pool)
        assert isinstance(await registry.acquire(key, holder(), 5), Granted)
        await registry.aclose()
        async with pool.connection() as connection:
            await connection.execute("SELECT 1")


async def test_an_asyncpg_pool_of_the_user_is_taken_and_left_open(
    postgres_server: Server, key: str
) -> None:
    async with asyncpg.create_pool(postgres_url(postgres_server.port), min_size=1) as pool:
        registry = PostgresRegistry(pool=pool)
        assert isinstance(await registry.acquire(key, holder(), 5), Granted)
        await registry.aclose()
        assert await pool.fetchval("SELECT 1") == 1


@pytest.mark.parametrize("option", ["driver=mysql", "mode=optimistic"])
def test_an_option_that_does_not_exist_is_refused_with_the_allowed_ones(option: str) -> None:
    with pytest.raises(SettingsError, match=r"allowed: (psycopg|lease)"):
        open_registry(f"postgresql://h/d?{option}", Settings())


# -- mode=advisory ---------------------------------------------------------------------------


@pytest.mark.parametrize("driver", DRIVERS)
async def test_advisory_mode_refuses_to_run_behind_a_transaction_pooler(
    pgbouncer: Server, driver: str
) -> None:
    registry = PostgresAdvisoryRegistry(postgres_url(pgbouncer.port, options=f"?driver={driver}"))
    with pytest.raises(RegistryUnavailable, match="transaction pooler"):
        await registry.open()
    await registry.aclose()


@pytest.mark.parametrize("driver", DRIVERS)
async def test_an_advisory_holders_end_frees_the_room_at_once_with_a_higher_token(
    postgres_server: Server, admin: psycopg.AsyncConnection, key: str, driver: str
) -> None:
    url = postgres_url(postgres_server.port, options=f"?driver={driver}")
    first, second = PostgresAdvisoryRegistry(url), PostgresAdvisoryRegistry(url)
    old, new = holder("AJ_a"), holder("AJ_b")
    granted = await first.acquire(key, old, 9)
    assert isinstance(granted, Granted)
    assert isinstance(await second.acquire(key, new, 9), Held)
    await admin.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'"
        " AND (classid::bigint << 32 | objid::bigint) = %s",
        (lock_id(key),),
    )
    for _ in range(100):
        taken = await second.acquire(key, new, 9)
        if isinstance(taken, Granted):
            break
        await asyncio.sleep(0.01)
    assert isinstance(taken, Granted)
    assert taken.how == "takeover" and taken.token > granted.token
    with pytest.raises(RegistryUnavailable):  # the connection is gone, and is noticed
        await first.renew(key, old, granted.token, 9)
    answer = await first.renew(key, old, granted.token, 9)
    assert answer == Superseded(taken.token, "AJ_b", new.instance)
    await first.aclose()
    await second.aclose()


async def test_an_advisory_holder_that_lost_its_connection_keeps_an_untaken_room(
    postgres_server: Server, admin: psycopg.AsyncConnection, key: str
) -> None:
    registry = PostgresAdvisoryRegistry(postgres_url(postgres_server.port))
    who = holder("AJ_a")
    granted = await registry.acquire(key, who, 9)
    assert isinstance(granted, Granted)
    await admin.execute("SELECT pg_terminate_backend(%s)", (registry._pid,))
    with pytest.raises(RegistryUnavailable):
        await registry.renew(key, who, granted.token, 9)
    assert await registry.renew(key, who, granted.token, 9) == Renewed()
    rival = PostgresAdvisoryRegistry(postgres_url(postgres_server.port))
    assert isinstance(await rival.acquire(key, holder("AJ_b"), 9), Held)
    await rival.aclose()
    await registry.aclose()


async def test_one_session_is_not_granted_its_own_lock_for_another_job(
    postgres_server: Server, key: str
) -> None:
    """Advisory locks are re-entrant for their session; a claim is not."""
    registry = PostgresAdvisoryRegistry(postgres_url(postgres_server.port))
    assert isinstance(await registry.acquire(key, holder("AJ_a"), 9), Granted)
    assert isinstance(await registry.acquire(key, holder("AJ_b"), 9), Held)
    assert isinstance(await registry.acquire(key, holder("AJ_a"), 9), Held)  # hand-off: wait
    await registry.aclose()


async def test_a_look_at_a_held_lock_proves_its_holder_alive_each_time(
    postgres_server: Server, key: str
) -> None:
    url = postgres_url(postgres_server.port)
    first, second = PostgresAdvisoryRegistry(url), PostgresAdvisoryRegistry(url)
    await first.acquire(key, holder("AJ_a"), 9)
    looks = [await second.acquire(key, holder("AJ_b"), 9) for _ in range(2)]
    assert all(isinstance(look, Held) for look in looks)
    assert len({look.version for look in looks if isinstance(look, Held)}) == 2
    await first.aclose()
    await second.aclose()


def test_room_names_that_collide_in_32_bits_have_locks_of_their_own() -> None:
    assert lock_id("room-39454") != lock_id("room-198044")  # equal under hashtext()
    assert len({lock_id(f"room-{n}") for n in range(300_000)}) == 300_000
