"""Where jobs get their claims: builds registries and holders from settings (a ClaimsPort)."""

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
from runguard_otel.claims.holder import LeaseHolder
from runguard_otel.claims.key import claim_key
from runguard_otel.claims.registries.open import backend_of, load, open_registry
from runguard_otel.claims.registry import (
    RESERVED,
    ClaimRegistry,
    Holder,
    RegistryUnavailable,
)
from runguard_otel.claims.state import ClaimState, Policy, Timing
from runguard_otel.claims.watchdog import Watchdog
from runguard_otel.claims.within import within
from runguard_otel.core.ports import ClaimAnswer, ClaimListener, JobFacts, Serves
from runguard_otel.errors import SettingsError
from runguard_otel.settings import Settings

__all__ = ["ClaimService", "check_timing", "timing_of"]

logger = logging.getLogger("runguard_otel")

Opener = Callable[[str, Settings], ClaimRegistry]


@dataclass
class _PerLoop:
    """The registry of one event loop (its connections belong to that loop) and who uses it."""

    registry: ClaimRegistry
    timing: Timing
    holders: set[LeaseHolder] = field(default_factory=set)
    for_worker: bool = False


class ClaimService:
    """Everything about claims that one process needs.

    Args:
        settings: The ``claims_*`` settings.
        worker: Returns the worker's name (a job process learns it after this is built).
        opener: Builds a registry; for tests.
    """

    def __init__(
        self, settings: Settings, worker: Callable[[], str], opener: Opener = open_registry
    ) -> None:
        self._settings = settings
        self._worker = worker
        self._opener = opener
        self._loops: WeakKeyDictionary[asyncio.AbstractEventLoop, _PerLoop] = WeakKeyDictionary()
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
            registry = self._here().registry
            await within(10 * registry.default_timeout, registry.open())
        except (RegistryUnavailable, asyncio.TimeoutError) as error:
            self._circuit.failed(self.backend, str(error) or "no connection in time")

    def key(self, job: JobFacts) -> str:
        """See :class:`~runguard_otel.core.ports.ClaimsPort`."""
        namespace = job.namespace or self._settings.claims_namespace
        metadata = job.metadata if self._settings.claims_by_metadata else ""
        return claim_key(replace(job, namespace=namespace, metadata=metadata))

    async def claim_for_worker(self, job: JobFacts, listener: ClaimListener) -> ClaimAnswer:
        """See :class:`~runguard_otel.core.ports.ClaimsPort`."""
        here = self._here()
        here.for_worker = True
        holder = self._new_holder(here, job, listener, prefix=RESERVED)
        if await self._asked(holder, holder.reserve()):
            return ClaimAnswer(Claim(holder, self.over))
        if _unanswered(holder):
            return ClaimAnswer(None, holder.cause, holder.rival)
        return ClaimAnswer(NoClaim(), holder=holder.rival)

    def claim_for_job(
        self, job: JobFacts, listener: ClaimListener, serves: Serves | None = None
    ) -> Coroutine[None, None, ClaimAnswer]:
        """See :class:`~runguard_otel.core.ports.ClaimsPort`."""
        return self._claim_for_job(CurrentClaim.of_this_job(), job, listener, serves)

    async def _claim_for_job(
        self, current: CurrentClaim, job: JobFacts, listener: ClaimListener, serves: Serves | None
    ) -> ClaimAnswer:
        here = self._here()
        holder = self._new_holder(here, job, listener)
        if not await self._asked(holder, holder.claim(serves=serves)):
            if not _unanswered(holder):
                await self.over(holder)
            return ClaimAnswer(None, holder.cause, holder.rival)
        here.holders.add(holder)
        holder.start()
        current.claim = claim = Claim(holder, self.over)
        self._watchdog.watch(holder)
        return ClaimAnswer(claim)

    async def abandon(self, job: JobFacts) -> None:
        """See :class:`~runguard_otel.core.ports.ClaimsPort`."""
        try:
            await self._bounded(self._here(), _unheard).abandon(
                self.key(job), job.job_id, self._worker()
            )
        except RegistryUnavailable as error:
            logger.debug("a dead job's claim could not be released, its lease ends: %s", error)

    async def over(self, holder: LeaseHolder) -> None:
        """A claim was given back; the last one of a job's loop takes the connection with it."""
        self._watchdog.forget(holder)
        here = self._loops.get(asyncio.get_running_loop())
        if here is None:
            return
        here.holders.discard(holder)
        if not here.holders and not here.for_worker:
            self._loops.pop(asyncio.get_running_loop(), None)
            await here.registry.aclose()

    def close(self) -> None:
        """See :class:`~runguard_otel.core.ports.ClaimsPort`."""
        with self._lock:
            loops = list(self._loops.items())
            self._loops.clear()
        for loop, here in loops:
            for holder in here.holders:
                self._watchdog.forget(holder)
            if not loop.is_closed():
                loop.call_soon_threadsafe(_shut, here)

    async def _asked(self, holder: LeaseHolder, asking: Coroutine[None, None, bool]) -> bool:
        granted = False
        try:
            granted = await asking
        finally:
            # A refusal for want of an answer, or a cancellation, may leave a grant behind that
            # no job knows of; it would keep the room locked for one lease.
            if not granted and _unanswered(holder):
                self._later(self._give_up(holder))
        return granted

    async def _give_up(self, holder: LeaseHolder) -> None:
        try:
            await self._bounded(self._here(), _unheard).abandon(
                holder.key, holder.who.job_id, holder.who.worker
            )
        except RegistryUnavailable as error:
            logger.debug("an unanswered claim could not be taken back: %s", error)
        await self.over(holder)

    def _later(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    def _new_holder(
        self, here: _PerLoop, job: JobFacts, listener: ClaimListener, prefix: str = ""
    ) -> LeaseHolder:
        who = Holder(job.job_id, prefix + uuid.uuid4().hex, self._worker())
        registry = self._bounded(here, listener.registry_call)
        return LeaseHolder(
            registry, self.key(job), who, listener, timing=here.timing, policy=self._policy
        )

    def _bounded(self, here: _PerLoop, observe: Observe) -> BoundedRegistry:
        return BoundedRegistry(here.registry, here.timing.timeout, self._circuit, observe)

    def _here(self) -> _PerLoop:
        loop = asyncio.get_running_loop()
        with self._lock:
            here = self._loops.get(loop)
            if here is None:
                # A connection knows its loop, so an entry never goes by itself.
                for over in [known for known in self._loops if known.is_closed()]:
                    del self._loops[over]
                registry = self._open()
                timing = timing_of(self._settings, registry.default_timeout)
                here = self._loops[loop] = _PerLoop(registry, timing)
            return here

    def _open(self) -> ClaimRegistry:
        """The configured registry; one that never answers if it cannot be built (fail open)."""
        try:
            return self._opener(self._settings.claims_url, self._settings)
        except SettingsError as error:
            logger.error("claims cannot be verified: %s", error)
            from runguard_otel.claims.registries.unavailable import UnavailableRegistry

            return UnavailableRegistry(self.backend, str(error))


def timing_of(settings: Settings, default_timeout: float) -> Timing:
    """The timing from settings; the default, with a warning, if the values do not go together."""
    try:
        return _timing(settings, default_timeout)
    except ValueError as error:
        logger.warning("claims_*_seconds are ignored, using the defaults: %s", error)
        return Timing(timeout=default_timeout)


def check_timing(settings: Settings) -> None:
    """Refuse times that do not go together, whatever the registry's own timeout is.

    Raises:
        SettingsError: If they do not.
    """
    try:
        _timing(settings, min(Timing.timeout, settings.claims_heartbeat_seconds / 2))
    except ValueError as error:
        raise SettingsError(
            f"claims_ttl_seconds, claims_heartbeat_seconds and claims_timeout_seconds cannot be "
            f"used together: {error}"
        ) from error


def _timing(settings: Settings, default_timeout: float) -> Timing:
    timeout = settings.claims_timeout_seconds or default_timeout
    heartbeat = settings.claims_heartbeat_seconds
    return Timing(settings.claims_ttl_seconds, heartbeat, timeout, notice=2 * heartbeat)


def _unanswered(holder: LeaseHolder) -> bool:
    """Whether a claim that was not granted was not refused by a registry's answer either."""
    return holder.state is not ClaimState.LOST or holder.cause == "registry_closed"


def _shut(here: _PerLoop) -> None:
    """Runs on the loop whose registry it is."""
    for holder in here.holders:
        holder.stop()
    closing = asyncio.ensure_future(here.registry.aclose())
    _closing.add(closing)
    closing.add_done_callback(_closing.discard)


_closing: set[asyncio.Future[None]] = set()


def _unheard(operation: str, result: str, seconds: float) -> None:
    """Calls on behalf of a dead process have no listener."""
