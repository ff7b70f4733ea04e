"""Registry calls with a time bound and a circuit breaker: an outage does not cost every call."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

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
    Superseded,
)
from runguard_otel.claims.within import within
from runguard_otel.core.verdict import Clock

__all__ = ["BoundedRegistry", "Circuit", "Observe"]

logger = logging.getLogger("runguard_otel")

T = TypeVar("T")

Observe = Callable[[str, str, float], None]
"""``observe(operation, result, seconds)``."""


class Circuit:
    """Open after three failures in a row, then one probe every five seconds until one succeeds.

    Shared by every claim of a process, also across threads: one outage, one warning.

    Args:
        clock: Monotonic seconds.
        failures: How many failures in a row open it.
        open_seconds: How long it stays shut to calls before the next probe.
    """

    def __init__(
        self, clock: Clock = boottime, failures: int = 3, open_seconds: float = 5.0
    ) -> None:
        self._clock = clock
        self._limit = failures
        self._open_seconds = open_seconds
        self._failures = 0
        self._next_probe = 0.0
        self._warned = False
        self._lock = threading.Lock()

    def allows(self) -> bool:
        """Whether a call may go out now; when open, lets one probe through per period."""
        with self._lock:
            if self._failures < self._limit:
                return True
            now = self._clock()
            if now < self._next_probe:
                return False
            self._next_probe = now + self._open_seconds
            return True

    def succeeded(self) -> None:
        """A call was answered."""
        with self._lock:
            back, self._warned, self._failures = self._warned, False, 0
        if back:
            logger.info("the claim registry answers again")

    def failed(self, backend: str, reason: str) -> None:
        """A call was not answered; warns once per outage."""
        with self._lock:
            self._failures += 1
            self._next_probe = self._clock() + self._open_seconds
            first, self._warned = not self._warned, True
        if first:
            logger.warning(
                "the %s claim registry cannot be reached (%s): claims are unverified until it can",
                backend,
                reason,
            )


class BoundedRegistry:
    """One registry, seen through a timeout, a circuit and an observer.

    Args:
        registry: Whom to ask.
        timeout: Bound on one call, in seconds.
        circuit: The circuit; usually the process's only one.
        observe: Hears of every call that went out.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        registry: ClaimRegistry,
        timeout: float,
        circuit: Circuit,
        observe: Observe,
        clock: Clock = boottime,
    ) -> None:
        self._registry = registry
        self._timeout = timeout
        self._circuit = circuit
        self._observe = observe
        self._clock = clock

    async def acquire(
        self, key: str, who: Holder, ttl: float, observed: Observation | None = None
    ) -> Granted | Held:
        """As the registry's, within the bound. A timed-out acquire may still have been granted."""
        return await self._call(
            "acquire", lambda: self._registry.acquire(key, who, ttl, observed=observed), _acquired
        )

    async def renew(
        self, key: str, who: Holder, token: int, ttl: float
    ) -> Renewed | Superseded | Missing:
        """As the registry's, within the bound."""
        return await self._call(
            "renew", lambda: self._registry.renew(key, who, token, ttl), _renewed
        )

    async def release(self, key: str, who: Holder, token: int) -> bool:
        """As the registry's, within the bound."""
        return await self._call(
            "release", lambda: self._registry.release(key, who, token), _released
        )

    async def abandon(self, key: str, job_id: str, worker: str) -> bool:
        """As the registry's, within the bound."""
        return await self._call(
            "release", lambda: self._registry.abandon(key, job_id, worker), _released
        )

    async def _call(
        self, operation: str, call: Callable[[], Coroutine[Any, Any, T]], name: Callable[[T], str]
    ) -> T:
        if not self._circuit.allows():
            raise RegistryUnavailable("the circuit is open after repeated failures")
        backend, started = self._registry.backend, self._clock()
        try:
            answer = await within(self._timeout, call())
        except asyncio.TimeoutError as error:
            self._circuit.failed(backend, f"no answer within {self._timeout:g} s")
            self._observe(operation, "error", self._clock() - started)
            raise RegistryUnavailable(f"{backend}: {operation} timed out") from error
        except RegistryUnavailable as error:
            self._circuit.failed(backend, str(error))
            self._observe(operation, "error", self._clock() - started)
            raise
        self._circuit.succeeded()
        self._observe(operation, name(answer), self._clock() - started)
        return answer


_HOW = {
    "new": "acquired",
    "reentrant": "reentered",
    "handoff": "handed_off",
    "takeover": "taken_over",
}


def _acquired(answer: Granted | Held) -> str:
    return _HOW[answer.how] if isinstance(answer, Granted) else "refused"


def _renewed(answer: Renewed | Superseded | Missing) -> str:
    return "renewed" if isinstance(answer, Renewed) else "lost"


def _released(answer: bool) -> str:
    return "released" if answer else "lost"
