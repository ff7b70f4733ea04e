"""How a keeper becomes the holder, or finds out that it must not."""

from __future__ import annotations

import pytest

from runguard_otel.claims.state import ClaimState, Policy, Timing
from tests.kit.claims import KEY, World

pytestmark = pytest.mark.unit

STANDBY = 9 * 1.05 + 0.5


@pytest.fixture
def world() -> World:
    return World()


async def test_a_free_room_is_claimed_without_waiting(world: World) -> None:
    keeper, heard, _ = world.keeper()
    assert await keeper.claim(standby=STANDBY) is True
    assert (keeper.state, keeper.verified, world.now) == (ClaimState.HELD, True, 1000.0)
    assert heard.kinds() == ["acquired"]
    assert heard.events[0].token == keeper.token > 0


async def test_the_loser_leaves_as_soon_as_the_holder_renews(world: World) -> None:
    holder, _, _ = world.keeper("AJ_a")
    await holder.claim()
    world.at(3.0, holder.beat)
    loser, heard, _ = world.keeper("AJ_b")
    assert await loser.claim(standby=STANDBY) is False
    assert 3.0 <= world.now - 1000 <= 3.0 + loser.timing.probe
    assert (loser.state, loser.cause) == (ClaimState.LOST, "holder_alive")
    assert heard.kinds() == ["refused:holder_alive"]
    assert heard.events[0].holder_token == holder.token


async def test_a_dead_holders_room_is_taken_over_when_its_lease_ends(world: World) -> None:
    dead, _, _ = world.keeper("AJ_a")
    await dead.claim()
    heir, heard, _ = world.keeper("AJ_b")
    assert await heir.claim(standby=STANDBY) is True
    assert 9.0 <= world.now - 1000 <= 9.3
    assert heard.kinds() == ["taken_over"]
    assert heard.events[0].waited_seconds == pytest.approx(9, abs=0.3)
    assert heir.token > dead.token


async def test_a_standby_that_sees_the_release_goes_on_at_once(world: World) -> None:
    first, _, _ = world.keeper("AJ_a")
    await first.claim()
    world.at(1.0, first.release)
    second, heard, _ = world.keeper("AJ_b")
    assert await second.claim(standby=STANDBY) is True
    assert world.now - 1000 < 1.0 + 2 * second.timing.probe
    assert heard.kinds() == ["acquired"]


async def test_the_same_job_never_waits(world: World) -> None:
    old, _, _ = world.keeper("AJ_a", instance="one")
    await old.claim()
    new, heard, _ = world.keeper("AJ_a", instance="two")
    assert await new.claim(standby=STANDBY) is True
    assert world.now == 1000.0
    assert heard.kinds() == ["handed_off"]


async def test_without_time_a_fresh_lease_refuses_and_a_stale_one_leaves_doubt(
    world: World,
) -> None:
    holder, _, _ = world.keeper("AJ_a")
    await holder.claim()
    world.pass_time(3.3)  # the latest healthy heartbeat is still ahead of 1.2 x 3 s
    early, heard, _ = world.keeper("AJ_b")
    assert await early.claim(standby=0) is False
    assert (early.cause, heard.kinds()) == ("holder_fresh", ["refused:holder_fresh"])
    world.pass_time(0.6)
    late, heard, _ = world.keeper("AJ_c")
    assert await late.claim(standby=0) is False
    assert (late.cause, heard.kinds()) == ("in_doubt", [])


async def test_an_unreachable_registry_serves_unverified_by_default(world: World) -> None:
    keeper, heard, registry = world.keeper()
    registry.down = True
    assert await keeper.claim(standby=STANDBY) is True
    assert (keeper.state, keeper.verified, keeper.token) == (ClaimState.UNVERIFIED, False, 0)
    assert heard.kinds() == ["unverified:unreachable"]
    assert world.now == 1000.0  # and waited for nothing


async def test_fail_closed_refuses_instead(world: World) -> None:
    keeper, heard, registry = world.keeper(policy=Policy(fail_open=False))
    registry.down = True
    assert await keeper.claim(standby=STANDBY) is False
    assert heard.kinds() == ["refused:unreachable"]


async def test_a_lost_reply_is_asked_again_and_the_grant_is_found(world: World) -> None:
    keeper, heard, registry = world.keeper()
    registry.lose_replies = 1
    assert await keeper.claim() is True
    assert keeper.state is ClaimState.HELD
    assert heard.kinds() == ["reentered"]
    assert world.store.leases[KEY].token == keeper.token


async def test_a_slow_failure_is_not_tried_twice(world: World) -> None:
    keeper, _, registry = world.keeper()
    registry.down, registry.seconds_per_call = True, 0.25
    assert await keeper.claim() is True
    assert registry.calls == 1
    assert world.now == 1000.25


async def test_an_outage_during_standby_is_bounded_and_then_fails_open(world: World) -> None:
    holder, _, _ = world.keeper("AJ_a")
    await holder.claim()
    standby, heard, registry = world.keeper("AJ_b")
    world.at(1.0, lambda: setattr(registry, "down", True))
    assert await standby.claim(standby=STANDBY) is True
    assert STANDBY <= world.now - 1000 <= STANDBY + 1
    assert heard.kinds() == ["unverified:unreachable"]


@pytest.mark.parametrize(
    ("ttl", "heartbeat", "timeout"),
    [(9, 5, 0.25), (3, 3, 0.25), (0.3, 0.1, 0.05), (9, 3, 3), (9, 3, 0)],
)
def test_times_that_do_not_go_together_are_refused(
    ttl: float, heartbeat: float, timeout: float
) -> None:
    with pytest.raises(ValueError, match="need"):
        Timing(ttl, heartbeat, timeout)


def test_the_holder_gives_up_before_the_registry_does() -> None:
    assert Timing(9, 3).expires == 9 - 0.45
    assert Timing(3, 1).expires == 3 - 0.25
    assert Timing(9, 3).deadline == 6
