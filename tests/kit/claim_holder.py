"""A process that holds a claim until it is killed: ``python -m tests.kit.claim_holder``.

Prints one JSON object per line: ``{"at": boottime, "event": ...}``. ``believes`` is printed
whenever its belief in the claim changes; it is looked at every 5 ms.
"""

from __future__ import annotations

import asyncio
import json
import sys
import uuid

from runguard_otel.claims.circuit import BoundedRegistry, Circuit
from runguard_otel.claims.clock import boottime
from runguard_otel.claims.holder import LeaseHolder
from runguard_otel.claims.registries.open import open_registry
from runguard_otel.claims.registry import Holder
from runguard_otel.claims.state import Timing
from runguard_otel.core.ports import ClaimEvent
from runguard_otel.settings import Settings


def say(event: str, **more: object) -> None:
    print(json.dumps({"at": boottime(), "event": event, **more}), flush=True)


class Speaker:
    """A listener that prints."""

    def claim_event(self, event: ClaimEvent) -> None:
        say(event.kind, cause=event.cause, token=event.token)

    def claim_lost(self, cause: str) -> None:
        say("stop", cause=cause)

    def registry_call(self, operation: str, result: str, seconds: float) -> None:
        say("call", operation=operation, result=result)


async def hold(url: str, key: str, job: str, ttl: float, heartbeat: float, timeout: float) -> None:
    registry = open_registry(url, Settings())
    await registry.open()
    listener = Speaker()
    bounded = BoundedRegistry(registry, timeout, Circuit(), listener.registry_call)
    who = Holder(job, uuid.uuid4().hex, "worker-1")
    holder = LeaseHolder(bounded, key, who, listener, timing=Timing(ttl, heartbeat, timeout))
    await holder.claim()
    holder.start()
    believed = False
    while True:
        if holder.verified != believed:
            believed = holder.verified
            say("believes" if believed else "doubts")
        await asyncio.sleep(0.005)


if __name__ == "__main__":
    asyncio.run(hold(*sys.argv[1:4], *(float(word) for word in sys.argv[4:])))  # type: ignore[arg-type]  # three words, three numbers
