"""A claim registry under test: as many processes as wanted over the same records."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import pytest

from runguard_otel.claims.registry import (
    ClaimRegistry,
    Granted,
    Held,
    Holder,
    Observation,
)


@dataclass
class Bench:
    """A backend under test.

    Args:
        make: Builds one more registry over the same records.
        wait: Lets seconds pass on the registry's clock.
        ttl: A lease length that is short for this backend, in seconds.
        forget: Deletes all records, as a server that lost its data; ``None`` skips that test.
        contenders: How many claim at once in the contest.
        spoil: Each puts something that is no record of ours in place of the record of a key.
    """

    make: Callable[[], ClaimRegistry]
    wait: Callable[[float], Awaitable[object]]
    ttl: float = 1.0
    forget: Callable[[], Awaitable[None]] | None = None
    contenders: int = 50
    spoil: tuple[Callable[[str], Awaitable[None]], ...] = ()
    opened: list[ClaimRegistry] = field(default_factory=list)

    async def registry(self) -> ClaimRegistry:
        """One more opened registry, closed after the test."""
        made = self.make()
        self.opened.append(made)
        await made.open()
        return made


@pytest.fixture
async def registries(bench: Bench) -> AsyncIterator[tuple[ClaimRegistry, ClaimRegistry]]:
    """Two registries over the same records: two processes."""
    yield await bench.registry(), await bench.registry()
    for registry in bench.opened:
        await registry.aclose()


@pytest.fixture
def keys() -> Callable[[], str]:
    """Fresh claim keys."""
    return lambda: f"rg:v1:{{{uuid.uuid4().hex}}}"


def holder(job: str = "AJ_a", worker: str = "worker-1", instance: str | None = None) -> Holder:
    """A holder with a fresh instance."""
    return Holder(job, instance or uuid.uuid4().hex, worker)


Pair = tuple[ClaimRegistry, ClaimRegistry]


Keys = Callable[[], str]


async def taken(registry: ClaimRegistry, key: str, who: Holder, ttl: float) -> Granted:
    answer = await registry.acquire(key, who, ttl)
    assert isinstance(answer, Granted), answer
    return answer


async def take_over(bench: Bench, registry: ClaimRegistry, key: str, who: Holder) -> Granted:
    """Become the holder of a lease that nobody renews, with or without a clock of the registry."""
    seen = await registry.acquire(key, who, bench.ttl)
    assert isinstance(seen, Held), seen
    await bench.wait(bench.ttl * 1.1 + 0.05)
    observed = Observation(seen.token, seen.version, bench.ttl * 1.1 + 0.05)
    answer = await registry.acquire(key, who, bench.ttl, observed=observed)
    assert isinstance(answer, Granted), answer
    return answer
