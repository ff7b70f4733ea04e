"""What every claim registry promises, as a suite that is parametrised by a factory.

Use it from a test module::

    from tests.contract.registry_contract import *  # the tests below

    pytestmark = pytest.mark.contract

    @pytest.fixture
    async def bench() -> AsyncIterator[Bench]:
        yield Bench(make=lambda: MyRegistry(...), wait=asyncio.sleep, ttl=0.6)

``make`` is called once per simulated process and must return registries that share their records.
``wait`` lets that many seconds pass on the registry's clock: the real ``asyncio.sleep``, or the
advance of a fake clock.
"""

from __future__ import annotations

import asyncio

import pytest

from runguard_otel.claims.registry import (
    ClaimRegistry,
    Granted,
    Held,
    Missing,
    Observation,
    RegistryUnavailable,
    Renewed,
    Superseded,
)
from tests.kit.registries import Bench, Keys, Pair, holder, keys, registries, take_over, taken

__all__ = [
    "Bench",
    "holder",
    "keys",
    "registries",
    "test_a_hand_off_fences_the_older_instance",
    "test_a_holder_that_ends_may_serve_again_while_nobody_came",
    "test_a_holder_that_resumes_after_expiry_keeps_an_untaken_claim",
    "test_a_live_lease_refuses_another_job_and_says_who_holds_it",
    "test_a_lost_record_is_missing_not_superseded",
    "test_a_new_claim_is_granted_with_a_token",
    "test_a_registry_can_be_opened_and_closed_twice",
    "test_a_released_claim_is_free_at_once_and_its_token_is_remembered",
    "test_a_renewal_changes_the_version_and_moves_the_end",
    "test_a_record_of_a_foreign_writer_is_unavailable_and_nothing_else",
    "test_a_second_release_does_nothing",
    "test_abandon_leaves_another_worker_and_another_job_alone",
    "test_abandon_releases_what_a_dead_process_of_this_worker_held",
    "test_an_ending_claim_can_be_released_and_abandoned",
    "test_an_ending_claim_is_given_to_whoever_asks_and_its_holder_learns_it",
    "test_an_ending_claim_of_the_same_job_is_a_hand_off",
    "test_an_expired_lease_is_taken_over_and_the_old_holder_learns_it",
    "test_inspect_shows_holder_and_state",
    "test_keys_do_not_touch_each_other",
    "test_of_many_contenders_exactly_one_wins",
    "test_of_many_that_want_an_ending_claim_exactly_one_gets_it",
    "test_tokens_strictly_increase_over_a_life_of_changes",
    "test_the_mark_of_one_holder_never_falls_on_the_next",
    "test_the_same_instance_re_enters_with_the_same_token",
    "test_who_was_watched_for_two_leases_without_a_renewal_is_taken_over",
    "test_a_wrong_token_or_instance_neither_renews_nor_releases",
]


async def _in_turn(registry: ClaimRegistry, key: str, job_id: str) -> Granted | Held:
    """Ask as a holder does: no more at a time than the registry has connections for."""
    async with registry.turn():
        return await registry.acquire(key, holder(job_id), 60)


async def test_a_new_claim_is_granted_with_a_token(
    bench: Bench, registries: Pair, keys: Keys
) -> None:
    granted = await taken(registries[0], keys(), holder(), bench.ttl)
    assert granted.how == "new"
    assert granted.token > 0


async def test_a_live_lease_refuses_another_job_and_says_who_holds_it(
    bench: Bench, registries: Pair, keys: Keys
) -> None:
    key, first = keys(), holder("AJ_a")
    granted = await taken(registries[0], key, first, 60)
    held = await registries[1].acquire(key, holder("AJ_b"), 60)
    assert isinstance(held, Held)
    assert (held.token, held.job_id, held.instance) == (granted.token, "AJ_a", first.instance)
    assert held.remaining is None or 55 < held.remaining <= 60


async def test_the_same_instance_re_enters_with_the_same_token(
    bench: Bench, registries: Pair, keys: Keys
) -> None:
    key, who = keys(), holder()
    first = await taken(registries[0], key, who, 60)
    again = await taken(registries[0], key, who, 60)
    assert (again.how, again.token) == ("reentrant", first.token)


async def test_a_hand_off_fences_the_older_instance(
    bench: Bench, registries: Pair, keys: Keys
) -> None:
    key, old, new = keys(), holder("AJ_a"), holder("AJ_a")
    first = await taken(registries[0], key, old, 60)
    second = await taken(registries[1], key, new, 60)
    assert second.how == "handoff"
    assert second.token > first.token
    answer = await registries[0].renew(key, old, first.token, 60)
    assert answer == Superseded(second.token, "AJ_a", new.instance)
    assert await registries[0].release(key, old, first.token) is False
    assert await registries[1].renew(key, new, second.token, 60) == Renewed()


async def test_a_renewal_changes_the_version_and_moves_the_end(
    bench: Bench, registries: Pair, keys: Keys
) -> None:
    key, who, rival = keys(), holder("AJ_a"), holder("AJ_b")
    granted = await taken(registries[0], key, who, bench.ttl)
    before = await registries[1].acquire(key, rival, bench.ttl)
    await bench.wait(bench.ttl * 0.6)
    assert await registries[0].renew(key, who, granted.token, bench.ttl) == Renewed()
    await bench.wait(bench.ttl * 0.6)  # past the first end
    after = await registries[1].acquire(key, rival, bench.ttl)
    assert isinstance(before, Held) and isinstance(after, Held)
    assert after.version != before.version
    assert after.token == before.token


async def test_a_released_claim_is_free_at_once_and_its_token_is_remembered(
    bench: Bench, registries: Pair, keys: Keys
) -> None:
    key, who = keys(), holder("AJ_a")
    first = await taken(registries[0], key, who, 60)
    assert await registries[0].release(key, who, first.token) is True
    second = await taken(registries[1], key, holder("AJ_b"), 60)
    assert second.how == "new"
    assert second.token > first.token


async def test_a_second_release_does_nothing(bench: Bench, registries: Pair, keys: Keys) -> None:
    key, who = keys(), holder("AJ_a")
    first = await taken(registries[0], key, who, 60)
    assert await registries[0].release(key, who, first.token) is True
    assert await registries[0].release(key, who, first.token) is False
    other = holder("AJ_b")
    second = await taken(registries[1], key, other, 60)
    assert await registries[0].release(key, who, first.token) is False
    assert await registries[1].renew(key, other, second.token, 60) == Renewed()


async def test_a_wrong_token_or_instance_neither_renews_nor_releases(
    bench: Bench, registries: Pair, keys: Keys
) -> None:
    key, who = keys(), holder("AJ_a")
    granted = await taken(registries[0], key, who, 60)
    impostor = holder("AJ_a")
    right = Superseded(granted.token, "AJ_a", who.instance)
    assert await registries[1].renew(key, impostor, granted.token, 60) == right
    assert await registries[1].renew(key, who, granted.token - 1, 60) == right
    assert await registries[1].release(key, impostor, granted.token) is False
    assert await registries[1].release(key, who, granted.token - 1) is False
    assert await registries[0].renew(key, who, granted.token, 60) == Renewed()


async def test_an_expired_lease_is_taken_over_and_the_old_holder_learns_it(
    bench: Bench, registries: Pair, keys: Keys
) -> None:
    key, dead, heir = keys(), holder("AJ_a"), holder("AJ_b")
    first = await taken(registries[0], key, dead, bench.ttl)
    second = await take_over(bench, registries[1], key, heir)
    assert second.how == "takeover"
    assert second.token > first.token
    answer = await registries[0].renew(key, dead, first.token, bench.ttl)
    assert answer == Superseded(second.token, "AJ_b", heir.instance)
    assert await registries[0].release(key, dead, first.token) is False


async def test_a_holder_that_resumes_after_expiry_keeps_an_untaken_claim(
    bench: Bench, registries: Pair, keys: Keys
) -> None:
    key, who = keys(), holder("AJ_a")
    granted = await taken(registries[0], key, who, bench.ttl)
    await bench.wait(bench.ttl * 1.1 + 0.05)
    assert await registries[0].renew(key, who, granted.token, 60) == Renewed()
    assert isinstance(await registries[1].acquire(key, holder("AJ_b"), 60), Held)


async def test_an_ending_claim_is_given_to_whoever_asks_and_its_holder_learns_it(
    bench: Bench, registries: Pair, keys: Keys
) -> None:
    key, old, new = keys(), holder("AJ_a"), holder("AJ_b")
    first = await taken(registries[0], key, old, 60)
    assert isinstance(await registries[1].acquire(key, new, 60), Held)
    assert await registries[0].renew(key, old, first.token, 60, ending=True) == Renewed()
    assert await registries[0].renew(key, old, first.token, 60, ending=True) == Renewed()
    (seen,) = await registries[1].inspect(key)
    assert (seen.state, seen.token, seen.job_id) == ("ending", first.token, "AJ_a")
    second = await taken(registries[1], key, new, 60)
    assert second.how == "passed_on"
    assert second.token > first.token
    for ending in (True, False):
        answer = await registries[0].renew(key, old, first.token, 60, ending=ending)
        assert answer == Superseded(second.token, "AJ_b", new.instance)
    assert await registries[0].release(key, old, first.token) is False


async def test_a_holder_that_ends_may_serve_again_while_nobody_came(
    bench: Bench, registries: Pair, keys: Keys
) -> None:
    key, who = keys(), holder("AJ_a")
    granted = await taken(registries[0], key, who, 60)
    assert await registries[0].renew(key, who, granted.token, 60, ending=True) == Renewed()
    assert await registries[0].renew(key, who, granted.token, 60) == Renewed()
    (seen,) = await registries[1].inspect(key)
    assert (seen.state, seen.token) == ("held", granted.token)
    assert isinstance(await registries[1].acquire(key, holder("AJ_b"), 60), Held)
    await registries[0].renew(key, who, granted.token, 60, ending=True)
    again = await taken(registries[0], key, who, 60)  # as after a lost reply
    assert (again.how, again.token) == ("reentrant", granted.token)
    assert isinstance(await registries[1].acquire(key, holder("AJ_b"), 60), Held)


async def test_the_mark_of_one_holder_never_falls_on_the_next(
    bench: Bench, registries: Pair, keys: Keys
) -> None:
    key, old, new = keys(), holder("AJ_a"), holder("AJ_b")
    first = await taken(registries[0], key, old, 60)
    await registries[0].renew(key, old, first.token, 60, ending=True)
    second = await taken(registries[1], key, new, 60)
    await registries[0].renew(key, old, first.token, 60, ending=True)
    assert isinstance(await registries[0].acquire(key, holder("AJ_c"), 60), Held)
    assert await registries[1].renew(key, new, second.token, 60) == Renewed()
    assert isinstance(await registries[0].acquire(key, holder("AJ_c"), 60), Held)


async def test_an_ending_claim_can_be_released_and_abandoned(
    bench: Bench, registries: Pair, keys: Keys
) -> None:
    for abandon in (True, False):
        key, who = keys(), holder("AJ_a", "worker-1")
        granted = await taken(registries[0], key, who, 60)
        await registries[0].renew(key, who, granted.token, 60, ending=True)
        if abandon:
            assert await registries[1].abandon(key, "AJ_a", "worker-1") is True
            assert await registries[1].abandon(key, "AJ_a", "worker-1") is False
        else:
            assert await registries[0].release(key, who, granted.token) is True
            assert await registries[0].release(key, who, granted.token) is False
        assert (await taken(registries[1], key, holder("AJ_b"), 60)).how == "new"


async def test_an_ending_claim_of_the_same_job_is_a_hand_off(
    bench: Bench, registries: Pair, keys: Keys
) -> None:
    key, old, new = keys(), holder("AJ_a"), holder("AJ_a")
    first = await taken(registries[0], key, old, 60)
    await registries[0].renew(key, old, first.token, 60, ending=True)
    second = await taken(registries[1], key, new, 60)
    assert second.how == "handoff"
    assert isinstance(await registries[1].acquire(key, holder("AJ_b"), 60), Held)


async def test_of_many_that_want_an_ending_claim_exactly_one_gets_it(
    bench: Bench, registries: Pair, keys: Keys
) -> None:
    key, who = keys(), holder("AJ_old")
    granted = await taken(registries[0], key, who, 60)
    await registries[0].renew(key, who, granted.token, 60, ending=True)
    answers = await asyncio.gather(
        *(_in_turn(registries[n % 2], key, f"AJ_{n}") for n in range(bench.contenders))
    )
    winners = [answer for answer in answers if isinstance(answer, Granted)]
    assert [winner.how for winner in winners] == ["passed_on"]


async def test_who_was_watched_for_two_leases_without_a_renewal_is_taken_over(
    bench: Bench, registries: Pair, keys: Keys
) -> None:
    """The registry's clock may have jumped back, and say that a dead job's lease still runs."""
    key, dead, heir = keys(), holder("AJ_a"), holder("AJ_b")
    first = await taken(registries[0], key, dead, 60)
    seen = await registries[1].acquire(key, heir, 60)
    assert isinstance(seen, Held)
    watched = Observation(seen.token, seen.version, 59)
    assert isinstance(await registries[1].acquire(key, heir, 60, observed=watched), Held)
    assert await registries[0].renew(key, dead, first.token, 60) == Renewed()
    watched = Observation(seen.token, seen.version, 120)
    assert isinstance(await registries[1].acquire(key, heir, 60, observed=watched), Held)
    seen = await registries[1].acquire(key, heir, 60)
    assert isinstance(seen, Held)
    watched = Observation(seen.token, seen.version, 120)
    answer = await registries[1].acquire(key, heir, 60, observed=watched)
    assert isinstance(answer, Granted) and answer.how == "takeover"
    assert answer.token > first.token


async def test_a_record_of_a_foreign_writer_is_unavailable_and_nothing_else(
    bench: Bench, registries: Pair, keys: Keys
) -> None:
    """Whatever stands there, a heartbeat goes on: it expects RegistryUnavailable."""
    if not bench.spoil:
        pytest.skip("the server refuses a record that is none of ours")
    for spoil in bench.spoil:
        key, who = keys(), holder("AJ_a")
        granted = await taken(registries[0], key, who, 60)
        await spoil(key)
        failed = 0
        for asked in (
            registries[0].renew(key, who, granted.token, 60),
            registries[1].acquire(key, holder("AJ_b"), 60),
            registries[0].acquire(key, who, 60),
            registries[0].inspect(key),
            registries[0].release(key, who, granted.token),
            registries[0].abandon(key, "AJ_a", "worker-1"),
        ):
            try:
                await asked
            except RegistryUnavailable:
                failed += 1
        assert failed, "it was readable"
    key = keys()
    await taken(registries[0], key, holder(), 60)
    assert key in {row.key for row in await registries[1].inspect()}, "the others can be listed"


async def test_a_lost_record_is_missing_not_superseded(
    bench: Bench, registries: Pair, keys: Keys
) -> None:
    if bench.forget is None:
        pytest.skip("this backend's records cannot be lost apart from the backend")
    key, who = keys(), holder("AJ_a")
    granted = await taken(registries[0], key, who, 60)
    await bench.forget()
    assert await registries[0].renew(key, who, granted.token, 60) == Missing()
    assert await registries[0].release(key, who, granted.token) is False


async def test_abandon_releases_what_a_dead_process_of_this_worker_held(
    bench: Bench, registries: Pair, keys: Keys
) -> None:
    key = keys()
    first = await taken(registries[0], key, holder("AJ_a", "worker-1"), 60)
    assert await registries[1].abandon(key, "AJ_a", "worker-1") is True
    assert await registries[1].abandon(key, "AJ_a", "worker-1") is False
    second = await taken(registries[1], key, holder("AJ_b", "worker-2"), 60)
    assert second.token > first.token


async def test_abandon_leaves_another_worker_and_another_job_alone(
    bench: Bench, registries: Pair, keys: Keys
) -> None:
    key, who = keys(), holder("AJ_a", "worker-1")
    granted = await taken(registries[0], key, who, 60)
    assert await registries[1].abandon(key, "AJ_a", "worker-2") is False
    assert await registries[1].abandon(key, "AJ_b", "worker-1") is False
    assert await registries[1].abandon(keys(), "AJ_a", "worker-1") is False
    assert await registries[0].renew(key, who, granted.token, 60) == Renewed()


async def test_inspect_shows_holder_and_state(bench: Bench, registries: Pair, keys: Keys) -> None:
    key, who = keys(), holder("AJ_a", "worker-1")
    assert await registries[1].inspect(key) == []
    granted = await taken(registries[0], key, who, 60)
    (seen,) = await registries[1].inspect(key)
    assert (seen.key, seen.token, seen.job_id) == (key, granted.token, "AJ_a")
    assert (seen.instance, seen.worker, seen.state) == (who.instance, "worker-1", "held")
    assert key in {row.key for row in await registries[1].inspect()}
    await registries[0].release(key, who, granted.token)
    (seen,) = await registries[1].inspect(key)
    assert (seen.state, seen.token) == ("released", granted.token)


async def test_keys_do_not_touch_each_other(bench: Bench, registries: Pair, keys: Keys) -> None:
    one, two, who = keys(), keys(), holder("AJ_a")
    granted = await taken(registries[0], one, who, 60)
    assert (await taken(registries[1], two, holder("AJ_b"), 60)).how == "new"
    assert await registries[0].renew(one, who, granted.token, 60) == Renewed()


async def test_tokens_strictly_increase_over_a_life_of_changes(
    bench: Bench, registries: Pair, keys: Keys
) -> None:
    key, tokens = keys(), []
    last = holder("AJ_0")
    tokens.append((await taken(registries[0], key, last, bench.ttl)).token)
    for step in range(1, 4):
        same_job = holder(last.job_id)
        tokens.append((await taken(registries[step % 2], key, same_job, bench.ttl)).token)
        assert await registries[0].release(key, same_job, tokens[-1]) is True
        last = holder(f"AJ_{step}")
        tokens.append((await taken(registries[step % 2], key, last, bench.ttl)).token)
    tokens.append((await take_over(bench, registries[0], key, holder("AJ_last"))).token)
    assert tokens == sorted(set(tokens))


async def test_of_many_contenders_exactly_one_wins(
    bench: Bench, registries: Pair, keys: Keys
) -> None:
    for _ in range(3):
        key = keys()
        answers = await asyncio.gather(
            *(_in_turn(registries[n % 2], key, f"AJ_{n}") for n in range(bench.contenders))
        )
        winners = [answer for answer in answers if isinstance(answer, Granted)]
        assert len(winners) == 1
        tokens = {answer.token for answer in answers}
        assert tokens == {winners[0].token}


async def test_a_registry_can_be_opened_and_closed_twice(bench: Bench) -> None:
    registry = bench.make()
    await registry.open()
    await registry.open()
    await registry.aclose()
    await registry.aclose()
