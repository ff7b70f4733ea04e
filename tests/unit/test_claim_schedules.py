"""Callers come and go, jobs start late, end slowly, block and die, at any time: who serves them?

No schedule leaves a caller without an agent for longer than a lease, and in none do two agents
serve one room for longer than a moment. Time is virtual, everything else is the real thing.

What the model knows of LiveKit: an agent learns up to five seconds late that its caller is gone;
each joining caller has a job dispatched, and so has whoever lost his agent to a fault; a job may be
dispatched twice.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
)

from runguard_otel.claims import key as keys
from runguard_otel.claims.circuit import BoundedRegistry, Circuit
from runguard_otel.claims.holder import LeaseHolder
from runguard_otel.claims.holder_watch import HolderWatch
from runguard_otel.claims.registries.memory import MemoryRegistry, MemoryStore
from runguard_otel.claims.registries.sqlite import SqliteRegistry
from runguard_otel.claims.registry import RESERVED, ClaimRegistry, Held, Holder
from runguard_otel.core.ports import ClaimEvent, JobFacts
from tests.kit.virtual_time import VirtualLoop

pytestmark = pytest.mark.unit

Schedule = Callable[["World"], None]
Mutant = Callable[[pytest.MonkeyPatch], None]

ALONE_SECONDS = 10.5
"""A caller waits that long at most: a dead worker's lease, a look at it, the way to the room."""
TWICE_SECONDS = 0.5
"""How long two agents may serve: until one that woke up has asked the registry."""
CONNECT_SECONDS = 0.2
BACKLOG_SECONDS = 0.4
"""How long after a block an event loop may take to come to what it should have heard."""
FOR_EVER = 1e6
LOOK_SECONDS = 0.125


class Inline(SqliteRegistry):
    """SQLite without its thread, for which virtual time would not wait."""

    async def _run(self, work: Any) -> Any:
        return self._call(work)


@dataclass(eq=False)
class Caller:
    number: int
    present: bool = True


class Lease(LeaseHolder):
    """A holder whose event loop can be blocked."""

    running: asyncio.Event

    async def beat(self) -> None:
        await self.running.wait()
        await super().beat()


@dataclass(eq=False, repr=False)
class Job:
    """One dispatched job, in a worker and a process of its own, as the adapter treats it.

    ``state``: ``starting``, ``standby``, ``claimed``, ``serving``, ``ending``, ``over``.
    """

    world: World
    name: str
    caller: Caller
    start_seconds: float
    farewell_seconds: float
    state: str = "starting"
    faulty: bool = False
    up_at: float = FOR_EVER
    tasks: list[asyncio.Task[Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.running = asyncio.Event()
        self.running.set()
        self.lease = self.make(self.name)
        self.serves: Caller | None = None
        self.do(self.run())

    def __repr__(self) -> str:
        return f"{self.name}, {self.state}"

    def make(self, instance: str) -> Lease:
        world = self.world
        bounded = BoundedRegistry(
            world.registry(), 0.25, Circuit(world.clock), self.registry_call, world.clock
        )
        who = Holder(self.name, instance, f"worker of {self.name}")
        lease = Lease(
            bounded, world.key(self.caller), who, self, clock=world.clock, jitter=lambda: 0.5
        )
        lease.running = self.running
        return lease

    def do(self, work: Coroutine[Any, Any, object]) -> None:
        self.tasks.append(self.world.loop.create_task(work))

    async def run(self) -> None:
        reserved = self.make(f"{RESERVED}{self.name}")
        if not await reserved.reserve() and reserved.cause:
            self.up_at, self.state = self.world.clock(), "over"  # the worker refused it
            return
        await asyncio.sleep(self.start_seconds)
        self.up_at, self.state = self.world.clock(), "standby"
        if await self.lease.claim():
            self.state = "claimed"
            self.lease.start()
            await asyncio.sleep(CONNECT_SECONDS)
            await self.running.wait()
            if self.state == "claimed":
                self.state = "serving"
                self.serves = self.caller
                if not self.caller.present and not self.world.per_publisher:
                    self.serves = self.world.present
        else:
            self.state = "over"

    @property
    def alive(self) -> bool:
        return self.state != "over"

    @property
    def truly_serves(self) -> bool:
        """Whether there is somebody who is heard and answered."""
        heard = self.serves is not None and self.serves.present
        return self.state == "serving" and self.running.is_set() and heard

    async def learns_that_its_caller_left(self, after: float) -> None:
        await asyncio.sleep(after)
        if not self.running.is_set():
            await self.running.wait()
            await asyncio.sleep(BACKLOG_SECONDS)
        if self.state in ("claimed", "serving"):
            if not self.world.per_publisher:  # there is a session, whose end can be seen
                self.lease.mark_ending()
                self.state = "ending"
            await asyncio.sleep(self.farewell_seconds)
            if self.state == "ending" or self.world.per_publisher:
                await self.leave()

    async def leave(self) -> None:
        self.state = "over"
        await self.lease.release()

    def starts_another_session(self) -> None:
        self.state = "serving"
        self.serves = self.world.present
        if not self.lease.mark_serving():
            self.do(self.leave())

    def dies(self, *, with_its_worker: bool) -> None:
        self.state, self.faulty = "over", True
        self.world.loop.call_soon(self.lease.stop)
        for task in self.tasks:
            task.cancel()
        if not with_its_worker:
            self.do(self.tidied_up())

    async def tidied_up(self) -> None:
        await asyncio.sleep(0.1)
        registry = self.world.registry()
        await registry.abandon(self.world.key(self.caller), self.name, self.lease.who.worker)

    async def blocks(self, seconds: float) -> None:
        self.faulty = True
        self.running.clear()
        await asyncio.sleep(seconds)
        self.running.set()

    def claim_event(self, event: ClaimEvent) -> None:
        pass

    def registry_call(self, operation: str, result: str, seconds: float) -> None:
        pass

    def claim_lost(self, cause: str) -> None:
        self.state = "over"


WHICH = st.integers(0, 5)


class World(RuleBasedStateMachine):
    """One room."""

    per_publisher = False
    in_a_file = False

    def __init__(self) -> None:
        super().__init__()
        self.loop = VirtualLoop()
        asyncio.set_event_loop(self.loop)
        self.clock = self.loop.time
        self.store = MemoryStore(self.clock)
        self.folder = tempfile.TemporaryDirectory() if self.in_a_file else None
        self.jobs: list[Job] = []
        self.callers: list[Caller] = []
        self.served_at = self.fault_at = 0.0
        self.twice_since: float | None = None
        self.loop.run_until_complete(asyncio.sleep(1.0))

    def teardown(self) -> None:
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
        self.loop.run_until_complete(asyncio.sleep(0))
        self.loop.close()
        asyncio.set_event_loop(None)
        if self.folder is not None:
            self.folder.cleanup()

    def registry(self) -> ClaimRegistry:
        if self.folder is None:
            return MemoryRegistry(self.store)
        return Inline(Path(self.folder.name) / "claims.sqlite3", self.clock)

    def key(self, caller: Caller) -> str:
        kind = "JT_PUBLISHER" if self.per_publisher else "JT_ROOM"
        sid = f"PA_{caller.number}"
        facts = JobFacts("wss://h", "room", "", kind, "alice", "", participant_sid=sid)
        return keys.claim_key(facts)

    @property
    def present(self) -> Caller | None:
        return next((caller for caller in self.callers if caller.present), None)

    def dispatch(self, caller: Caller, start: float, farewell: float) -> None:
        self.jobs.append(Job(self, f"AJ_{len(self.jobs)}", caller, start, farewell))

    async def dispatched_again(self) -> None:
        await asyncio.sleep(1.0)
        if self.present is not None:
            self.dispatch(self.present, 0.2, 0.0)

    def in_state(self, *states: str) -> list[Job]:
        return [job for job in self.jobs if job.state in states]

    @precondition(lambda self: self.present is None)
    @rule(start=st.sampled_from([0.1, 1.0, 12.0]), farewell=st.sampled_from([0.0, 6.0, FOR_EVER]))
    def a_caller_joins(self, start: float, farewell: float) -> None:
        caller = Caller(len(self.callers))
        self.callers.append(caller)
        for job in self.in_state("serving"):
            if job.serves is None and not self.per_publisher:
                job.serves = caller
        self.dispatch(caller, start, farewell)

    @precondition(lambda self: self.present is not None)
    @rule(learned=st.sampled_from([0.0, 0.1, 4.9]))
    def the_caller_leaves(self, learned: float) -> None:
        caller = self.present
        assert caller is not None
        caller.present = False
        for job in self.jobs:
            if job.serves is caller or (job.state == "claimed" and job.caller is caller):
                job.do(job.learns_that_its_caller_left(learned))

    @precondition(lambda self: self.present is not None)
    @rule(start=st.sampled_from([0.1, 3.0]))
    def the_job_is_dispatched_twice(self, start: float) -> None:
        assert self.present is not None
        self.dispatch(self.present, start, 0.0)

    @precondition(lambda self: self.in_state("starting", "standby", "claimed", "serving", "ending"))
    @rule(which=WHICH, with_its_worker=st.booleans())
    def a_process_dies(self, which: int, with_its_worker: bool) -> None:
        living = [job for job in self.jobs if job.alive]
        living[which % len(living)].dies(with_its_worker=with_its_worker)
        self.fault_at = self.clock()
        self.loop.create_task(self.dispatched_again())

    @precondition(lambda self: self.in_state("claimed", "serving", "ending"))
    @rule(which=WHICH, seconds=st.sampled_from([2.0, 7.5, 20.0]))
    def an_event_loop_is_blocked(self, which: int, seconds: float) -> None:
        running = self.in_state("claimed", "serving", "ending")
        job = running[which % len(running)]
        if job.running.is_set():
            self.fault_at = self.clock()
            self.loop.create_task(job.blocks(seconds))
            self.loop.create_task(self.dispatched_again())

    @precondition(lambda self: not self.per_publisher and self.in_state("ending"))
    @rule(which=WHICH)
    def a_job_that_ends_starts_another_session(self, which: int) -> None:
        ending = self.in_state("ending")
        job = ending[which % len(ending)]
        if job.running.is_set():
            job.starts_another_session()

    @rule(seconds=st.sampled_from([0.2, 1.0, 2.5, 6.0, 11.0]))
    def time_passes(self, seconds: float) -> None:
        end = self.clock() + seconds
        while self.clock() < end:
            self.loop.run_until_complete(asyncio.sleep(LOOK_SECONDS))
            self.look()

    def look(self) -> None:
        now, caller = self.clock(), self.present
        serving = [job for job in self.jobs if job.truly_serves]
        if caller is None or serving:
            self.served_at = now
        else:
            # The clock runs once a process is up that no fault befell, and anew after each fault.
            up = [job.up_at for job in self.jobs if job.caller is caller and not job.faulty]
            waiting = now - max(self.served_at, self.fault_at, min(up, default=now))
            assert waiting <= ALONE_SECONDS, f"alone for {waiting:.1f} s"
        if len(serving) < 2:
            self.twice_since = None
        elif self.twice_since is None:
            self.twice_since = now
        else:
            assert now - self.twice_since <= TWICE_SECONDS, "two agents serve"

    @invariant()
    def somebody_looks(self) -> None:
        self.look()


class Publishers(World):
    """A job per publisher, which has no session and writes its summary when the caller is gone."""

    per_publisher = True


class InAFile(World):
    in_a_file = True


for machine, examples in ((World, 60), (Publishers, 30), (InAFile, 15)):
    machine.TestCase.settings = settings(
        max_examples=examples, stateful_step_count=25, deadline=None
    )
TestRoom = World.TestCase
TestPublishers = Publishers.TestCase
TestSqlite = InAFile.TestCase


# -- schedules that were found to matter, and the mistakes each of them shows --------------------


def nobody_notices_the_end(world: World) -> None:
    """The caller comes back while the agent still believes to serve her."""
    world.a_caller_joins(0.1, 0.0)
    world.time_passes(2.5)
    world.the_caller_leaves(4.9)
    world.a_caller_joins(0.1, 0.0)


def the_end_falls_into_a_blocked_loop(world: World) -> None:
    """It renews first and hears of everything else after that."""
    world.a_caller_joins(0.1, FOR_EVER)
    world.time_passes(1.0)
    world.an_event_loop_is_blocked(0, 7.5)
    world.the_caller_leaves(4.9)
    world.time_passes(0.2)
    world.a_caller_joins(0.1, 0.0)


def the_farewell_never_ends(world: World) -> None:
    world.a_caller_joins(0.1, FOR_EVER)
    world.time_passes(1.0)
    world.the_caller_leaves(0.1)
    world.a_caller_joins(0.1, 0.0)


def the_same_job_serves_again(world: World) -> None:
    world.a_caller_joins(0.1, FOR_EVER)
    world.time_passes(1.0)
    world.the_caller_leaves(0.0)
    world.time_passes(0.2)
    world.a_job_that_ends_starts_another_session(0)
    world.time_passes(0.2)
    world.a_caller_joins(0.1, 0.0)


def a_fresh_lease_refuses_for_good(patch: pytest.MonkeyPatch) -> None:
    """The worker says no because of what the registry knows."""
    real = LeaseHolder.reserve

    async def reserve(self: LeaseHolder) -> bool:
        granted = await real(self)
        self.cause = self.cause or ("" if granted else "holder_fresh")
        return granted

    patch.setattr(LeaseHolder, "reserve", reserve)


def the_first_renewal_refuses_for_good(patch: pytest.MonkeyPatch) -> None:
    real = HolderWatch.see

    def see(self: HolderWatch, held: Held, *, serves: bool | None = None) -> bool:
        before = self._seen
        alive = before is not None and before.version != held.version
        return real(self, held, serves=serves) or alive

    patch.setattr(HolderWatch, "see", see)


def one_renewal_of_a_blocked_holder_refuses_for_good(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("runguard_otel.claims.holder_watch._LATE_BEAT", 1e9)


def the_end_is_not_published(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(LeaseHolder, "mark_ending", lambda self: None)


def the_end_is_never_taken_back(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(LeaseHolder, "mark_serving", lambda self: not self.state.final)


def a_participant_is_known_by_the_identity_alone(patch: pytest.MonkeyPatch) -> None:
    real = keys.claim_key
    patch.setattr(keys, "claim_key", lambda job: real(job).partition(":PA_")[0])


SCHEDULES: list[tuple[type[World], Schedule, Mutant]] = [
    (World, nobody_notices_the_end, a_fresh_lease_refuses_for_good),
    (World, nobody_notices_the_end, the_first_renewal_refuses_for_good),
    (World, the_end_falls_into_a_blocked_loop, one_renewal_of_a_blocked_holder_refuses_for_good),
    (World, the_farewell_never_ends, the_end_is_not_published),
    (World, the_same_job_serves_again, the_end_is_never_taken_back),
    (Publishers, the_farewell_never_ends, a_participant_is_known_by_the_identity_alone),
]


def play(room: type[World], schedule: Schedule) -> None:
    world = room()
    try:
        schedule(world)
        for _ in range(3):
            world.time_passes(11.0)
    finally:
        world.teardown()


@pytest.mark.parametrize(("room", "schedule", "mutant"), SCHEDULES)
def test_a_schedule_goes_well_and_shows_the_mistake(
    room: type[World], schedule: Schedule, mutant: Mutant, monkeypatch: pytest.MonkeyPatch
) -> None:
    play(room, schedule)
    mutant(monkeypatch)
    with pytest.raises(AssertionError, match=r"alone for|two agents serve"):
        play(room, schedule)
