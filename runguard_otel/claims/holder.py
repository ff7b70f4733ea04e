"""The holder's side of a claim: acquire, probe, renew, know when it is lost, give it back.

States (``docs/claims.md`` has the drawing)::

    IDLE -> HELD <-> UNCERTAIN <-> EXPIRED -> SUPERSEDED
    IDLE -> STANDBY -> HELD | LOST
    IDLE -> UNVERIFIED -> HELD | SUPERSEDED
    any of them -> RELEASED

Beside its state a held claim is serving or *ending*; an ending one is superseded without loss.

Every lease is measured on our own clock from *before* the request was sent: the registry's lease
began later than that, so we stop believing in ours before anybody else can have it.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
from collections.abc import Callable
from contextlib import suppress

from runguard_otel.claims.circuit import BoundedRegistry
from runguard_otel.claims.clock import boottime
from runguard_otel.claims.holder_watch import HolderWatch
from runguard_otel.claims.nap import Later, Nap, call_later
from runguard_otel.claims.registry import (
    Granted,
    Held,
    Holder,
    Missing,
    Observation,
    RegistryUnavailable,
    Renewed,
    Superseded,
)
from runguard_otel.claims.state import ClaimState, Policy, Timing
from runguard_otel.core.ports import ClaimEvent, ClaimHolder, ClaimListener, Serves
from runguard_otel.core.verdict import Clock

__all__ = ["LeaseHolder"]

logger = logging.getLogger("runguard_otel")

_KIND_OF = {
    "new": "acquired",
    "reentrant": "reentered",
    "handoff": "handed_off",
    "takeover": "taken_over",
    "passed_on": "passed_on",
}


class LeaseHolder:
    """One claim of one instance. All of it runs on one event loop, except the marks.

    Args:
        registry: Where the claim is kept.
        key: The claim key.
        who: Ourselves.
        listener: Hears events and loss.
        timing: How long things take.
        policy: What to do without proof.
        clock: Seconds that suspend does not stop; for tests.
        later: For tests.
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
        later: Later = call_later,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.key = key
        self.who = who
        self.timing = timing or Timing()
        self.state = ClaimState.IDLE
        self.token = 0
        self.cause = ""
        self.rival = ClaimHolder()
        self.ending = False
        self._on_record_as_ending = False
        self._watch: HolderWatch | None = None
        self._registry = registry
        self._listener = listener
        self._policy = policy or Policy()
        self._clock = clock
        self._later = later
        self._jitter = jitter
        self._since = 0.0  # when the request that last succeeded was sent
        self._unheard = False
        self._marked = False
        self._stopped = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._heart: asyncio.Task[None] | None = None
        self._nap: Nap | None = None

    @property
    def verified(self) -> bool:
        """Whether our lease is known to run right now: a look at the clock, safe in any thread."""
        return bool(self.token) and not self.state.final and self.left() > 0

    def left(self) -> float:
        """Seconds until we stop believing in the lease; negative once that is past."""
        return self._since + self.timing.expires - self._clock()

    @property
    def rival_lived(self) -> float:
        """When another holder last showed that it lives, on our clock; minus infinity if none."""
        return self._watch.lived if self._watch is not None else -math.inf

    @property
    def rival_held(self) -> float:
        """When the registry last named another holder, on our clock; minus infinity if never."""
        return self._watch.answered if self._watch is not None else -math.inf

    @property
    def unheard(self) -> bool:
        """Whether the last heartbeat got no answer."""
        return self._unheard

    async def claim(self, *, patience: float = math.inf, serves: Serves | None = None) -> bool:
        """Try to become the holder, standing by while another job is.

        Args:
            patience: How long to watch a holder that is not known to serve, in seconds.
            serves: A witness of whether another holder serves at this moment.

        Returns:
            Whether to serve: held, or unverified and the policy is to fail open. After a no,
            ``cause`` says why: ``holder_renewed``, ``registry_closed``, or ``holder_stayed`` if
            patience ran out.
        """
        watch = self._watch = HolderWatch(self.timing, self._clock)
        word: bool | None = None
        at_once = False
        while True:
            sent = self._clock()
            seen = watch.as_if_run_out() if word is False else watch.observation()
            try:
                answer = await self._acquire(seen)
            except RegistryUnavailable:
                if watch.blind():
                    return self._without_proof(watch.waited())
                await self._nap_for(self.timing.probe)
                continue
            if isinstance(answer, Granted):
                self._granted(answer, sent, watch.waited())
                return True
            self.rival = _holder(answer)
            word = self._ask(serves)
            if watch.see(answer, serves=word):
                return self._refused("holder_renewed", watch.waited())
            left = patience - watch.waited()
            if left <= 0:
                return self._refused("holder_stayed", watch.waited())
            self.state = ClaimState.STANDBY
            at_once = word is False and not at_once
            if not at_once:
                await self._nap_for(min(watch.pause(answer), left))
                word = self._ask(serves)

    async def reserve(self) -> bool:
        """Try once; do not refuse because somebody else holds it.

        Returns:
            Whether to go on: held, or unverified and the policy is to fail open. After a no,
            ``cause`` is ``registry_closed``, or ``""`` if another job holds it.
        """
        sent = self._clock()
        try:
            answer = await self._acquire()
        except RegistryUnavailable:
            return self._without_proof(0.0)
        if isinstance(answer, Granted):
            self._granted(answer, sent, 0.0)
            return True
        self.state, self.rival = ClaimState.LOST, _holder(answer)
        return False

    def start(self) -> None:
        """Begin renewing (or, while unverified, claiming late) until released or lost."""
        if self._heart is None and not self.state.final:
            self._loop = asyncio.get_running_loop()
            self._heart = self._loop.create_task(self._beat_forever(), name="runguard-claim")
            self._heart.add_done_callback(_report)

    def mark_ending(self) -> None:
        """See :class:`~runguard_otel.core.ports.ClaimHandle`."""
        if not self.ending and not self.state.final:
            self.ending = True
            self._beat_soon()

    def mark_serving(self) -> bool:
        """See :class:`~runguard_otel.core.ports.ClaimHandle`."""
        if self.state.final:
            return False
        if self.ending:
            self.ending = False
            self._beat_soon()
        return True

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
        sent, ending = self._clock(), self.ending
        self._marked = self._unheard = False
        try:
            if not self.token:
                await self._claim_late()
                return
            answer = await self._registry.renew(
                self.key, self.who, self.token, self.timing.ttl, ending=ending
            )
            if self.state.final:
                return
            if isinstance(answer, Renewed):
                self._renewed(sent, ending)
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
            if not self.ending:
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

    def stop(self) -> None:
        """Stop renewing, and release nothing. On the holder's own loop."""
        self._stopped = True
        heart = self._heart
        if heart is not None and heart is not asyncio.current_task():
            heart.cancel()

    async def _beat_forever(self) -> None:
        while not self._stopped:
            await self._nap_unless_marked()
            if not self._stopped:
                await self.beat()

    async def _nap_unless_marked(self) -> None:
        """Until the next beat is due; a mark is due at once, also one that was set meanwhile."""
        if not self._marked:
            await self._nap_for(self.pause())

    async def _nap_for(self, seconds: float) -> None:
        """Sleep, unless something happens."""
        self._nap = Nap(seconds, self._later)
        await self._nap.over()

    def _beat_soon(self) -> None:
        self._marked = True
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop is closed: so is the job
                self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        if self._nap is not None:
            self._nap.wake()

    def _ask(self, serves: Serves | None) -> bool | None:
        """What the witness knows of the rival; its news ends the nap."""
        return serves(self.rival, self._wake) if serves is not None else None

    async def _acquire(self, observed: Observation | None = None) -> Granted | Held:
        """Acquire; a failure that cost little time is tried once more (idempotent by instance)."""
        began = self._clock()
        try:
            return await self._registry.acquire(self.key, self.who, self.timing.ttl, observed)
        except RegistryUnavailable:
            if self._clock() - began > self.timing.timeout / 2:
                raise
            return await self._registry.acquire(self.key, self.who, self.timing.ttl, observed)

    async def _claim_late(self) -> None:
        if self.ending:  # whom it would keep out may have it
            return
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
        self._on_record_as_ending = False
        self._tell(_KIND_OF[answer.how], waited=waited)

    def _renewed(self, sent: float, ending: bool) -> None:
        self._since = sent
        restored, self.state = self.state is not ClaimState.HELD, ClaimState.HELD
        before, self._on_record_as_ending = self._on_record_as_ending, ending
        if ending and not before:
            self._tell("ending")
        elif before and not ending:
            self._tell("renewed", "serving_again")
        elif restored:  # routine renewals are only counted: one event per call and 3 s is noise
            self._tell("renewed", "restored")

    def _refused(self, cause: str, waited: float) -> bool:
        self.state, self.cause = ClaimState.LOST, cause
        self._tell("refused", cause, waited=waited)
        return False

    def _without_proof(self, waited: float) -> bool:
        if not self._policy.fail_open:
            return self._refused("registry_closed", waited)
        self.state, self.cause = ClaimState.UNVERIFIED, "unreachable"
        self._tell("unverified", "unreachable", waited=waited)
        return True

    def _is_mine(self, answer: Superseded) -> bool:
        """Our own record, released behind our back: by a worker that took us for dead."""
        return answer.token == self.token and answer.instance == self.who.instance

    def _superseded(self, answer: Superseded) -> None:
        self.rival = ClaimHolder(answer.token, answer.job_id)
        self.stop()
        self.state = ClaimState.SUPERSEDED
        if answer.job_id == self.who.job_id:
            cause = "handed_off"
        elif self.ending or self._on_record_as_ending:
            cause = "passed_on"
        else:
            self._lost("superseded", fatal=self._policy.stop_when_superseded)
            return
        self.cause = cause
        self._tell("released", cause)
        if not self.ending and self._policy.stop_when_superseded:
            self._listener.claim_lost(cause)

    def _lost(self, cause: str, *, fatal: bool) -> None:
        self.cause = cause
        self._tell("lost", cause)
        if fatal:
            self.stop()
            self._listener.claim_lost(cause)

    def _tell(self, kind: str, cause: str = "", waited: float = 0.0, token: int = 0) -> None:
        self._listener.claim_event(ClaimEvent(kind, cause, token or self.token, self.rival, waited))


def _holder(held: Held) -> ClaimHolder:
    return ClaimHolder(held.token, held.job_id, held.worker, held.held_seconds)


def _report(heart: asyncio.Task[None]) -> None:
    """A heartbeat that died of a bug must not do so silently; the watchdog sees the lease age."""
    if not heart.cancelled() and heart.exception() is not None:
        logger.error("a claim's heartbeat failed", exc_info=heart.exception())
