"""``memory://``: claims of one process, for the thread executor and for tests."""

from __future__ import annotations

import threading
from contextlib import AbstractAsyncContextManager, nullcontext

from runguard_otel.claims import lease as rules
from runguard_otel.claims.clock import boottime
from runguard_otel.claims.registry import (
    ClaimRecord,
    Granted,
    Held,
    Holder,
    Missing,
    Observation,
    Renewed,
    Superseded,
)
from runguard_otel.core.verdict import Clock

__all__ = ["MemoryRegistry", "MemoryStore", "shared_store"]

_stores: dict[str, MemoryStore] = {}
_stores_lock = threading.Lock()


class MemoryStore:
    """The records of one ``memory://name``, shared by the registries of every event loop.

    Args:
        clock: Monotonic seconds; for tests.
        max_released: How many released records are remembered; they only keep tokens and a name.
    """

    def __init__(self, clock: Clock = boottime, max_released: int = 10_000) -> None:
        self.clock = clock
        self.lock = threading.Lock()
        self.leases: dict[str, rules.Lease] = {}
        self._max_released = max_released

    def put(self, key: str, lease: rules.Lease) -> None:
        """Write a record, newest last; forget the oldest released ones beyond the bound."""
        self.leases.pop(key, None)
        self.leases[key] = lease
        if len(self.leases) > self._max_released:
            for old in [k for k, v in self.leases.items() if not v.held][: -self._max_released]:
                del self.leases[old]


def shared_store(name: str) -> MemoryStore:
    """The store of ``memory://name`` in this process."""
    with _stores_lock:
        return _stores.setdefault(name, MemoryStore())


class MemoryRegistry:
    """A dictionary under a lock that is never held across an ``await``.

    It protects one process only. LiveKit's default executor starts one *process* per job.

    Args:
        store: Where the records are; a private one by default.
    """

    backend = "memory"
    default_timeout = 0.25

    def __init__(self, store: MemoryStore | None = None) -> None:
        self._store = store or MemoryStore()

    def turn(self) -> AbstractAsyncContextManager[object]:
        """There is no wait."""
        return nullcontext()

    async def open(self) -> None:
        """Nothing to connect to."""

    async def acquire(
        self, key: str, who: Holder, ttl: float, *, observed: Observation | None = None
    ) -> Granted | Held:
        """See :class:`~runguard_otel.claims.registry.ClaimRegistry`."""
        store = self._store
        with store.lock:
            changed, answer = rules.acquire(
                store.leases.get(key), who, ttl, store.clock(), observed
            )
            if changed is not None:
                store.put(key, changed)
            return answer

    async def renew(
        self, key: str, who: Holder, token: int, ttl: float, *, ending: bool = False
    ) -> Renewed | Superseded | Missing:
        """See :class:`~runguard_otel.claims.registry.ClaimRegistry`."""
        store = self._store
        with store.lock:
            changed, answer = rules.renew(
                store.leases.get(key), who, token, ttl, store.clock(), ending
            )
            if changed is not None:
                store.put(key, changed)
            return answer

    async def release(self, key: str, who: Holder, token: int) -> bool:
        """See :class:`~runguard_otel.claims.registry.ClaimRegistry`."""
        return self._release(key, token, instance=who.instance)

    async def abandon(self, key: str, job_id: str, worker: str) -> bool:
        """See :class:`~runguard_otel.claims.registry.ClaimRegistry`."""
        return self._release(key, None, job_id=job_id, worker=worker)

    async def inspect(self, key: str | None = None) -> list[ClaimRecord]:
        """See :class:`~runguard_otel.claims.registry.ClaimRegistry`."""
        store = self._store
        with store.lock:
            now = store.clock()
            return [rules.record(k, v, now) for k, v in store.leases.items() if key in (None, k)]

    async def aclose(self) -> None:
        """Nothing to give back; the records stay with the store."""

    def _release(self, key: str, token: int | None, **expected: str) -> bool:
        with self._store.lock:
            changed = rules.release(self._store.leases.get(key), token=token, **expected)
            if changed is not None:
                self._store.put(key, changed)
            return changed is not None
