"""How a holder holds its claim, knows when it is lost, and what it does then."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from runguard_otel.claims.circuit import Circuit
from runguard_otel.claims.holder import LeaseHolder
from runguard_otel.claims.state import ClaimState, Policy
from runguard_otel.claims.watchdog import Watchdog
from tests.kit.claims import KEY, FaultyRegistry, Heard, World

pytestmark = pytest.mark.unit


@pytest.fixture
def world() -> World:
    return World()


async def held(
    world: World, policy: Policy | None = None
) -> tuple[LeaseHolder, Heard, FaultyRegistry]:
    holder, heard, registry = world.holder(policy=policy)
    assert await holder.claim()
    heard.events.clear()
    return holder, heard, registry


async def test_routine_renewals_hold_for_ever_and_tell_nobody(world: World) -> None:
    holder, heard, _ = await held(world)
    for _ in range(100):
        world.pass_time(holder.pause())
        await holder.beat()
        assert holder.verified
    assert heard.kinds() == []
    assert heard.calls.count(("renew", "renewed")) == 100


async def test_silence_makes_a_claim_uncertain_then_expired_then_a_renewal_restores_it(
    world: World,
) -> None:
    holder, heard, registry = await held(world)
    registry.down = True
    seen = []
    for at in (3.0, 5.9, 6.0, 8.5, 8.6):
        world.now = 1000 + at
        await holder.beat()
        seen.append((at, str(holder.state), holder.verified))
    assert seen == [
        (3.0, "held", True),
        (5.9, "held", True),
        (6.0, "uncertain", True),
        (8.5, "uncertain", True),
        (8.6, "expired", False),
    ]
    assert (heard.kinds(), heard.lost) == (["lost:expired"], [])  # the default goes on serving
    registry.down = False
    world.pass_time(10)
    await holder.beat()
    assert (holder.state, holder.verified) == (ClaimState.HELD, True)
    assert heard.kinds() == ["lost:expired", "renewed:restored"]


async def test_the_lease_is_measured_from_before_the_request(world: World) -> None:
    holder, _, registry = world.holder()
    registry.seconds_per_call = 0.2
    await holder.claim()
    assert holder.left() == pytest.approx(9 - 0.45 - 0.2)
    world.pass_time(3)
    await holder.beat()
    assert holder.left() == pytest.approx(9 - 0.45 - 0.2)
    # The registry's own end is later than ours by the guard band and the time of the request.
    assert world.store.leases[KEY].ends - world.now >= holder.left() + 0.45


async def test_a_zombie_knows_by_its_own_clock_before_it_asks_anybody(world: World) -> None:
    holder, _, registry = await held(world)
    before = registry.calls
    world.pass_time(60)  # stopped, suspended
    assert holder.verified is False
    assert registry.calls == before


async def test_proof_of_another_holder_ends_the_job_once(world: World) -> None:
    holder, heard, _ = await held(world)
    world.pass_time(10)
    rival, _, _ = world.holder("AJ_b")
    await rival.claim()
    await holder.beat()
    await holder.beat()
    assert holder.state is ClaimState.SUPERSEDED
    assert heard.lost == ["superseded"]
    assert [e.holder.token for e in heard.events if e.cause == "superseded"] == [rival.token]
    assert await holder.release() is False
    assert world.store.leases[KEY].who.job_id == "AJ_b"
    assert world.store.leases[KEY].held


async def test_a_hand_off_is_told_apart(world: World) -> None:
    holder, heard, _ = await held(world)
    newer, _, _ = world.holder("AJ_a", instance="newer")
    await newer.claim()
    await holder.beat()
    assert heard.lost == ["handed_off"]


async def test_report_only_policies_tell_but_do_not_stop(world: World) -> None:
    holder, heard, _ = await held(world, policy=Policy(stop_when_superseded=False))
    world.pass_time(10)
    rival, _, _ = world.holder("AJ_b")
    await rival.claim()
    await holder.beat()
    assert (heard.lost, heard.kinds()) == ([], ["lost:expired", "lost:superseded"])


async def test_stopping_on_expiry_is_a_policy(world: World) -> None:
    holder, heard, registry = await held(world, policy=Policy(stop_when_expired=True))
    registry.down = True
    world.pass_time(8.6)
    await holder.beat()
    assert heard.lost == ["expired"]


async def test_a_registry_that_lost_its_data_is_claimed_again_at_once(world: World) -> None:
    holder, heard, _ = await held(world)
    old = holder.token
    world.store.leases.clear()
    world.pass_time(3)
    await holder.beat()
    assert (holder.state, holder.token > old) == (ClaimState.HELD, True)
    assert heard.kinds() == ["acquired"]


async def test_lost_data_claimed_first_by_a_rival_ends_the_double_holding(world: World) -> None:
    holder, heard, _ = await held(world)
    world.store.leases.clear()
    rival, _, _ = world.holder("AJ_b")
    await rival.claim()
    world.pass_time(holder.pause())
    await holder.beat()
    assert heard.lost == ["superseded"]


async def test_a_claim_released_behind_our_back_is_taken_again(world: World) -> None:
    holder, _, registry = await held(world)
    await registry.abandon(KEY, "AJ_a", "worker")
    world.pass_time(3)
    await holder.beat()
    assert holder.state is ClaimState.HELD
    assert world.store.leases[KEY].token == holder.token


async def test_after_an_outage_the_late_claim_runs(world: World) -> None:
    holder, heard, registry = world.holder()
    registry.down = True
    await holder.claim()
    registry.down = False
    world.pass_time(holder.pause())
    await holder.beat()
    assert (holder.state, holder.verified) == (ClaimState.HELD, True)
    assert heard.kinds() == ["unverified:unreachable", "acquired"]


async def test_after_an_outage_a_proven_duplicate_leaves(world: World) -> None:
    holder, heard, registry = world.holder("AJ_b")
    registry.down = True
    await holder.claim()
    await (await held(world))[0].beat()
    registry.down = False
    await holder.beat()
    assert (holder.state, heard.lost) == (ClaimState.SUPERSEDED, ["superseded"])


async def test_release_gives_it_back_once_and_only_ours(world: World) -> None:
    holder, heard, _ = await held(world)
    assert await holder.release() is True
    assert await holder.release() is False
    assert heard.kinds() == ["released"]
    assert not world.store.leases[KEY].held


async def test_releasing_while_the_registry_is_down_raises_nothing(world: World) -> None:
    holder, _, registry = await held(world)
    registry.down = True
    assert await holder.release() is False


async def test_the_heartbeat_task_renews_and_ends_with_the_release(world: World) -> None:
    holder, heard, _ = await held(world)
    holder.start()
    for _ in range(50):
        await asyncio.sleep(0)
    assert heard.calls.count(("renew", "renewed")) > 3
    assert holder.verified
    await holder.release()
    await asyncio.sleep(0)
    renewed = heard.calls.count(("renew", "renewed"))
    for _ in range(20):
        await asyncio.sleep(0)
    assert heard.calls.count(("renew", "renewed")) == renewed


async def test_an_open_circuit_spares_calls_and_probes_after_five_seconds(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    circuit = Circuit(world.clock)
    registry = world.registry()
    registry.down = True
    for n in range(6):
        holder, _, _ = world.holder(f"AJ_{n}", registry=registry, circuit=circuit)
        assert await holder.claim() is True
    assert registry.calls == 3
    warnings = [r for r in caplog.records if "cannot be reached" in r.message]
    assert len(warnings) == 1  # one per outage
    world.pass_time(5.0)
    registry.down = False
    holder, _, _ = world.holder("AJ_z", registry=registry, circuit=circuit)
    assert await holder.claim() is True
    assert holder.state is ClaimState.HELD


async def test_a_registry_that_hangs_costs_the_timeout_and_no_more(world: World) -> None:
    class Hanging(FaultyRegistry):
        async def acquire(self, *args: Any, **kwargs: Any) -> Any:
            await asyncio.Event().wait()

    holder, _, _ = world.holder(registry=Hanging(world.store))
    loop = asyncio.get_running_loop()
    began = loop.time()
    assert await holder.claim() is True
    assert holder.state is ClaimState.UNVERIFIED
    assert loop.time() - began < 2  # 0.25 s of it are the bound


async def test_the_watchdog_flags_a_blocked_loop_once(world: World) -> None:
    holder, _, _ = await held(world)
    dog = Watchdog()
    dog._watched[holder] = False  # no thread: the test asks by itself
    assert dog.check() == []
    world.pass_time(8.6)  # and no heartbeat runs
    assert dog.check() == [holder]
    assert dog.check() == []
    await holder.beat()  # unblocked
    assert dog.check() == []
    world.pass_time(8.6)
    assert dog.check() == [holder]


async def test_the_watchdogs_thread_ends_with_the_last_claim(world: World) -> None:
    holder, _, _ = await held(world)
    dog = Watchdog()
    dog.watch(holder)
    thread = dog._thread
    assert thread is not None and thread.daemon
    dog.forget(holder)
    await asyncio.to_thread(thread.join, 5)
    assert not thread.is_alive()


async def test_a_beat_without_an_answer_is_repeated_soon(world: World) -> None:
    holder, _, registry = await held(world)
    registry.down = True
    world.pass_time(holder.pause())
    await holder.beat()
    assert holder.pause() <= 0.22, "one lost packet must not cost a third of the lease"
    registry.down = False
    await holder.beat()
    assert holder.pause() >= 0.9 * holder.timing.heartbeat
