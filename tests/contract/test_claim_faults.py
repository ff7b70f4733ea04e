"""A bad network between us and the registry: every answer is right or "unavailable", in time.

Each fault hits each operation once. Afterwards the network heals and the same instance asks again:
what the registry did meanwhile must neither lock the holder out nor let a rival in.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass

import pytest

from runguard_otel.claims.circuit import BoundedRegistry, Circuit
from runguard_otel.claims.clock import boottime
from runguard_otel.claims.registries.dynamodb.registry import DynamoRegistry
from runguard_otel.claims.registries.postgres.registry import PostgresRegistry
from runguard_otel.claims.registries.redis.registry import RedisRegistry
from runguard_otel.claims.registry import (
    ClaimRegistry,
    Granted,
    Held,
    Holder,
    RegistryUnavailable,
    Renewed,
)
from tests.kit.faultproxy import Fault, FaultProxy
from tests.kit.outcomes import Outcomes
from tests.kit.process import Server
from tests.kit.servers import postgres_url

pytestmark = pytest.mark.contract

SLACK = 0.25
"""What a loaded machine may add to the bound on a call, in seconds."""


@dataclass
class Path:
    """A registry behind the proxy, and one that goes straight to the server."""

    name: str
    proxy: FaultProxy
    proxied: ClaimRegistry
    direct: ClaimRegistry
    last_request: dict[str, int]
    """Writes of the client before the one that carries the deciding statement."""


ONE_WRITE = {"acquire": 0, "renew": 0, "release": 0}


def make(name: str, port: int) -> ClaimRegistry:
    if name == "redis":
        return RedisRegistry(f"redis://127.0.0.1:{port}")
    if name == "dynalite":
        endpoint = f"http://127.0.0.1:{port}"
        return DynamoRegistry(f"dynamodb://faults?region=us-east-1&endpoint={endpoint}&create=true")
    return PostgresRegistry(postgres_url(port, options=f"?driver={name}"))


@pytest.fixture(params=["redis", "psycopg", "asyncpg", "dynalite"])
async def path(request: pytest.FixtureRequest) -> AsyncIterator[Path]:
    name = request.param
    fixture = {"redis": "redis_server", "dynalite": "dynalite_server"}.get(name, "postgres_server")
    server: Server = request.getfixturevalue(fixture)
    last = {
        "psycopg": {"acquire": 1, "renew": 0, "release": 0},  # it looks before it takes
        "asyncpg": {"acquire": 3, "renew": 1, "release": 1},  # and parses apart from running
    }.get(name, ONE_WRITE)
    async with FaultProxy(server.port) as proxy:
        proxied, direct = make(name, proxy.port), make(name, server.port)
        await proxied.open()
        await direct.open()
        yield Path(name, proxy, proxied, direct, last)
        await direct.aclose()
        await proxied.aclose()


@pytest.fixture(scope="module")
def outcomes(request: pytest.FixtureRequest) -> Iterator[Outcomes]:
    table = Outcomes(
        "Faults on the way to the registry (bound: 250 ms; DynamoDB 1 s)",
        "backend", "operation", "fault", "answer", "after", "asked again", "rival",
    )  # fmt: skip
    yield from table.printed(request)


DONE = (Fault.LATENCY, Fault.DROP_REPLY)
"""Faults under which the server does what was asked."""

EXPECTED: dict[tuple[str, bool], tuple[str, str]] = {
    # operation, done by the server -> what the same instance is told next, what a rival is told
    ("acquire", False): ("new", "held"),
    ("acquire", True): ("reentrant", "held"),
    ("renew", False): ("renewed", "held"),
    ("renew", True): ("renewed", "held"),
    ("release", False): ("released", "granted"),
    ("release", True): ("nothing to release", "granted"),
}


@pytest.mark.parametrize("fault", [f for f in Fault if f is not Fault.NONE], ids=lambda f: f.value)
@pytest.mark.parametrize("operation", ["acquire", "renew", "release"])
async def test_a_fault_is_an_answer_in_time_and_does_no_lasting_harm(
    path: Path, operation: str, fault: Fault, outcomes: Outcomes
) -> None:
    key, who = f"rg:v1:{{{uuid.uuid4().hex}}}", Holder("AJ_a", uuid.uuid4().hex, "w")
    bound = path.proxied.default_timeout
    registry = BoundedRegistry(path.proxied, bound, Circuit(failures=99), lambda *_: None)
    token = 0
    if operation != "acquire":
        granted = await registry.acquire(key, who, 30)
        assert isinstance(granted, Granted)
        token = granted.token

    async def ask() -> str:
        if operation == "acquire":
            answer = await registry.acquire(key, who, 30)
            assert isinstance(answer, Granted), answer
            return answer.how
        if operation == "renew":
            assert await registry.renew(key, who, token, 30) == Renewed()
            return "renewed"
        return "released" if await registry.release(key, who, token) else "nothing to release"

    reply_only = fault is Fault.DROP_REPLY
    path.proxy.arm(fault, after=path.last_request[operation] if reply_only else 0)
    began = boottime()
    try:
        first = await ask()
    except RegistryUnavailable:
        first = "unavailable"
    took = boottime() - began
    path.proxy.heal()

    assert (first == "unavailable") == (fault is not Fault.LATENCY)
    assert took < bound + SLACK
    if first == "unavailable":
        assert path.proxy.swallowed > 0, "the fault never struck"
    again = await _answered(ask)
    rival = await path.direct.acquire(key, Holder("AJ_b", "r", "w2"), 30)
    seen = "held" if isinstance(rival, Held) else "granted"
    outcomes.add(path.name, operation, fault.value, first, f"{took * 1e3:.0f} ms", again, seen)
    assert (again, seen) == EXPECTED[operation, fault in DONE]


async def _answered(ask: Callable[[], Awaitable[str]]) -> str:
    """The answer once the network is back: at once, or after one connection was found dead."""
    for _ in range(5):
        try:
            return await ask()
        except RegistryUnavailable as error:
            last = error
    raise last
