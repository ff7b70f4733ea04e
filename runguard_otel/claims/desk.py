"""Where jobs get their claims: builds registries and keepers from settings (a ClaimsPort)."""

from __future__ import annotations

import asyncio
import logging
import threading
import uuid
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from weakref import WeakKeyDictionary

from runguard_otel.claims.circuit import BoundedRegistry, Circuit, Observe
from runguard_otel.claims.current import CurrentClaim
from runguard_otel.claims.handle import Claim, NoClaim
from runguard_otel.claims.keeper import ClaimKeeper
from runguard_otel.claims.key import claim_key
from runguard_otel.claims.open import backend_of, load, open_registry
from runguard_otel.claims.registry import ClaimRegistry, Holder, RegistryUnavailable
from runguard_otel.claims.state import Policy, Timing
from runguard_otel.claims.unavailable import UnavailableRegistry
from runguard_otel.claims.watchdog import Watchdog
from runguard_otel.claims.within import within
from runguard_otel.core.ports import ClaimAnswer, ClaimListener, JobFacts
from runguard_otel.errors import SettingsError
from runguard_otel.settings import Settings

__all__ = ["ClaimDesk"]

logger = logging.getLogger("runguard_otel")

Opener = Callable[[str, Settings], ClaimRegistry]

_ANSWERED = ("holder_alive", "holder_fresh", "holder_stayed", "in_doubt")


@dataclass
class _Counter:
    """The registry of one event loop (its connections belong to that loop) and who uses it."""

    registry: ClaimRegistry
    timing: Timing
    keepers: set[ClaimKeeper] = field(default_factory=set)
    for_worker: bool = False


class ClaimDesk:
    """Everything about claims that one process needs.

    Args:
        settings: The ``claims_*`` settings.
        worker: Returns the worker's uuid (a job process learns it after this is built).
        opener: Builds a registry; for tests.
    """

    def __init__(
        self, settings: Settings, worker: Callable[[], str], opener: Opener = open_registry
    ) -> None:
        self._settings = settings
        self._worker = worker
        self._opener = opener
        self._counters: WeakKeyDictionary[asyncio.AbstractEventLoop, _Counter] = WeakKeyDictionary()
        self._lock = threading.Lock()
        self._circuit = Circuit()
        self._watchdog = Watchdog()
        self._background: set[asyncio.Task[None]] = set()
        self._policy = Policy(
            fail_open=settings.claims_unreachable == "open",
            stop_when_superseded=settings.claims_on_superseded == "shutdown",
            stop_when_expired=settings.claims_on_expired == "shutdown",
        )

    @property
    def backend(self) -> str:
        """The registry's kind, as configured."""
        return backend_of(self._settings.claims_url)

    def load(self) -> None:
        """See :class:`~runguard_otel.core.ports.ClaimsPort`."""
        load(self._settings.claims_url)

    async def warm(self) -> None:
        """Connect ahead of the first claim."""
        try:
            registry = self._counter().registry
            await within(10 * registry.default_timeout, registry.open())
        except (RegistryUnavailable, asyncio.TimeoutError) as error:
            self._circuit.failed(self.backend, str(error) or "no connection in time")

    async def claim_for_worker(self, job: JobFacts, listener: ClaimListener) -> ClaimAnswer:
        """See :class:`~runguard_otel.core.ports.ClaimsPort`."""
        counter = self._counter()
        counter.for_worker = True
        keeper = self._keeper(counter, job, listener)
        if await self._claim(keeper, 0.0):
            return ClaimAnswer(self._begin(counter, keeper))
        if keeper.cause == "in_doubt":
            return ClaimAnswer(NoClaim())
        return ClaimAnswer(None, keeper.cause, keeper.rival_token)

    def claim_for_job(
        self, job: JobFacts, listener: ClaimListener
    ) -> Coroutine[None, None, ClaimAnswer]:
        """See :class:`~runguard_otel.core.ports.ClaimsPort`."""
        return self._claim_for_job(CurrentClaim.of_this_job(), job, listener)

    async def _claim_for_job(
        self, current: CurrentClaim, job: JobFacts, listener: ClaimListener
    ) -> ClaimAnswer:
        counter = self._counter()
        keeper = self._keeper(counter, job, listener)
        # One lease, and what our clocks and polling may add to it.
        if not await self._claim(keeper, counter.timing.ttl * 1.05 + 0.5):
            if keeper.cause in _ANSWERED:
                await self.over(keeper)
            return ClaimAnswer(None, keeper.cause, keeper.rival_token)
        current.claim = claim = self._begin(counter, keeper)
        self._watchdog.watch(keeper)
        return ClaimAnswer(claim)

    async def abandon(self, job: JobFacts) -> None:
        """See :class:`~runguard_otel.core.ports.ClaimsPort`."""
        try:
            await self._bounded(self._counter(), _unheard).abandon(
                self._key(job), job.job_id, self._worker()
            )
        except RegistryUnavailable as error:
            logger.debug("a dead job's claim could not be released, its lease ends: %s", error)

    async def over(self, keeper: ClaimKeeper) -> None:
        """A claim was given back; the last one of a job's loop takes the connection with it."""
        self._watchdog.forget(keeper)
        counter = self._counters.get(asyncio.get_running_loop())
        if counter is None:
            return
        counter.keepers.discard(keeper)
        if not counter.keepers and not counter.for_worker:
            self._counters.pop(asyncio.get_running_loop(), None)
            await counter.registry.aclose()

    def close(self) -> None:
        """See :class:`~runguard_otel.core.ports.ClaimsPort`."""
        with self._lock:
            counters = list(self._counters.items())
            self._counters.clear()
        for loop, counter in counters:
            for keeper in counter.keepers:
                self._watchdog.forget(keeper)
            if not loop.is_closed():
                loop.call_soon_threadsafe(_shut, counter)

    async def _claim(self, keeper: ClaimKeeper, standby: float) -> bool:
        granted = False
        try:
            granted = await keeper.claim(standby=standby)
        finally:
            # A refusal for want of an answer, or a cancellation, may leave a grant behind that
            # nobody knows of; it would keep the room locked for one lease.
            if not granted and keeper.cause not in _ANSWERED:
                self._later(self._give_up(keeper))
        return granted

    async def _give_up(self, keeper: ClaimKeeper) -> None:
        try:
            await self._bounded(self._counter(), _unheard).abandon(
                keeper.key, keeper.who.job_id, keeper.who.worker
            )
        except RegistryUnavailable as error:
            logger.debug("an unanswered claim could not be taken back: %s", error)
        await self.over(keeper)

    def _later(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    def _begin(self, counter: _Counter, keeper: ClaimKeeper) -> Claim:
        counter.keepers.add(keeper)
        keeper.start()
        return Claim(keeper, self.over)

    def _keeper(self, counter: _Counter, job: JobFacts, listener: ClaimListener) -> ClaimKeeper:
        who = Holder(job.job_id, uuid.uuid4().hex, self._worker())
        registry = self._bounded(counter, listener.registry_call)
        return ClaimKeeper(
            registry, self._key(job), who, listener, timing=counter.timing, policy=self._policy
        )

    def _bounded(self, counter: _Counter, observe: Observe) -> BoundedRegistry:
        return BoundedRegistry(counter.registry, counter.timing.timeout, self._circuit, observe)

    def _key(self, job: JobFacts) -> str:
        namespace = job.namespace or self._settings.claims_namespace
        metadata = job.metadata if self._settings.claims_by_metadata else ""
        return claim_key(replace(job, namespace=namespace, metadata=metadata))

    def _counter(self) -> _Counter:
        loop = asyncio.get_running_loop()
        with self._lock:
            counter = self._counters.get(loop)
            if counter is None:
                # A connection knows its loop, so an entry never goes by itself.
                for over in [known for known in self._counters if known.is_closed()]:
                    del self._counters[over]
                registry = self._open()
                timing = _timing(self._settings, registry.default_timeout)
                counter = self._counters[loop] = _Counter(registry, timing)
            return counter

    def _open(self) -> ClaimRegistry:
        """The configured registry; one that never answers if it cannot be built (fail open)."""
        try:
            return self._opener(self._settings.claims_url, self._settings)
        except SettingsError as error:
            logger.error("claims cannot be verified: %s", error)
            return UnavailableRegistry(self.backend, str(error))


def _timing(settings: Settings, default_timeout: float) -> Timing:
    """The timing from settings; the default, with a warning, if the values do not go together."""
    timeout = settings.claims_timeout_seconds or default_timeout
    try:
        return Timing(settings.claims_ttl_seconds, settings.claims_heartbeat_seconds, timeout)
    except ValueError as error:
        logger.warning("claims_*_seconds are ignored, using the defaults: %s", error)
        return Timing(timeout=default_timeout)


def _shut(counter: _Counter) -> None:
    """Runs on the counter's own loop."""
    for keeper in counter.keepers:
        keeper.stop()
    closing = asyncio.ensure_future(counter.registry.aclose())
    _closing.add(closing)
    closing.add_done_callback(_closing.discard)


_closing: set[asyncio.Future[None]] = set()


def _unheard(operation: str, result: str, seconds: float) -> None:
    """Calls on behalf of a dead process have no listener."""
