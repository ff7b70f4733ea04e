"""Registry calls with a time bound and a circuit breaker: an outage does not cost every call."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from runguard_otel.claims.clock import boottime
from runguard_otel.claims.registry import (
    ClaimRegistry,
    Granted,
    Held,
    Holder,
    Missing,
    Observation,
    RegistryBusy,
    RegistryUnavailable,
    Renewed,
    Superseded,
)
from runguard_otel.claims.within import Overdue, within
from runguard_otel.core.verdict import Clock

__all__ = ["BoundedRegistry", "Circuit", "Observe"]

logger = logging.getLogger("runguard_otel")

T = TypeVar("T")

BUSY_SECONDS = 2.0
"""How long a call is put off while every connection is in use, or the registry's file is locked."""
BUSY_PAUSE = 0.01

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
        self._warn("the %s claim registry cannot be reached (%s)", backend, reason)

    def hindered(self, backend: str, reason: str) -> None:
        """A call was not answered, for a reason of our own: the next one may be, at once."""
        self._warn("the %s claim registry could not be asked in time (%s)", backend, reason)

    def _warn(self, text: str, backend: str, reason: str) -> None:
        with self._lock:
            first, self._warned = not self._warned, True
        if first:
            logger.warning(f"{text}: claims are unverified until it can", backend, reason)


class BoundedRegistry:
    """One registry, seen through a timeout, a circuit and an observer.

    Args:
        registry: Whom to ask.
        timeout: Bound on one call, in seconds.
        circuit: The circuit; usually the process's only one.
        observe: Hears of every call that went out.
        clock: Monotonic seconds.
        sleep: For tests.
    """

    def __init__(
        self,
        registry: ClaimRegistry,
        timeout: float,
        circuit: Circuit,
        observe: Observe,
        clock: Clock = boottime,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._registry = registry
        self._timeout = timeout
        self._circuit = circuit
        self._observe = observe
        self._clock = clock
        self._sleep = sleep

    async def acquire(
        self, key: str, who: Holder, ttl: float, observed: Observation | None = None
    ) -> Granted | Held:
        """As the registry's, within the bound. A timed-out acquire may still have been granted."""
        return await self._call(
            "acquire", lambda: self._registry.acquire(key, who, ttl, observed=observed), _acquired
        )

    async def renew(
        self, key: str, who: Holder, token: int, ttl: float, *, ending: bool = False
    ) -> Renewed | Superseded | Missing:
        """As the registry's, within the bound."""

        def named(answer: Renewed | Superseded | Missing) -> str:
            if isinstance(answer, Superseded) and answer.job_id == who.job_id:
                return "handed_off"  # to another process of the same job, or given back for it
            return "renewed" if isinstance(answer, Renewed) else "lost"

        return await self._call(
            "renew", lambda: self._registry.renew(key, who, token, ttl, ending=ending), named
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
        backend, busy_until = self._registry.backend, 0.0
        while True:
            async with self._registry.turn():
                if not self._circuit.allows():
                    raise RegistryUnavailable("the circuit is open after repeated failures")
                started = self._clock()
                busy_until = busy_until or started + BUSY_SECONDS
                try:
                    answer = await within(self._timeout, call())
                    break
                except RegistryBusy as error:
                    if started >= busy_until:
                        self._failed(operation, started, str(error), ours=True)
                        raise
                except Overdue as error:
                    reason = f"no answer within {self._timeout:g} s"
                    if ours := error.late > self._timeout:
                        reason += f"; this process did not run for {error.late:.1f} s meanwhile"
                    self._failed(operation, started, reason, ours=ours)
                    raise RegistryUnavailable(f"{backend}: {operation}: {reason}") from error
                except RegistryUnavailable as error:
                    self._failed(operation, started, str(error))
                    raise
            await self._sleep(BUSY_PAUSE)
        self._circuit.succeeded()
        self._observe(operation, name(answer), self._clock() - started)
        return answer

    def _failed(self, operation: str, started: float, reason: str, *, ours: bool = False) -> None:
        tell = self._circuit.hindered if ours else self._circuit.failed
        tell(self._registry.backend, reason)
        self._observe(operation, "error", self._clock() - started)


_HOW = {
    "new": "acquired",
    "reentrant": "reentered",
    "handoff": "handed_off",
    "takeover": "taken_over",
    "passed_on": "passed_on",
}


def _acquired(answer: Granted | Held) -> str:
    return _HOW[answer.how] if isinstance(answer, Granted) else "refused"


def _released(answer: bool) -> str:
    return "released" if answer else "lost"
