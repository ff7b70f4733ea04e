"""Clients that fight over a few claims while the network fails, and write down what they saw."""

from __future__ import annotations

import asyncio
import contextlib
import random
import uuid
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import TypeVar

from runguard_otel.claims.clock import boottime
from runguard_otel.claims.registry import (
    ClaimRegistry,
    Granted,
    Held,
    Holder,
    Missing,
    Observation,
    RegistryUnavailable,
    Renewed,
)
from tests.kit.claim_history import INFINITY, Belief, Operation
from tests.kit.faultproxy import Fault, FaultProxy

T = TypeVar("T")

FAULTS = (Fault.DROP_REQUEST, Fault.DROP_REPLY, Fault.RESET, Fault.LATENCY)


@dataclass
class Seen:
    """What one contest wrote down, per key."""

    histories: dict[str, list[Operation]] = field(default_factory=lambda: defaultdict(list))
    beliefs: dict[str, list[Belief]] = field(default_factory=lambda: defaultdict(list))

    @property
    def operations(self) -> int:
        return sum(len(history) for history in self.histories.values())

    def count(self, answer: str) -> int:
        return sum(op.answer == answer for history in self.histories.values() for op in history)


@dataclass
class Client:
    """One contender.

    Args:
        registry: Its way to the registry.
        ttl: Lease length.
        timeout: Bound on a call; both in seconds.
        random: Decides what it does next.
        seen: Where it writes.
        careless: How often it acts on a claim whose lease is over, from 0 to 1.
    """

    registry: ClaimRegistry
    ttl: float
    timeout: float
    random: random.Random
    seen: Seen
    careless: float
    versions: dict[str, tuple[tuple[int, str], float]] = field(default_factory=dict)

    async def call(
        self, key: str, op: Operation, work: Awaitable[T], note: Callable[[T], tuple[str, int]]
    ) -> T | None:
        """Make a call and write it down, also if no answer came."""
        called = boottime()
        try:
            answer = await asyncio.wait_for(work, self.timeout)
        except (RegistryUnavailable, asyncio.TimeoutError):
            self.seen.histories[key].append(replace(op, called=called, answered=INFINITY))
            return None
        word, token = note(answer)
        self.seen.histories[key].append(
            replace(op, called=called, answered=boottime(), token=token, answer=word)
        )
        return answer

    async def visit(self, key: str, job: str) -> None:
        """Try to take a claim; hold it properly, overstay, or vanish."""
        who = Holder(job, uuid.uuid4().hex, "w")
        sent = boottime()
        op = Operation("acquire", 0, 0, job, who.instance, self.ttl)
        answer = await self.call(
            key,
            op,
            self.registry.acquire(key, who, self.ttl, observed=self._observed(key)),
            lambda a: (a.how if isinstance(a, Granted) else "held", a.token),
        )
        last, _ = self.versions.get(key, ((0, ""), 0.0))
        if isinstance(answer, Held) and (answer.token, answer.version) != last:
            self.versions[key] = ((answer.token, answer.version), boottime())
        if not isinstance(answer, Granted):
            return
        until, token = sent + self.ttl, answer.token
        start: float | None = boottime()
        conduct = self.random.random()
        overstays = conduct < self.careless

        def believed(end: float) -> None:
            nonlocal start
            if start is not None:
                self.seen.beliefs[key].append(Belief(start, min(until, end), token))
            start = None

        for _ in range(self.random.randrange(1 if overstays else 0, 3)):
            await asyncio.sleep(self.ttl * (1.3 if overstays else 0.3 * self.random.random()))
            sent, ending = boottime(), self.random.random() < 0.3
            if ending or until < sent:  # it gives the claim away, or had stopped believing
                believed(sent)
            renewed = await self.call(
                key,
                Operation("renew", 0, 0, job, who.instance, self.ttl, token, ending=ending),
                self.registry.renew(key, who, token, self.ttl, ending=ending),
                lambda r: (
                    ("renewed", token)
                    if isinstance(r, Renewed)
                    else ("missing" if isinstance(r, Missing) else "superseded", token)
                ),
            )
            if isinstance(renewed, Renewed):
                until = sent + self.ttl
                if start is None and not ending:
                    start = boottime()
            elif renewed is not None:
                believed(sent)
        if conduct > 0.85:  # vanish, as a crash does
            believed(boottime())
            return
        if overstays:
            await asyncio.sleep(self.ttl * 1.3)
        believed(boottime())
        await self.call(
            key,
            Operation("release", 0, 0, job, who.instance, 0, token),
            self.registry.release(key, who, token),
            lambda done: ("released" if done else "not released", token),
        )

    def _observed(self, key: str) -> Observation | None:
        if key not in self.versions:
            return None
        (token, version), since = self.versions[key]
        return Observation(token, version, boottime() - since)


async def opened(registry: ClaimRegistry) -> None:
    """Connect before the contest: all contenders do at once, and a claim's 0.2 s may not do."""
    for _ in range(10):
        with contextlib.suppress(RegistryUnavailable):
            await registry.open()
            return
    await registry.open()


async def contest(
    make: Callable[[int], ClaimRegistry],
    server_port: int,
    *,
    seed: int,
    ttl: float,
    timeout: float,
    faults: bool,
    clients: int = 6,
    keys: int = 8,
    visits: int = 14,
    careless: float = 0.25,
) -> Seen:
    """Let clients, each behind a proxy of its own, fight over some keys.

    Args:
        make: Builds a registry that connects to a port.
        server_port: The real server.
        seed: Of every random choice.
        ttl: Lease length, in seconds.
        timeout: Bound on a call, in seconds.
        faults: Whether the network fails now and then.
        clients: How many.
        keys: How many claims.
        visits: How often each client goes for one.
        careless: How often clients act on a claim whose lease is over, from 0 to 1.
    """
    seen = Seen()
    run = uuid.uuid4().hex[:8]
    names = [f"rg:v1:{{{run}{n}}}" for n in range(keys)]

    async def one(number: int) -> None:
        choose = random.Random(f"{seed}/{number}")
        async with FaultProxy(server_port) as proxy:
            registry = make(proxy.port)
            await opened(registry)
            client = Client(registry, ttl, timeout, choose, seen, careless)
            for _ in range(visits):
                if faults:
                    proxy.arm(choose.choice(FAULTS) if choose.random() < 0.2 else Fault.NONE)
                await client.visit(choose.choice(names), f"AJ_{number}")
            proxy.heal()
            await registry.aclose()

    await asyncio.gather(*(one(number) for number in range(clients)))
    return seen
