"""How a holder becomes the holder, or finds out that it must not."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

import pytest

from runguard_otel.claims.holder import LeaseHolder
from runguard_otel.claims.registry import RESERVED
from runguard_otel.claims.state import ClaimState, Policy, Timing
from runguard_otel.core.ports import ClaimHolder
from tests.kit.claims import KEY, World

pytestmark = pytest.mark.unit


@pytest.fixture
def world() -> World:
    return World()


async def test_a_free_room_is_claimed_without_waiting(world: World) -> None:
    holder, heard, _ = world.holder()
    assert await holder.claim() is True
    assert (holder.state, holder.verified, world.now) == (ClaimState.HELD, True, 1000.0)
    assert heard.kinds() == ["acquired"]
    assert heard.events[0].token == holder.token > 0


async def beating(world: World, holder: LeaseHolder, until: float = 60.0) -> None:
    """Let a holder renew its lease every three seconds from now on."""
    for beat in range(1, int(until / 3) + 1):
        world.at(3.0 * beat, holder.beat)


async def test_the_loser_leaves_a_holder_that_still_renews_when_it_must_know_of_its_end(
    world: World,
) -> None:
    """A server tells an agent up to 5 s late that its caller is gone; until then it renews."""
    holder, _, _ = world.holder("AJ_a")
    await holder.claim()
    await beating(world, holder)
    loser, heard, _ = world.holder("AJ_b")
    assert await loser.claim() is False
    assert 6.0 <= world.now - 1000 <= 6.0 + loser.timing.probe
    assert (loser.state, loser.cause) == (ClaimState.LOST, "holder_renewed")
    assert heard.kinds() == ["refused:holder_renewed"]
    assert (heard.events[0].holder.token, heard.events[0].holder.job_id) == (holder.token, "AJ_a")
    assert "alive and serving" in heard.events[0].explain()


async def test_a_holder_that_learns_late_of_its_callers_end_lets_the_next_one_in(
    world: World,
) -> None:
    """Mutant: the first renewal refuses. It came 4 s after the caller had left."""
    holder, _, _ = world.holder("AJ_a")
    await holder.claim()
    await beating(world, holder)
    world.at(4.0, holder.mark_ending)
    world.at(4.1, holder.beat)
    heir, heard, _ = world.holder("AJ_b")
    assert await heir.claim() is True
    assert world.now - 1000 < 4.1 + 2 * heir.timing.probe
    assert heard.kinds() == ["passed_on"]
    assert heir.token > holder.token


async def test_an_ending_claim_is_passed_on_at_once(world: World) -> None:
    holder, told, _ = world.holder("AJ_a")
    await holder.claim()
    holder.mark_ending()
    await holder.beat()
    heir, heard, _ = world.holder("AJ_b")
    assert await heir.claim() is True
    assert (world.now, heard.kinds()) == (1000.0, ["passed_on"])
    await holder.beat()
    assert holder.state is ClaimState.SUPERSEDED
    assert told.kinds() == ["acquired", "ending", "released:passed_on"]
    assert told.lost == [], "it may finish its farewell"


async def test_a_worker_reserves_or_leaves_it_to_the_job(world: World) -> None:
    holder, _, _ = world.holder("AJ_a", instance=f"{RESERVED}1")
    assert await holder.reserve() is True
    rival, heard, _ = world.holder("AJ_b")
    assert await rival.reserve() is False
    assert (rival.cause, heard.kinds(), world.now) == ("", [], 1000.0)
    assert rival.rival.job_id == "AJ_a"


async def test_a_reservation_is_no_proof_that_anybody_serves(world: World) -> None:
    """A job given to another worker, whose process never starts, keeps nobody out for good."""
    first, _, _ = world.holder("AJ_a", instance=f"{RESERVED}1")
    await first.reserve()
    second, _, _ = world.holder("AJ_a", instance=f"{RESERVED}2")
    world.at(7.0, second.reserve)
    heir, heard, _ = world.holder("AJ_b")
    assert await heir.claim() is True
    assert 16.0 <= world.now - 1000 <= 16.3
    assert heard.kinds() == ["taken_over"]


async def test_a_servers_clock_that_jumps_back_keeps_nobody_out_longer_than_two_leases(
    world: World,
) -> None:
    """The registry thinks that the dead job's lease runs for an hour more; our clock knows."""
    dead, _, _ = world.holder("AJ_a")
    await dead.claim()
    lease = world.store.leases[KEY]
    world.store.leases[KEY] = lease._replace(ends=lease.ends + 3600)
    heir, heard, _ = world.holder("AJ_b")
    assert await heir.claim() is True
    assert 18.0 <= world.now - 1000 <= 18.3
    assert heard.kinds() == ["taken_over"]


async def test_a_dead_holders_room_is_taken_over_when_its_lease_ends(world: World) -> None:
    dead, _, _ = world.holder("AJ_a")
    await dead.claim()
    heir, heard, _ = world.holder("AJ_b")
    assert await heir.claim() is True
    assert 9.0 <= world.now - 1000 <= 9.3
    assert heard.kinds() == ["taken_over"]
    assert heard.events[0].waited_seconds == pytest.approx(9, abs=0.3)
    assert heir.token > dead.token


async def test_a_standby_that_sees_the_release_goes_on_at_once(world: World) -> None:
    first, _, _ = world.holder("AJ_a")
    await first.claim()
    world.at(1.0, first.release)
    second, heard, _ = world.holder("AJ_b")
    assert await second.claim() is True
    assert world.now - 1000 < 1.0 + 2 * second.timing.probe
    assert heard.kinds() == ["acquired"]


async def test_the_same_job_never_waits(world: World) -> None:
    old, _, _ = world.holder("AJ_a", instance="one")
    await old.claim()
    new, heard, _ = world.holder("AJ_a", instance="two")
    assert await new.claim() is True
    assert world.now == 1000.0
    assert heard.kinds() == ["handed_off"]


async def test_patience_is_a_bound(world: World) -> None:
    holder, _, _ = world.holder("AJ_a")
    await holder.claim()
    hasty, heard, _ = world.holder("AJ_b")
    assert await hasty.claim(patience=0.0) is False
    assert (world.now, heard.kinds()) == (1000.0, ["refused:holder_stayed"])
    patient, heard, _ = world.holder("AJ_c")
    assert await patient.claim(patience=2.0) is False
    assert world.now == pytest.approx(1002.0)


async def test_an_unreachable_registry_serves_unverified_by_default(world: World) -> None:
    holder, heard, registry = world.holder()
    registry.down = True
    assert await holder.claim() is True
    assert (holder.state, holder.verified, holder.token) == (ClaimState.UNVERIFIED, False, 0)
    assert heard.kinds() == ["unverified:unreachable"]
    assert world.now == 1000.0  # and waited for nothing


async def test_fail_closed_refuses_instead(world: World) -> None:
    holder, heard, registry = world.holder(policy=Policy(fail_open=False))
    registry.down = True
    assert await holder.claim() is False
    assert heard.kinds() == ["refused:registry_closed"]
    assert "RUNGUARD_CLAIMS_UNREACHABLE=closed" in heard.events[0].explain()


async def test_a_lost_reply_is_asked_again_and_the_grant_is_found(world: World) -> None:
    holder, heard, registry = world.holder()
    registry.lose_replies = 1
    assert await holder.claim() is True
    assert holder.state is ClaimState.HELD
    assert heard.kinds() == ["reentered"]
    assert world.store.leases[KEY].token == holder.token


async def test_a_slow_failure_is_not_tried_twice(world: World) -> None:
    holder, _, registry = world.holder()
    registry.down, registry.seconds_per_call = True, 0.25
    assert await holder.claim() is True
    assert registry.calls == 1
    assert world.now == 1000.25


async def test_an_outage_during_standby_is_bounded_and_then_fails_open(world: World) -> None:
    """Nothing was heard of the holder for a whole lease: it could be anybody's."""
    holder, _, _ = world.holder("AJ_a")
    await holder.claim()
    standby, heard, registry = world.holder("AJ_b")
    world.at(1.0, lambda: setattr(registry, "down", True))
    assert await standby.claim() is True
    assert 9.75 <= world.now - 1000 <= 10.5
    assert heard.kinds() == ["unverified:unreachable"]


@pytest.mark.parametrize(
    ("ttl", "heartbeat", "timeout"),
    [
        (9, 5, 0.25),
        (3, 3, 0.25),
        (0.3, 0.1, 0.05),
        (9, 3, 3),
        (9, 3, 0),
        (math.inf, 3, 0.25),
        (1e30, 3, 0.25),
        (9, math.nan, 0.25),
    ],
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


async def test_a_holder_that_is_known_to_serve_nobody_loses_the_claim_at_once(world: World) -> None:
    """The server knows that its caller is gone before it does. Mutant: wait all the same."""
    holder, told, _ = world.holder("AJ_a")
    await holder.claim()
    await beating(world, holder, 3.0)
    asked: list[str] = []

    def serves(rival: ClaimHolder, _: object) -> bool:
        asked.append(rival.job_id)
        return False

    heir, heard, _ = world.holder("AJ_b")
    assert await heir.claim(serves=serves) is True
    assert (asked, heard.kinds(), world.now) == (["AJ_a"], ["taken_over"], 1000.0)
    await holder.beat()
    assert told.kinds() == ["acquired", "lost:superseded"]


async def test_a_holder_that_renewed_while_it_was_said_to_serve_nobody_keeps_the_claim(
    world: World,
) -> None:
    """It compares what was seen: a session that began in the same moment is not robbed."""
    holder, _, _ = world.holder("AJ_a")
    await holder.claim()
    words = iter([False])

    def serves(*_: object) -> bool | None:
        lease = world.store.leases[KEY]
        world.store.leases[KEY] = lease._replace(version=lease.version + 1)
        return next(words, None)

    loser, heard, _ = world.holder("AJ_b")
    await beating(world, holder)
    assert await loser.claim(serves=serves) is False
    assert heard.kinds() == ["refused:holder_renewed"]
    assert holder.state is ClaimState.HELD


async def test_news_of_the_holder_ends_the_wait(world: World) -> None:
    """Mutant: look again when the time has come; a caller waits a quarter of a second for that."""
    holder, _, _ = world.holder("AJ_a")
    await holder.claim()
    words, told = [None, False, False], asyncio.Event()

    def serves(_: ClaimHolder, news: Callable[[], None]) -> bool | None:
        async def hear() -> None:
            news()
            await told.wait()

        if words[0] is None:
            world.at(0.02, hear)
        return words.pop(0)

    heir, heard, _ = world.holder("AJ_b")
    assert await heir.claim(serves=serves) is True
    assert heard.kinds() == ["taken_over"]
    assert world.now - 1000 == pytest.approx(0.02)


async def test_a_reservation_is_not_asked_for_again_and_again(world: World) -> None:
    """Nobody serves with it, and it cannot be taken: each look but the first has its pause."""
    first, _, _ = world.holder("AJ_a", instance=f"{RESERVED}1")
    await first.reserve()
    heir, heard, registry = world.holder("AJ_b")
    assert await heir.claim(serves=lambda *_: False) is True
    assert heard.kinds() == ["taken_over"]
    assert registry.calls <= 2 * (heir.timing.ttl / heir.timing.probe + 2)


async def test_a_holder_that_is_known_to_serve_refuses_with_its_next_renewal(world: World) -> None:
    """Mutant: refuse on the word alone. The server still lists a job that was just killed."""
    holder, _, _ = world.holder("AJ_a")
    await holder.claim()
    await beating(world, holder)
    loser, heard, _ = world.holder("AJ_b")
    assert await loser.claim(serves=lambda *_: True) is False
    assert 3.0 <= world.now - 1000 <= 3.0 + loser.timing.probe
    assert heard.kinds() == ["refused:holder_renewed"]


async def test_a_dead_holder_that_is_said_to_serve_is_succeeded_when_its_lease_ends(
    world: World,
) -> None:
    holder, _, _ = world.holder("AJ_a")
    await holder.claim()
    heir, heard, _ = world.holder("AJ_b")
    assert await heir.claim(serves=lambda *_: True) is True
    assert heard.kinds() == ["taken_over"]
    assert world.now - 1000 >= holder.timing.ttl
