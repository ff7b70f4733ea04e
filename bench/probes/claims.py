"""CPU of a claim of one job: taken, held for a few heartbeats, given back. Run by ``bench claims``.

For the working tree and for the build that ratios are given to, which has other names for it.
"""

from __future__ import annotations

import asyncio
import sys
import time
import uuid
from importlib import import_module
from typing import Any

from bench.probes.answering import answer
from runguard_otel.claims.circuit import BoundedRegistry, Circuit
from runguard_otel.claims.registry import Holder
from runguard_otel.claims.state import Timing

BEAT = 0.001
"""Seconds between heartbeats: as few as let the loop sleep, as it does between real ones."""


def _found(*places: str) -> Any:
    for place in places:
        module, _, name = place.partition(":")
        try:
            return getattr(import_module(f"runguard_otel.claims.{module}"), name)
        except ModuleNotFoundError:
            continue
    raise ModuleNotFoundError(places)


Keeper = _found("holder:LeaseHolder", "keeper:ClaimKeeper")
Memory = _found("registries.memory:MemoryRegistry", "memory:MemoryRegistry")
Sqlite = _found("registries.sqlite:SqliteRegistry", "sqlite:SqliteRegistry")


class _Beats:
    """Counts heartbeats."""

    def __init__(self) -> None:
        self.left = 0
        self.done = asyncio.Event()

    def claim_event(self, event: Any) -> None: ...

    def claim_lost(self, cause: str) -> None: ...

    def registry_call(self, operation: str, result: str, seconds: float) -> None:
        self.left -= operation == "renew"
        if not self.left:
            self.done.set()


class Claims:
    """One registry, and claims in it."""

    def __init__(self, where: str) -> None:
        self._registry = Sqlite(where) if where else Memory()

    async def block(self, times: int) -> dict[str, float]:
        """Microseconds of CPU of one acquire, one heartbeat and one release."""
        timing, heard = Timing(ttl=9, heartbeat=BEAT, timeout=BEAT / 2), _Beats()
        bounded = BoundedRegistry(self._registry, 0.25, Circuit(), heard.registry_call)
        run = uuid.uuid4().hex
        made = [
            Keeper(
                bounded, f"rg:v1:{{{run}{n}}}", Holder(f"AJ_{n}", run, "w"), heard, timing=timing
            )
            for n in range(times)
        ]
        began = time.process_time()
        for one in made:
            await one.claim()
        acquired = time.process_time()
        heard.left, heard.done = times, asyncio.Event()
        made[0].start()
        await heard.done.wait()
        renewed = time.process_time()
        for one in made:
            await one.release()
        released = time.process_time()
        spent = {"acquire": acquired - began, "renew": renewed - acquired}
        spent["release"] = released - renewed
        return {name: seconds / times * 1e6 for name, seconds in spent.items()}


if __name__ == "__main__":
    answer(Claims(sys.argv[1] if len(sys.argv) > 1 else ""))
