"""How a keeper holds its claim, knows when it is lost, and what it does then."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from runguard_otel.claims.circuit import Circuit
from runguard_otel.claims.keeper import ClaimKeeper
from runguard_otel.claims.state import ClaimState, Policy
from runguard_otel.claims.watchdog import Watchdog
from tests.kit.claims import KEY, FaultyRegistry, Heard, World

pytestmark = pytest.mark.unit


@pytest.fixture
def world() -> World:
    return World()


async def held(
    world: World, policy: Policy | None = None
) -> tuple[ClaimKeeper, Heard, FaultyRegistry]:
    keeper, heard, registry = world.keeper(policy=policy)
    assert await keeper.claim()
    heard.events.clear()
    return keeper, heard, registry


async def test_routine_renewals_hold_for_ever_and_tell_nobody(world: World) -> None:
    keeper, heard, _ = await held(world)
    for _ in range(100):
        world.pass_time(keeper.pause())
        await keeper.beat()
        assert keeper.verified
    assert heard.kinds() == []
    assert heard.calls.count(("renew", "renewed")) == 100


async def test_silence_makes_a_claim_uncertain_then_expired_then_a_renewal_restores_it(
    world: World,
) -> None:
    keeper, heard, registry = await held(world)
    registry.down = True
    seen = []
    for at in (3.0, 5.9, 6.0, 8.5, 8.6):
        world.now = 1000 + at
        await keeper.beat()
        seen.append((at, str(keeper.state), keeper.verified))
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
    await keeper.beat()
    assert (keeper.state, keeper.verified) == (ClaimState.HELD, True)
    assert heard.kinds() == ["lost:expired", "renewed:restored"]


async def test_the_lease_is_measured_from_before_the_request(world: World) -> None:
    keeper, _, registry = world.keeper()
    registry.seconds_per_call = 0.2
    await keeper.claim()
    assert keeper.left() == pytest.approx(9 - 0.45 - 0.2)
    world.pass_time(3)
    await keeper.beat()
    assert keeper.left() == pytest.approx(9 - 0.45 - 0.2)
    # The registry's own end is later than ours by the guard band and the time of the request.
    assert world.store.leases[KEY].ends - world.now >= keeper.left() + 0.45


async def test_a_zombie_knows_by_its_own_clock_before_it_asks_anybody(world: World) -> None:
    keeper, _, registry = await held(world)
    before = registry.calls
    world.pass_time(60)  # stopped, suspended
    assert keeper.verified is False
    assert registry.calls == before


async def test_proof_of_another_holder_ends_the_job_once(world: World) -> None:
    keeper, heard, _ = await held(world)
    world.pass_time(10)
    rival, _, _ = world.keeper("AJ_b")
    await rival.claim()
    await keeper.beat()
    await keeper.beat()
    assert keeper.state is ClaimState.SUPERSEDED
    assert heard.lost == ["superseded"]
    assert [e.holder_token for e in heard.events if e.cause == "superseded"] == [rival.token]
    assert await keeper.release() is False
    assert world.store.leases[KEY].who.job_id == "AJ_b"
    assert world.store.leases[KEY].held


async def test_a_hand_off_is_told_apart(world: World) -> None:
    keeper, heard, _ = await held(world)
    newer, _, _ = world.keeper("AJ_a", instance="newer")
    await newer.claim()
    await keeper.beat()
    assert heard.lost == ["handed_off"]


async def test_report_only_policies_tell_but_do_not_stop(world: World) -> None:
    keeper, heard, _ = await held(world, policy=Policy(stop_when_superseded=False))
    world.pass_time(10)
    rival, _, _ = world.keeper("AJ_b")
    await rival.claim()
    await keeper.beat()
    assert (heard.lost, heard.kinds()) == ([], ["lost:expired", "lost:superseded"])


async def test_stopping_on_expiry_is_a_policy(world: World) -> None:
    keeper, heard, registry = await held(world, policy=Policy(stop_when_expired=True))
    registry.down = True
    world.pass_time(8.6)
    await keeper.beat()
    assert heard.lost == ["expired"]


async def test_a_registry_that_lost_its_data_is_claimed_again_at_once(world: World) -> None:
    keeper, heard, _ = await held(world)
    old = keeper.token
    world.store.leases.clear()
    world.pass_time(3)
    await keeper.beat()
    assert (keeper.state, keeper.token > old) == (ClaimState.HELD, True)
    assert heard.kinds() == ["acquired"]


async def test_lost_data_claimed_first_by_a_rival_ends_the_double_holding(world: World) -> None:
    keeper, heard, _ = await held(world)
    world.store.leases.clear()
    rival, _, _ = world.keeper("AJ_b")
    await rival.claim()
    world.pass_time(keeper.pause())
    await keeper.beat()
    assert heard.lost == ["superseded"]


async def test_a_claim_released_behind_our_back_is_taken_again(world: World) -> None:
    keeper, _, registry = await held(world)
    await registry.abandon(KEY, "AJ_a", "worker")
    world.pass_time(3)
    await keeper.beat()
    assert keeper.state is ClaimState.HELD
    assert world.store.leases[KEY].token == keeper.token


async def test_after_an_outage_the_late_claim_runs(world: World) -> None:
    keeper, heard, registry = world.keeper()
    registry.down = True
    await keeper.claim()
    registry.down = False
    world.pass_time(keeper.pause())
    await keeper.beat()
    assert (keeper.state, keeper.verified) == (ClaimState.HELD, True)
    assert heard.kinds() == ["unverified:unreachable", "acquired"]


async def test_after_an_outage_a_proven_duplicate_leaves(world: World) -> None:
    keeper, heard, registry = world.keeper("AJ_b")
    registry.down = True
    await keeper.claim()
    await (await held(world))[0].beat()
    registry.down = False
    await keeper.beat()
    assert (keeper.state, heard.lost) == (ClaimState.SUPERSEDED, ["superseded"])


async def test_release_gives_it_back_once_and_only_ours(world: World) -> None:
    keeper, heard, _ = await held(world)
    assert await keeper.release() is True
    assert await keeper.release() is False
    assert heard.kinds() == ["released"]
    assert not world.store.leases[KEY].held


async def test_releasing_while_the_registry_is_down_raises_nothing(world: World) -> None:
    keeper, _, registry = await held(world)
    registry.down = True
    assert await keeper.release() is False


async def test_the_heartbeat_task_renews_and_ends_with_the_release(world: World) -> None:
    keeper, heard, _ = await held(world)
    keeper.start()
    for _ in range(50):
        await asyncio.sleep(0)
    assert heard.calls.count(("renew", "renewed")) > 3
    assert keeper.verified
    await keeper.release()
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
        keeper, _, _ = world.keeper(f"AJ_{n}", registry=registry, circuit=circuit)
        assert await keeper.claim() is True
    assert registry.calls == 3
    warnings = [r for r in caplog.records if "cannot be reached" in r.message]
    assert len(warnings) == 1  # one per outage
    world.pass_time(5.0)
    registry.down = False
    keeper, _, _ = world.keeper("AJ_z", registry=registry, circuit=circuit)
    assert await keeper.claim() is True
    assert keeper.state is ClaimState.HELD


async def test_a_registry_that_hangs_costs_the_timeout_and_no_more(world: World) -> None:
    class Hanging(FaultyRegistry):
        async def acquire(self, *args: Any, **kwargs: Any) -> Any:
            await asyncio.Event().wait()

    keeper, _, _ = world.keeper(registry=Hanging(world.store))
    loop = asyncio.get_running_loop()
    began = loop.time()
    assert await keeper.claim() is True
    assert keeper.state is ClaimState.UNVERIFIED
    assert loop.time() - began < 2  # 0.25 s of it are the bound


async def test_the_watchdog_flags_a_blocked_loop_once(world: World) -> None:
    keeper, _, _ = await held(world)
    dog = Watchdog()
    dog._watched[keeper] = False  # no thread: the test asks by itself
    assert dog.check() == []
    world.pass_time(8.6)  # and no heartbeat runs
    assert dog.check() == [keeper]
    assert dog.check() == []
    await keeper.beat()  # unblocked
    assert dog.check() == []
    world.pass_time(8.6)
    assert dog.check() == [keeper]


async def test_the_watchdogs_thread_ends_with_the_last_claim(world: World) -> None:
    keeper, _, _ = await held(world)
    dog = Watchdog()
    dog.watch(keeper)
    thread = dog._thread
    assert thread is not None and thread.daemon
    dog.forget(keeper)
    await asyncio.to_thread(thread.join, 5)
    assert not thread.is_alive()


async def test_a_beat_without_an_answer_is_repeated_soon(world: World) -> None:
    keeper, _, registry = await held(world)
    registry.down = True
    world.pass_time(keeper.pause())
    await keeper.beat()
    assert keeper.pause() <= 0.22, "one lost packet must not cost a third of the lease"
    registry.down = False
    await keeper.beat()
    assert keeper.pause() >= 0.9 * keeper.timing.heartbeat
