"""The published guard: one worker per room, standing alone."""

from __future__ import annotations

import asyncio

import pytest

from runguard_otel.claims.guard import JobDispatchGuard
from runguard_otel.claims.registries.memory import MemoryRegistry, MemoryStore
from runguard_otel.errors import ClaimLostError
from tests.kit.claims import FaultyRegistry

pytestmark = pytest.mark.unit


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def guard(store: MemoryStore, worker: str, room: str = "room-a") -> JobDispatchGuard:
    return JobDispatchGuard(
        room, worker, MemoryRegistry(store), ttl_seconds=1.5, heartbeat_seconds=0.4
    )


async def test_one_worker_gets_the_room_and_the_other_is_told_no(store: MemoryStore) -> None:
    one, two = guard(store, "w1"), guard(store, "w2")
    assert await one.claim() is True
    assert await two.claim(timeout_seconds=5.0) is False
    assert (one.verified, two.verified, one.token > 0, two.token) == (True, False, True, 0)
    assert await two.release() is False  # and cannot take it from the holder
    assert one.verified
    assert await one.release() is True


async def test_a_released_room_is_free(store: MemoryStore) -> None:
    one, two = guard(store, "w1"), guard(store, "w2")
    async with one:
        assert one.verified
    assert await two.claim() is True
    assert two.token > one.token
    await two.release()


async def test_the_timeout_bounds_the_wait_for_a_dead_holder(store: MemoryStore) -> None:
    dead = JobDispatchGuard("room-a", "w1", MemoryRegistry(store))  # 9 s, and never renewed
    assert await dead.claim()
    assert dead._holder is not None
    dead._holder.stop()
    loop = asyncio.get_running_loop()
    began = loop.time()
    assert await guard(store, "w2").claim(timeout_seconds=0.2) is False
    assert 0.2 <= loop.time() - began < 2


async def test_the_same_worker_comes_back_at_once(store: MemoryStore) -> None:
    before, after = guard(store, "w1"), guard(store, "w1")
    assert await before.claim()
    assert await after.claim(timeout_seconds=0) is True
    assert after.token > before.token
    assert await before.release() is False
    assert await after.release() is True


async def test_rooms_and_agent_names_do_not_compete(store: MemoryStore) -> None:
    one, two = guard(store, "w1"), guard(store, "w2", "room-b")
    three = JobDispatchGuard("room-a", "w3", MemoryRegistry(store), agent_name="translator")
    for each in (one, two, three):
        assert await each.claim(timeout_seconds=0) is True
    for each in (one, two, three):
        await each.release()


async def test_an_unreachable_registry_is_a_yes_unless_told_otherwise(store: MemoryStore) -> None:
    down = FaultyRegistry(store)
    down.down = True
    trusting = JobDispatchGuard("room-a", "w1", down)
    strict = JobDispatchGuard("room-a", "w2", down, fail_open=False)
    assert await trusting.claim() is True
    assert trusting.verified is False
    assert await strict.claim() is False
    await trusting.release()


async def test_the_keyword_it_was_published_with_still_works(store: MemoryStore) -> None:
    published = JobDispatchGuard("room-a", "w1", _registry=MemoryRegistry(store))
    assert await published.claim() is True
    assert await published.release() is True


async def test_a_redis_client_is_adapted_without_being_asked_anything() -> None:
    import redis.asyncio

    client = redis.asyncio.Redis(port=1)  # nobody listens there
    assert JobDispatchGuard("room-a", "w1", client)._registry.backend == "redis"
    await client.aclose()


async def test_who_is_refused_does_not_enter_the_block(store: MemoryStore) -> None:
    async with guard(store, "w1") as served:
        assert served.verified
        with pytest.raises(ClaimLostError, match="another job serves this room"):
            async with guard(store, "w2"):
                pytest.fail("he would serve it, too")
    async with guard(store, "w2"):
        pass


def test_a_client_that_would_block_the_loop_is_refused_before_it_claims() -> None:
    import redis

    with pytest.raises(TypeError, match=r"redis\.asyncio client, got Redis"):
        JobDispatchGuard("room-a", "w1", redis.Redis(port=1))


def test_anything_else_as_a_registry_is_a_type_error() -> None:
    with pytest.raises(TypeError, match=r"ClaimRegistry or a redis\.asyncio client, got dict"):
        JobDispatchGuard("room-a", "w1", {})
