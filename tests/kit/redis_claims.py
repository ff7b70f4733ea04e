"""Ask a Redis anything, and one claim's whole life in it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import redis.asyncio

from runguard_otel.claims.registries.redis.registry import RedisRegistry
from runguard_otel.claims.registry import Granted, Held, Renewed
from tests.kit.registries import holder

KEY = "rg:v1:{0123}"


async def ask(client: redis.asyncio.Redis, *words: object) -> Any:
    command: Callable[..., Any] = client.execute_command  # without types in redis-py
    return await command(*words)


async def life_of_a_claim(registry: RedisRegistry, key: str = KEY) -> None:
    """Every operation a worker or job uses."""
    who = holder("AJ_a")
    await registry.open()
    granted = await registry.acquire(key, who, 5)
    assert isinstance(granted, Granted)
    assert await registry.renew(key, who, granted.token, 5) == Renewed()
    assert isinstance(await registry.acquire(key, holder("AJ_b"), 5), Held)
    assert await registry.release(key, who, granted.token)
    again = await registry.acquire(key, who, 5)
    assert isinstance(again, Granted) and again.token > granted.token
    assert await registry.abandon(key, "AJ_a", who.worker)
    assert (await registry.inspect(key))[0].state == "released"
    await registry.aclose()
