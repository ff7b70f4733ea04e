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
    Granted,
    Held,
    Missing,
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
    "test_a_holder_that_resumes_after_expiry_keeps_an_untaken_claim",
    "test_a_live_lease_refuses_another_job_and_says_who_holds_it",
    "test_a_lost_record_is_missing_not_superseded",
    "test_a_new_claim_is_granted_with_a_token",
    "test_a_registry_can_be_opened_and_closed_twice",
    "test_a_released_claim_is_free_at_once_and_its_token_is_remembered",
    "test_a_renewal_changes_the_version_and_moves_the_end",
    "test_a_second_release_does_nothing",
    "test_abandon_leaves_another_worker_and_another_job_alone",
    "test_abandon_releases_what_a_dead_process_of_this_worker_held",
    "test_an_expired_lease_is_taken_over_and_the_old_holder_learns_it",
    "test_inspect_shows_holder_and_state",
    "test_keys_do_not_touch_each_other",
    "test_of_many_contenders_exactly_one_wins",
    "test_tokens_strictly_increase_over_a_life_of_changes",
    "test_the_same_instance_re_enters_with_the_same_token",
    "test_a_wrong_token_or_instance_neither_renews_nor_releases",
]


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
            *(
                registries[n % 2].acquire(key, holder(f"AJ_{n}"), 60)
                for n in range(bench.contenders)
            )
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
