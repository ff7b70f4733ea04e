"""Two watchers of one server: each loop is told once, and never may both act.

Time is the virtual loop's, so minutes of leases and outages pass at once.

Caught: a standby that tells; a take-over that forgets what nobody told; one that repeats what was
told; a watcher that acts without a lease; a take-over from one that lives, after an outage.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any

import pytest

from runguard_otel.claims.registries.memory import MemoryRegistry, MemoryStore
from runguard_otel.claims.registry import RegistryUnavailable
from runguard_otel.core.guards.presence import Change
from runguard_otel.core.signatures import DUPLICATE, guard_of
from runguard_otel.core.verdict import Mode, Subject, Trip
from runguard_otel.settings import Settings
from runguard_otel.watch.standby import Duty, Standby
from runguard_otel.watch.voice import Voice
from tests.kit.virtual_time import VirtualLoop

pytestmark = pytest.mark.unit

URL = "ws://livekit.example:7880"


def loop_in(room: str) -> Change:
    """Two agents of one name in that room."""
    subject = Subject(room=room)
    trip = Trip(
        guard=guard_of(DUPLICATE), signature=DUPLICATE, subject=subject, count=2,
        window_seconds=10, threshold=2, mode=Mode.OBSERVE, action="none", evidence=(),
    )  # fmt: skip
    return Change(DUPLICATE, subject, "support", trip)


def over(room: str) -> Change:
    return Change(DUPLICATE, Subject(room=room), "support", over=True)


class Outage(MemoryRegistry):
    """A registry that can be out of reach of one watcher."""

    away = False

    async def acquire(self, *a: Any, **kw: Any) -> Any:
        self._reach()
        return await super().acquire(*a, **kw)

    async def renew(self, *a: Any, **kw: Any) -> Any:
        self._reach()
        return await super().renew(*a, **kw)

    async def inspect(self, *a: Any, **kw: Any) -> Any:
        self._reach()
        return await super().inspect(*a, **kw)

    async def release(self, *a: Any, **kw: Any) -> Any:
        self._reach()
        return await super().release(*a, **kw)

    def _reach(self) -> None:
        if self.away:
            raise RegistryUnavailable("away")


class Watcher:
    """One of them, and what it told."""

    def __init__(self, store: MemoryStore) -> None:
        clock = asyncio.get_running_loop().time
        self.told: list[str] = []
        self.open: list[str] = []
        self.considered: list[str] = []
        self.registry = Outage(store)
        self.voice = Voice(self, self._consider, clock=clock, alone=False)
        self.standby = Standby(
            Settings(), URL, self.voice, self, registry=self.registry, clock=clock
        )
        self.task = asyncio.ensure_future(self.standby.run())

    def tell(self, change: Change) -> None:
        if change.over:
            self.open.remove(change.subject.room)
        elif change.trip is not None:
            self.told.append(change.subject.room)
            self.open.append(change.subject.room)

    def opened(self, change: Change) -> None:
        self.open.append(change.subject.room)

    def _consider(self, sid: str, change: Change) -> None:
        self.considered.append(change.subject.room)

    def registry_call(self, operation: str, result: str, seconds: float) -> None: ...

    async def kill(self) -> None:
        """As by SIGKILL: nothing is given back."""
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)

    async def stop(self) -> None:
        await self.kill()
        await self.standby.stop()


class Pair:
    """Two watchers that hear the same."""

    def __init__(self) -> None:
        self.store = MemoryStore(clock=asyncio.get_running_loop().time)
        self.first = Watcher(self.store)
        self.second = self.first
        self.both_acted = False
        self.guard = asyncio.ensure_future(self._never_two())

    async def begin(self) -> None:
        await asyncio.sleep(1)
        self.second = Watcher(self.store)
        await asyncio.sleep(1)
        assert [w.standby.duty for w in self.watchers] == [Duty.ACTIVE, Duty.STANDBY]

    @property
    def watchers(self) -> list[Watcher]:
        return [self.first, self.second]

    def hear(self, change: Change) -> None:
        for watcher in self.watchers:
            if not watcher.task.done():
                watcher.voice.tell(f"RM_{change.subject.room}", change)

    @property
    def told(self) -> list[str]:
        return sorted(self.first.told + self.second.told)

    async def _never_two(self) -> None:
        while True:
            alive = [w for w in self.watchers if not w.task.done()]
            may = [w for w in alive if w.standby.seconds_to_act > 0]
            self.both_acted = self.both_acted or (len(may) > 1 and may[0] is not may[1])
            await asyncio.sleep(0.04)

    async def end(self) -> None:
        self.guard.cancel()
        for watcher in self.watchers:
            await watcher.kill()
        assert not self.both_acted, "two watchers could act at one moment"


def played(story: Coroutine[Any, Any, None]) -> None:
    loop = VirtualLoop()
    try:
        loop.run_until_complete(story)
    finally:
        loop.close()


def test_both_hear_the_same_and_one_tells() -> None:
    async def story() -> None:
        pair = Pair()
        await pair.begin()
        pair.hear(loop_in("a"))
        await asyncio.sleep(60)
        assert (pair.first.told, pair.second.told) == (["a"], [])
        assert pair.first.considered == ["a"]
        assert pair.second.voice.kept == 0, "it knows that the first has told"
        pair.hear(over("a"))
        await asyncio.sleep(60)
        assert pair.first.open == pair.second.open == []
        await pair.end()

    played(story())


def test_the_active_is_killed() -> None:
    async def story() -> None:
        pair = Pair()
        await pair.begin()
        pair.hear(loop_in("before"))
        await asyncio.sleep(20)
        await pair.first.kill()
        await asyncio.sleep(2)
        pair.hear(loop_in("meanwhile"))
        assert pair.second.told == []
        await asyncio.sleep(9)
        assert pair.second.standby.duty is Duty.ACTIVE
        assert pair.told == ["before", "meanwhile"], "each once, and none is lost"
        assert sorted(pair.second.open) == ["before", "meanwhile"], "what lasts is shown"
        assert sorted(pair.second.considered) == ["before", "meanwhile"]
        pair.hear(over("before"))
        assert pair.second.open == ["meanwhile"]
        await pair.end()

    played(story())


def test_the_active_ends_cleanly() -> None:
    async def story() -> None:
        pair = Pair()
        await pair.begin()
        pair.hear(loop_in("before"))
        await asyncio.sleep(2)
        await pair.first.stop()
        assert pair.first.open == [], "what it showed is taken back"
        await asyncio.sleep(0.6)
        assert pair.second.standby.duty is Duty.ACTIVE, "at once, not after a lease"
        pair.hear(loop_in("after"))
        assert pair.told == ["after", "before"]
        assert sorted(pair.second.open) == ["after", "before"]
        await pair.end()

    played(story())


@pytest.mark.parametrize("seconds", [2, 7, 8.9, 9.1, 12, 60, 600])
def test_the_registry_is_gone_for_a_while(seconds: float) -> None:
    """The one that was active goes on telling and does not act; then it is the active one again."""

    async def story() -> None:
        pair = Pair()
        await pair.begin()
        pair.hear(loop_in("before"))
        for watcher in pair.watchers:
            watcher.registry.away = True
        await asyncio.sleep(seconds)
        pair.hear(loop_in("meanwhile"))
        await asyncio.sleep(2)  # between a lease's end and its owner's knowing why, it waits
        assert pair.told == ["before", "meanwhile"], "by the first, once each"
        if seconds > 12:
            assert pair.first.standby.duty is Duty.UNPROVEN
            assert pair.first.standby.seconds_to_act == 0
            assert pair.second.standby.blind
        for watcher in pair.watchers:
            watcher.registry.away = False
        await asyncio.sleep(60)
        assert [w.standby.duty for w in pair.watchers] == [Duty.ACTIVE, Duty.STANDBY]
        pair.hear(loop_in("after"))
        await asyncio.sleep(60)
        assert pair.told == ["after", "before", "meanwhile"]
        await pair.end()

    played(story())


def test_only_the_active_cannot_reach_the_registry() -> None:
    """The other one takes over, and only that one acts."""

    async def story() -> None:
        pair = Pair()
        await pair.begin()
        pair.first.registry.away = True
        await asyncio.sleep(30)
        assert [w.standby.duty for w in pair.watchers] == [Duty.UNPROVEN, Duty.ACTIVE]
        pair.first.registry.away = False
        await asyncio.sleep(30)
        assert [w.standby.duty for w in pair.watchers] == [Duty.STANDBY, Duty.ACTIVE]
        pair.hear(loop_in("after"))
        await asyncio.sleep(30)
        assert pair.told == ["after"]
        assert pair.first.open == []
        await pair.end()

    played(story())


def test_one_that_comes_up_without_a_registry_is_silent_until_it_answers() -> None:
    async def story() -> None:
        store = MemoryStore(clock=asyncio.get_running_loop().time)
        watcher = Watcher(store)
        watcher.registry.away = True
        watcher.voice.tell("RM_a", loop_in("a"))
        await asyncio.sleep(100)
        assert watcher.told == []
        blind = [watcher.standby.blind]
        watcher.registry.away = False
        await asyncio.sleep(30)
        assert watcher.told == ["a"]
        assert [*blind, watcher.standby.blind] == [True, False]
        await watcher.kill()

    played(story())


def test_a_watcher_that_did_not_run_for_a_while_asks_before_it_tells() -> None:
    """Its process was stopped: the other one is active by now, and it does not know yet."""

    async def story() -> None:
        pair = Pair()
        await pair.begin()
        holder = pair.first.standby._holder
        assert holder is not None
        holder.stop()  # its heart
        await asyncio.sleep(20)
        assert pair.second.standby.duty is Duty.ACTIVE
        pair.hear(loop_in("a"))
        assert pair.told == ["a"]
        assert pair.first.told == []
        await pair.end()

    played(story())


def test_what_is_kept_has_a_bound() -> None:
    class Deaf:
        def tell(self, change: Change) -> None: ...

        def opened(self, change: Change) -> None: ...

    voice = Voice(Deaf(), alone=False, clock=lambda: 0.0)
    for number in range(10_100):
        voice.tell("RM", loop_in(str(number)))
    assert voice.kept == 10_000


def test_a_loop_ends_with_the_words_of_its_beginning() -> None:
    """Fails if a gauge is taken back under another agent's name than it was raised under."""
    heard: list[Change] = []

    class Hears:
        def tell(self, change: Change) -> None:
            heard.append(change)

        def opened(self, change: Change) -> None: ...

    voice = Voice(Hears())
    began = loop_in("a")._replace(signature="session_overrun:duration")
    voice.tell("RM", began)
    voice.tell("RM", began._replace(agent="", trip=None, over=True))
    voice.tell("RM", began._replace(agent="", trip=None, over=True))
    assert [(c.agent, c.over) for c in heard] == [("support", False), ("support", True)]


def test_the_lease_is_of_one_server() -> None:
    async def story() -> None:
        store = MemoryStore(clock=asyncio.get_running_loop().time)
        first = Watcher(store)
        clock = asyncio.get_running_loop().time
        other = Standby(
            Settings(), "ws://other.example:7880", first.voice, first,
            registry=MemoryRegistry(store), clock=clock,
        )  # fmt: skip
        task = asyncio.ensure_future(other.run())
        await asyncio.sleep(5)
        assert first.standby.duty is other.duty is Duty.ACTIVE
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await first.kill()

    played(story())
