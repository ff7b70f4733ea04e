"""A claim holder over a fake clock: time passes only when somebody sleeps, or a test says so."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from runguard_otel.claims.circuit import BoundedRegistry, Circuit
from runguard_otel.claims.holder import LeaseHolder
from runguard_otel.claims.registries.memory import MemoryRegistry, MemoryStore
from runguard_otel.claims.registry import Holder, RegistryUnavailable
from runguard_otel.claims.state import Policy, Timing
from runguard_otel.core.ports import ClaimEvent

KEY = "rg:v1:{00000000000000000000000000000000}"


class FaultyRegistry(MemoryRegistry):
    """Memory, with faults: ``down`` refuses, ``lose_replies`` works and hides the answer."""

    def __init__(self, store: MemoryStore) -> None:
        super().__init__(store)
        self.down = False
        self.lose_replies = 0
        self.seconds_per_call = 0.0
        self.calls = 0
        self.spend: Callable[[float], None] = lambda _: None

    def _fault(self) -> None:
        self.calls += 1
        self.spend(self.seconds_per_call)
        if self.down:
            raise RegistryUnavailable("down")

    def _answer(self, answer: Any) -> Any:
        if self.lose_replies:
            self.lose_replies -= 1
            raise RegistryUnavailable("reply lost")
        return answer

    async def acquire(self, *args: Any, **kwargs: Any) -> Any:
        self._fault()
        return self._answer(await super().acquire(*args, **kwargs))

    async def renew(self, *args: Any, **kwargs: Any) -> Any:
        self._fault()
        return self._answer(await super().renew(*args, **kwargs))

    async def release(self, *args: Any) -> Any:
        self._fault()
        return self._answer(await super().release(*args))


@dataclass
class Heard:
    """A ClaimListener that remembers."""

    events: list[ClaimEvent] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    calls: list[tuple[str, str]] = field(default_factory=list)

    def claim_event(self, event: ClaimEvent) -> None:
        self.events.append(event)

    def registry_call(self, operation: str, result: str, seconds: float) -> None:
        self.calls.append((operation, result))

    def claim_lost(self, cause: str) -> None:
        self.lost.append(cause)

    def kinds(self) -> list[str]:
        return [f"{e.kind}:{e.cause}" if e.cause else e.kind for e in self.events]


class World:
    """One clock, one store, and as many holders as a test wants."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.store = MemoryStore(self.clock)
        self.meanwhile: list[tuple[float, Callable[[], Any]]] = []

    def clock(self) -> float:
        return self.now

    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    def at(self, seconds: float, call: Callable[[], Any]) -> None:
        """Do something once that much time has passed; it may be a coroutine function."""
        self.meanwhile.append((self.now + seconds, call))

    async def sleep(self, seconds: float) -> None:
        """Let time pass and run what was due meanwhile, each at its own time."""
        end = self.now + seconds
        while due := sorted((m for m in self.meanwhile if m[0] <= end), key=lambda m: m[0]):
            self.meanwhile.remove(due[0])
            self.now = max(self.now, due[0][0])
            done = due[0][1]()
            if asyncio.iscoroutine(done):
                await done
        self.now = max(self.now, end)
        await asyncio.sleep(0)

    def later(self, seconds: float, call: Callable[[], None]) -> asyncio.Task[None]:
        """Let time pass, and call."""

        async def sleep() -> None:
            await self.sleep(seconds)
            call()

        return asyncio.get_running_loop().create_task(sleep())

    def registry(self) -> FaultyRegistry:
        made = FaultyRegistry(self.store)
        made.spend = self.pass_time
        return made

    def holder(
        self,
        job: str = "AJ_a",
        *,
        registry: FaultyRegistry | None = None,
        policy: Policy | None = None,
        circuit: Circuit | None = None,
        instance: str = "",
    ) -> tuple[LeaseHolder, Heard, FaultyRegistry]:
        heard, faulty = Heard(), registry or self.registry()
        bounded = BoundedRegistry(
            faulty, 0.25, circuit or Circuit(self.clock), heard.registry_call, self.clock
        )
        holder = LeaseHolder(
            bounded,
            KEY,
            Holder(job, instance or f"instance of {job}", "worker"),
            heard,
            timing=Timing(9, 3, 0.25, notice=6),
            policy=policy,
            clock=self.clock,
            later=self.later,
            jitter=lambda: 0.5,
        )
        return holder, heard, faulty
