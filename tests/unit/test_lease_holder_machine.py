"""Whatever happens to three jobs and their registry, no two believe in the same room at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)

from runguard_otel.claims import lease as rules
from runguard_otel.claims.circuit import Circuit
from runguard_otel.claims.holder import LeaseHolder
from runguard_otel.claims.registry import Granted, Renewed
from runguard_otel.claims.state import ClaimState
from tests.kit.claims import KEY, FaultyRegistry, World

pytestmark = pytest.mark.unit

JOBS = st.sampled_from(["AJ_a", "AJ_b", "AJ_c"])


class Claims(RuleBasedStateMachine):
    """Jobs claim, beat, stall, die, release; the registry fails and loses replies, never data.

    Lost data is left out on purpose: the double holding that follows from it is documented, bounded
    by one heartbeat, and has a test of its own.
    """

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.holders: dict[str, tuple[LeaseHolder, FaultyRegistry]] = {}
        self.highest = 0
        self.instances = 0

    @rule(job=JOBS, patience=st.sampled_from([0.0, 10.0]))
    def claim(self, job: str, patience: float) -> None:
        self.instances += 1
        holder, _, registry = self.world.holder(
            job, instance=f"{job}/{self.instances}", circuit=Circuit(self.world.clock)
        )
        if job in self.holders:  # an older instance of the job lives on, fenced off
            self.holders[f"{job}/{self.instances}"] = self.holders.pop(job)
        self.holders[job] = (holder, registry)
        self.run(holder.claim(patience=patience))
        if holder.state is ClaimState.HELD:
            assert holder.token > self.highest
            self.highest = holder.token

    @rule(job=JOBS)
    def beat(self, job: str) -> None:
        if job in self.holders and not self.holders[job][0].state.final:
            holder = self.holders[job][0]
            self.run(holder.beat())
            self.highest = max(self.highest, holder.token)

    @rule()
    def older_instances_beat(self) -> None:
        """An instance whose job was handed on keeps its belief until its next beat, not longer."""
        for key, (holder, registry) in self.holders.items():
            if "/" in key and not holder.state.final:
                healthy = not (registry.down or registry.lose_replies or registry.seconds_per_call)
                asked = registry.calls
                self.run(holder.beat())
                if healthy and registry.calls > asked:  # an open circuit asks nobody
                    assert not holder.verified, holder.state

    @rule(job=JOBS)
    def release(self, job: str) -> None:
        if job in self.holders:
            self.run(self.holders[job][0].release())

    @rule(job=JOBS)
    def die(self, job: str) -> None:
        self.holders.pop(job, None)

    @rule(job=JOBS, down=st.booleans(), lost=st.integers(0, 2), slow=st.sampled_from([0.0, 0.2]))
    def fault(self, job: str, down: bool, lost: int, slow: float) -> None:
        if job in self.holders:
            registry = self.holders[job][1]
            registry.down, registry.lose_replies, registry.seconds_per_call = down, lost, slow

    @rule(seconds=st.sampled_from([0.1, 1.0, 2.7, 3.0, 6.0, 8.54, 8.56, 9.01, 60.0]))
    def wait(self, seconds: float) -> None:
        self.world.pass_time(seconds)

    @invariant()
    def at_most_one_job_believes(self) -> None:
        """Older instances of a job are apart: a hand-off fences them off at their next beat."""
        believing = {k.who.job_id for k in self.newest() if k.verified}
        assert len(believing) <= 1, believing

    @invariant()
    def who_believes_is_on_record(self) -> None:
        for holder in self.newest():
            lease = self.world.store.leases.get(KEY)
            if holder.verified:
                assert lease is not None
                assert lease.who.job_id == holder.who.job_id
                assert lease.ends > self.world.now

    def newest(self) -> list[LeaseHolder]:
        """The latest instance of every job."""
        return [holder for key, (holder, _) in self.holders.items() if "/" not in key]

    def run(self, work: Coroutine[Any, Any, object]) -> None:
        asyncio.run(work)


CHECK = settings(max_examples=60, stateful_step_count=30, deadline=None)
SEARCH = settings(
    max_examples=2000,
    stateful_step_count=30,
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.generate],
)
Claims.TestCase.settings = CHECK
TestClaims = Claims.TestCase


def deadline_from_the_reply(patch: pytest.MonkeyPatch) -> None:
    """Believe in the lease from when the answer came, to its last moment."""

    def left(self: LeaseHolder) -> float:
        return self._since + 0.2 + self.timing.ttl - self._clock()

    patch.setattr(LeaseHolder, "left", left)


def renew_without_compare(patch: pytest.MonkeyPatch) -> None:
    """The registry says yes to whoever renews."""
    patch.setattr(rules, "renew", lambda lease, *_: (lease, Renewed()))


def no_token_bump(patch: pytest.MonkeyPatch) -> None:
    """A new holder gets the old token."""
    real = rules.acquire

    def acquire(lease: rules.Lease | None, *args: Any) -> Any:
        changed, answer = real(lease, *args)
        if lease is not None and changed is not None and isinstance(answer, Granted):
            changed = changed._replace(token=lease.token)
            answer = replace(answer, token=lease.token)
        return changed, answer

    patch.setattr(rules, "acquire", acquire)


def get_then_take(patch: pytest.MonkeyPatch) -> None:
    """Whoever asks gets it, as if the check and the write were two steps."""
    real = rules.acquire

    def acquire(lease: rules.Lease | None, *args: Any) -> Any:
        gone = None if lease is None else lease._replace(held=False)
        return real(gone, *args)

    patch.setattr(rules, "acquire", acquire)


@pytest.mark.parametrize(
    "mutant", [deadline_from_the_reply, renew_without_compare, no_token_bump, get_then_take]
)
def test_the_machine_catches_the_mutant(
    mutant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    mutant(monkeypatch)
    search: Any = run_state_machine_as_test  # typed in some releases of hypothesis only
    with pytest.raises(AssertionError):
        search(Claims, settings=SEARCH)
