"""The holder's side of a claim: acquire, probe, renew, know when it is lost, give it back.

States (``docs/claims.md`` has the drawing)::

    IDLE -> HELD <-> UNCERTAIN <-> EXPIRED -> SUPERSEDED
    IDLE -> STANDBY -> HELD | LOST
    IDLE -> UNVERIFIED -> HELD | SUPERSEDED
    any of them -> RELEASED

Every lease is measured on our own clock from *before* the request was sent: the registry's lease
began later than that, so we stop believing in ours before anybody else can have it.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable

from runguard_otel.claims.circuit import BoundedRegistry
from runguard_otel.claims.clock import boottime
from runguard_otel.claims.registry import (
    Granted,
    Held,
    Holder,
    Missing,
    RegistryUnavailable,
    Renewed,
    Superseded,
)
from runguard_otel.claims.standby import Standby
from runguard_otel.claims.state import ClaimState, Policy, Timing
from runguard_otel.core.ports import ClaimEvent, ClaimListener
from runguard_otel.core.verdict import Clock

__all__ = ["ClaimKeeper"]

logger = logging.getLogger("runguard_otel")

_KIND_OF = {
    "new": "acquired",
    "reentrant": "reentered",
    "handoff": "handed_off",
    "takeover": "taken_over",
}


class ClaimKeeper:
    """One claim of one instance. All of it runs on one event loop.

    Args:
        registry: Where the claim is kept.
        key: The claim key.
        who: Ourselves.
        listener: Hears events and loss.
        timing: How long things take.
        policy: What to do without proof.
        clock: Seconds that suspend does not stop; for tests.
        sleep: For tests.
        jitter: Uniform in [0, 1); for tests.
    """

    def __init__(
        self,
        registry: BoundedRegistry,
        key: str,
        who: Holder,
        listener: ClaimListener,
        *,
        timing: Timing | None = None,
        policy: Policy | None = None,
        clock: Clock = boottime,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.key = key
        self.who = who
        self.timing = timing or Timing()
        self.state = ClaimState.IDLE
        self.token = 0
        self.cause = ""
        self.rival_token = 0
        self._registry = registry
        self._listener = listener
        self._policy = policy or Policy()
        self._clock = clock
        self._sleep = sleep
        self._unheard = False
        self._jitter = jitter
        self._since = 0.0  # when the request that last succeeded was sent
        self._stopped = False
        self._heart: asyncio.Task[None] | None = None

    @property
    def verified(self) -> bool:
        """Whether our lease is known to run right now: a look at the clock, safe in any thread."""
        return bool(self.token) and not self.state.final and self.left() > 0

    def left(self) -> float:
        """Seconds until we stop believing in the lease; negative once that is past."""
        return self._since + self.timing.expires - self._clock()

    async def claim(self, *, standby: float = 0.0) -> bool:
        """Try to become the holder.

        Args:
            standby: How long to watch a holder before giving up, in seconds; 0 answers at once.

        Returns:
            Whether to serve: held, or unverified and the policy is to fail open. After a no,
            ``cause`` says why; it is ``in_doubt`` (and nothing is reported) if there was no time to
            find out whether the holder is alive.
        """
        watch = Standby(self.timing, standby, self._clock)
        while True:
            sent = self._clock()
            try:
                answer = await self._acquire(watch)
            except RegistryUnavailable:
                if watch.waiting and not watch.over():
                    await self._sleep(self.timing.probe)
                    continue
                return self._without_proof(watch)
            if isinstance(answer, Granted):
                self._granted(answer, sent, watch.waited())
                return True
            self.rival_token = answer.token
            verdict = watch.see(answer)
            if verdict:
                self._refused(verdict, watch.waited())
                return False
            self.state = ClaimState.STANDBY
            await self._sleep(watch.pause(answer))

    def start(self) -> None:
        """Begin renewing (or, while unverified, claiming late) until released or lost."""
        if self._heart is None and not self.state.final:
            self._heart = asyncio.get_running_loop().create_task(
                self._beat_forever(), name="runguard-claim"
            )
            self._heart.add_done_callback(_report)

    async def release(self) -> bool:
        """Stop renewing and give the claim back if it is still ours.

        Returns:
            Whether this call released it.
        """
        self.stop()
        if self.state.final:
            return False
        token, self.state = self.token, ClaimState.RELEASED
        if not token:
            return False
        try:
            released = await self._registry.release(self.key, self.who, token)
        except RegistryUnavailable:
            return False  # the lease runs out by itself
        if released:
            self._tell("released", token=token)
        return released

    async def beat(self) -> None:
        """One heartbeat: renew, or claim again, and see how old the lease has become."""
        self.age()
        sent = self._clock()
        self._unheard = False
        try:
            if not self.token:
                await self._claim_late()
                return
            answer = await self._registry.renew(self.key, self.who, self.token, self.timing.ttl)
            if self.state.final:
                return
            if isinstance(answer, Renewed):
                self._renewed(sent)
            elif isinstance(answer, Missing) or self._is_mine(answer):
                await self._claim_late()  # the registry lost its data, or somebody tidied up
            else:
                self._superseded(answer)
        except RegistryUnavailable:
            self._unheard = True
            self.age()

    def age(self) -> None:
        """Notice that nothing has been heard for too long."""
        if self.state not in (ClaimState.HELD, ClaimState.UNCERTAIN):
            return
        silent = self._clock() - self._since
        if silent >= self.timing.expires:
            self.state = ClaimState.EXPIRED
            self._lost("expired", fatal=self._policy.stop_when_expired)
        elif silent >= self.timing.deadline and self.state is ClaimState.HELD:
            self.state = ClaimState.UNCERTAIN
            logger.warning("a claim was not renewed for %.1f s and is uncertain", silent)

    def pause(self) -> float:
        """Seconds until the next heartbeat.

        With jitter, so that the jobs of a worker do not beat in step. A beat that got no answer is
        repeated soon, so that one lost packet does not cost a third of the lease; the circuit keeps
        that cheap.
        """
        spread = 0.9 + 0.2 * self._jitter()
        if self._unheard and self.state in (ClaimState.HELD, ClaimState.UNCERTAIN):
            return min(0.2, self.timing.heartbeat / 10) * spread
        return self.timing.heartbeat * spread

    async def _beat_forever(self) -> None:
        while not self._stopped:
            await self._sleep(self.pause())
            if not self._stopped:
                await self.beat()

    async def _acquire(self, watch: Standby | None = None) -> Granted | Held:
        """Acquire; a failure that cost little time is tried once more (idempotent by instance)."""
        observed = watch.observation() if watch else None
        began = self._clock()
        try:
            return await self._registry.acquire(self.key, self.who, self.timing.ttl, observed)
        except RegistryUnavailable:
            if self._clock() - began > self.timing.timeout / 2:
                raise
            return await self._registry.acquire(self.key, self.who, self.timing.ttl, observed)

    async def _claim_late(self) -> None:
        sent = self._clock()
        answer = await self._acquire()
        if self.state.final:
            return
        if isinstance(answer, Granted):
            self._granted(answer, sent, 0.0)
        else:
            self._superseded(Superseded(answer.token, answer.job_id, answer.instance))

    def _granted(self, answer: Granted, sent: float, waited: float) -> None:
        self.token, self._since, self.state = answer.token, sent, ClaimState.HELD
        self.cause = ""
        self._tell(_KIND_OF[answer.how], waited=waited)

    def _renewed(self, sent: float) -> None:
        self._since = sent
        restored, self.state = self.state is not ClaimState.HELD, ClaimState.HELD
        if restored:  # routine renewals are only counted: one event per call and 3 s is noise
            self._tell("renewed", "restored")

    def _refused(self, cause: str, waited: float) -> None:
        self.state, self.cause = ClaimState.LOST, cause
        if cause == "in_doubt":
            return
        self._tell("refused", cause, waited=waited)

    def _without_proof(self, watch: Standby) -> bool:
        self.cause = "unreachable"
        if self._policy.fail_open:
            self.state = ClaimState.UNVERIFIED
            self._tell("unverified", "unreachable", waited=watch.waited())
            return True
        self._refused("unreachable", watch.waited())
        return False

    def _is_mine(self, answer: Superseded) -> bool:
        """Our own record, released behind our back: by a worker that took us for dead."""
        return answer.token == self.token and answer.instance == self.who.instance

    def _superseded(self, answer: Superseded) -> None:
        self.rival_token = answer.token
        same_job = answer.job_id == self.who.job_id
        self.stop()
        self.state = ClaimState.SUPERSEDED
        cause = "handed_off" if same_job else "superseded"
        self._lost(cause, fatal=self._policy.stop_when_superseded)

    def _lost(self, cause: str, *, fatal: bool) -> None:
        self.cause = cause
        self._tell("lost", cause)
        if fatal:
            self.stop()
            self._listener.claim_lost(cause)

    def stop(self) -> None:
        """Stop renewing, and release nothing. On the keeper's own loop."""
        self._stopped = True
        heart = self._heart
        if heart is not None and heart is not asyncio.current_task():
            heart.cancel()

    def _tell(self, kind: str, cause: str = "", waited: float = 0.0, token: int = 0) -> None:
        self._listener.claim_event(
            ClaimEvent(kind, cause, token or self.token, self.rival_token, waited)
        )


def _report(heart: asyncio.Task[None]) -> None:
    """A heartbeat that died of a bug must not do so silently; the watchdog sees the lease age."""
    if not heart.cancelled() and heart.exception() is not None:
        logger.error("a claim's heartbeat failed", exc_info=heart.exception())
