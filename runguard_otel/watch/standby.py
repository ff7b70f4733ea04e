"""Two watchers of one server: one is active, the other stands by and knows all that it knows.

Which one, the claims registry says, by the same leases as of jobs. Only a lease that is known to
run lets a watcher act. One whose registry cannot be asked any more goes on telling what it finds,
for nobody can take over by a registry that is gone; one that comes up then is silent.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import logging
import math
import os
import socket
import uuid
from dataclasses import replace
from typing import Final, Protocol

from runguard_otel.claims.circuit import BoundedRegistry, Circuit
from runguard_otel.claims.clock import boottime
from runguard_otel.claims.holder import LeaseHolder
from runguard_otel.claims.key import claim_key
from runguard_otel.claims.nap import Later, call_later
from runguard_otel.claims.registries.open import open_registry
from runguard_otel.claims.registry import ClaimRegistry, Holder, RegistryUnavailable
from runguard_otel.claims.service import timing_of
from runguard_otel.claims.state import ClaimState, Policy
from runguard_otel.claims.within import within
from runguard_otel.core.ports import ClaimEvent, JobFacts
from runguard_otel.core.verdict import Clock
from runguard_otel.settings import Settings
from runguard_otel.watch.voice import Voice

__all__ = ["Duty", "RegistryCalls", "Standby"]

logger = logging.getLogger("runguard_otel.watch")

TICK: Final = 0.25
SKEW: Final = 1.0
"""How much later than this one another watcher may hear of the same thing, in seconds."""
STOP_SECONDS: Final = 2.0
"""For giving back the lease when the process ends."""


class Duty(str, enum.Enum):
    """What a watcher does, of several of one server."""

    ALONE = "alone"
    """No registry is named: it tells and acts."""
    ACTIVE = "active"
    STANDBY = "standby"
    UNPROVEN = "unproven"
    """It was active, and the registry cannot be asked any more: it tells, and does not act."""

    def __str__(self) -> str:
        return self.value


class RegistryCalls(Protocol):
    """Counts calls to the registry."""

    def registry_call(self, operation: str, result: str, seconds: float) -> None:
        """One of them, and how it ended."""


class Standby:
    """Keeps asking for the lease of one server's watcher, and says whose turn it is.

    Args:
        settings: ``claims_url`` and its like.
        server: ``LIVEKIT_URL``: watchers of one server have one lease.
        voice: Tells what is found, in our turn.
        calls: Counts calls to the registry.
        registry: For tests; else the one that the settings name.
        clock: Seconds that suspend does not stop; for tests.
        later: For tests.

    Raises:
        SettingsError: If the settings name no registry that can be had.
    """

    def __init__(
        self,
        settings: Settings,
        server: str,
        voice: Voice,
        calls: RegistryCalls,
        *,
        registry: ClaimRegistry | None = None,
        clock: Clock = boottime,
        later: Later = call_later,
    ) -> None:
        self._registry = registry or open_registry(settings.claims_url, settings)
        timing = timing_of(settings, self._registry.default_timeout)
        self._timing = replace(timing, notice=math.inf)  # one that lives is waited for
        self._key = claim_key(
            JobFacts(server, "", "", "RUNGUARD_WATCH", "", "", settings.claims_namespace)
        )
        self._voice = voice
        self._calls = calls
        self._clock = clock
        self._later = later
        self._circuit = Circuit(clock)
        self._instance = uuid.uuid4().hex
        self._worker = f"watch-{socket.gethostname()}-{os.getpid()}"
        self._holder: LeaseHolder | None = None
        self._claiming: asyncio.Task[bool] | None = None
        self._known_until = -math.inf
        self._blind = False
        self._said: Duty | None = None
        self._how = ""

    @property
    def duty(self) -> Duty:
        """What this watcher does at this moment."""
        holder = self._holder
        if holder is None or not holder.token or holder.state.final:
            return Duty.STANDBY
        return Duty.ACTIVE if holder.verified else Duty.UNPROVEN

    @property
    def blind(self) -> bool:
        """Whether the registry cannot be asked, so that nobody knows whose turn it is."""
        return self._blind or self.duty is Duty.UNPROVEN

    @property
    def seconds_to_act(self) -> float:
        """For how long this watcher is certainly the only one that may act; 0 if it may not."""
        return max(self._holder.left(), 0.0) if self._holder and self.duty is Duty.ACTIVE else 0.0

    async def run(self) -> None:
        """Ask for the lease, keep it, ask again, until cancelled."""
        with contextlib.suppress(RegistryUnavailable, asyncio.TimeoutError):
            await within(10 * self._timing.timeout, self._registry.open())
        looks = asyncio.ensure_future(self._look_forever())
        try:
            while True:
                holder = self._holder = self._new_holder()
                if await self._claimed(holder):
                    await self._be_active(holder)
                else:
                    await self._until_the_registry_answers()
        finally:
            looks.cancel()

    async def stop(self) -> None:
        """Give the lease back, so that the other takes over at once. Raises nothing."""
        self._voice.end()
        holder, self._holder = self._holder, None
        with contextlib.suppress(RegistryUnavailable, asyncio.TimeoutError):
            if holder is not None and holder.token:
                await asyncio.wait_for(holder.release(), STOP_SECONDS)
            else:  # a request may have been under way
                given = self._bounded().abandon(self._key, self._instance, self._worker)
                await asyncio.wait_for(given, STOP_SECONDS)
        with contextlib.suppress(RegistryUnavailable, asyncio.TimeoutError):
            await asyncio.wait_for(self._registry.aclose(), STOP_SECONDS)

    # -- what becomes of the lease (core.ports.ClaimListener) -----------------------------------

    def claim_event(self, event: ClaimEvent) -> None:
        """See :class:`~runguard_otel.core.ports.ClaimListener`."""
        if event.kind in ("acquired", "taken_over", "passed_on", "reentered", "handed_off"):
            self._how = event.kind

    def registry_call(self, operation: str, result: str, seconds: float) -> None:
        """See :class:`~runguard_otel.core.ports.ClaimListener`."""
        self._calls.registry_call(operation, result, seconds)
        if result == "error" and self._claiming is not None:
            self._claiming.cancel()

    def claim_lost(self, cause: str) -> None:
        """See :class:`~runguard_otel.core.ports.ClaimListener`."""

    # -- inside ---------------------------------------------------------------------------------

    async def _claimed(self, holder: LeaseHolder) -> bool:
        """Wait for the lease; no as soon as the registry does not answer.

        A lease may have run out while nobody could renew it. Its holder may live.
        """
        claiming = self._claiming = asyncio.ensure_future(holder.claim())
        try:
            await asyncio.wait({claiming})
        finally:
            self._claiming = None
            claiming.cancel()
        return not claiming.cancelled() and claiming.result()

    async def _be_active(self, holder: LeaseHolder) -> None:
        # Who gave the lease back told of everything until then; of who was killed only its last
        # heartbeat is known.
        given = self._how == "acquired"
        self._voice.begin(holder.rival_held if given else self._told_until(holder))
        holder.start()
        self._look()
        try:
            while not holder.state.final:
                await self._sleep(TICK)
        finally:
            holder.stop()
        self._voice.end()

    async def _until_the_registry_answers(self) -> None:
        """Then one lease more: an active one that lives comes back first."""
        self._blind = True
        logger.warning("the claims registry cannot be asked: this watcher is silent until it can")
        while True:
            await self._sleep(1.0)
            with contextlib.suppress(RegistryUnavailable, asyncio.TimeoutError):
                await within(2 * self._timing.timeout, self._registry.inspect(self._key))
                break
        self._blind = False
        self._circuit.succeeded()
        await self._sleep(self._timing.ttl)

    async def _look_forever(self) -> None:
        while True:
            await self._sleep(TICK)
            self._look()

    def _look(self) -> None:
        holder, duty = self._holder, self.duty
        if duty is Duty.STANDBY and holder is not None:
            self._voice.forget_until(self._told_until(holder))
        elif duty is not Duty.STANDBY and holder is not None:
            # A lease that ran out while nobody could look may be another's: ask first.
            self._voice.sure(
                duty is Duty.ACTIVE or (holder.unheard and holder.state is ClaimState.EXPIRED)
            )
        if duty is not self._said:
            logger.log(logging.INFO if self._said is None else logging.WARNING, _WORDS[duty])
            self._said = duty

    def _told_until(self, holder: LeaseHolder) -> float:
        """Until when another watcher is known to have told what it found."""
        self._known_until = max(self._known_until, holder.rival_lived - SKEW)
        return self._known_until

    async def _sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def _new_holder(self) -> LeaseHolder:
        self._how = ""
        who = Holder(self._instance, uuid.uuid4().hex, self._worker)
        return LeaseHolder(
            self._bounded(), self._key, who, self,
            timing=self._timing, policy=Policy(fail_open=False), clock=self._clock,
            later=self._later,
        )  # fmt: skip

    def _bounded(self) -> BoundedRegistry:
        return BoundedRegistry(
            self._registry, self._timing.timeout, self._circuit, self.registry_call, self._clock
        )


_WORDS: Final = {
    Duty.ACTIVE: "this watcher is active: it reports what it finds",
    Duty.STANDBY: "this watcher stands by: it reports nothing until no other one is active",
    Duty.UNPROVEN: (
        "the claims registry cannot be asked: this watcher, which was active, goes on reporting "
        "and does not act any more"
    ),
}
