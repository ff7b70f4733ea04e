"""Claims in a Redis cluster of three nodes."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Iterator

import pytest
import redis.asyncio
import redis.crc

from runguard_otel.claims.registries.redis.registry import RedisRegistry
from runguard_otel.claims.registry import Granted, Held, RegistryUnavailable
from tests.kit import servers
from tests.kit.fixtures import running
from tests.kit.ports import free_port
from tests.kit.process import Server
from tests.kit.redis_claims import ask, life_of_a_claim
from tests.kit.registries import holder

pytestmark = pytest.mark.contract


@pytest.fixture
def nodes() -> Iterator[list[Server]]:
    """Three empty nodes of a cluster to be."""
    # The bus gets a port of its own: the usual one, 10,000 above, does not always exist.
    with contextlib.ExitStack() as stack:
        started = []
        for _ in range(3):
            options = ("--cluster-enabled", "yes", "--cluster-port", str(free_port()))
            start = functools.partial(servers.redis_server, *options)
            started.append(stack.enter_context(contextlib.contextmanager(running)(start)))
        yield started


async def join(nodes: list[Server]) -> None:
    """A third of the slots for each, known to all."""
    ends = [0, 5461, 10923, 16384]
    for n, server in enumerate(nodes):
        async with redis.asyncio.from_url(f"redis://127.0.0.1:{server.port}") as node:
            await ask(node, "CLUSTER", "ADDSLOTSRANGE", ends[n], ends[n + 1] - 1)
            for other in nodes[:n]:
                bus = other.argv(0, other.directory)[-1]
                await ask(node, "CLUSTER", "MEET", "127.0.0.1", other.port, bus)
    for server in nodes:
        async with redis.asyncio.from_url(f"redis://127.0.0.1:{server.port}") as node:
            while b"cluster_state:ok" not in await ask(node, "CLUSTER", "INFO"):
                await asyncio.sleep(0.05)


async def test_a_cluster_of_three_nodes_works_and_lists_the_claims_of_all(
    nodes: list[Server],
) -> None:
    await join(nodes)
    url = f"redis+cluster://127.0.0.1:{nodes[0].port}"
    await life_of_a_claim(RedisRegistry(url))
    registry = RedisRegistry(url)
    for n in range(12):
        answer = await registry.acquire(f"rg:v1:{{{n}}}", holder(), 5)
        assert isinstance(answer, Granted)
    assert len(await registry.inspect()) == 13
    await registry.aclose()
    sizes = []
    for server in nodes:
        async with redis.asyncio.from_url(f"redis://127.0.0.1:{server.port}") as node:
            sizes.append(int(await ask(node, "DBSIZE")))
    assert all(sizes), "every node holds some, so requests were sent to the right one"


async def test_a_cluster_that_lost_a_node_serves_the_rooms_of_the_others(
    nodes: list[Server],
) -> None:
    """Unless it is told to need all its slots, as it is by default: then it serves none."""
    await join(nodes)
    for server in nodes:
        async with redis.asyncio.from_url(f"redis://127.0.0.1:{server.port}") as node:
            await ask(node, "CONFIG", "SET", "cluster-require-full-coverage", "no")
    registry = RedisRegistry(f"redis+cluster://127.0.0.1:{nodes[0].port}")
    keys = [f"rg:v1:{{{n}}}" for n in range(12)]
    for key in keys:
        await registry.acquire(key, holder(), 30)
    nodes[2].kill()
    served = 0
    for key in keys:
        slot = redis.crc.key_slot(key.encode())
        try:
            answer = await asyncio.wait_for(registry.acquire(key, holder("AJ_b"), 30), 5)
        except RegistryUnavailable:
            assert slot >= 10923, "only the dead node's rooms are unknown"
        else:
            assert isinstance(answer, Held)
            assert slot < 10923
            served += 1
    assert 0 < served < len(keys)
    await registry.aclose()
