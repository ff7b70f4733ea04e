"""The service: settings become claims, and no mistake in them takes a call down."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import Any

import pytest

from runguard_otel.claims.current import current_claim
from runguard_otel.claims.registries.memory import MemoryRegistry, MemoryStore
from runguard_otel.claims.service import ClaimService
from runguard_otel.core.ports import JobFacts
from runguard_otel.settings import Settings
from tests.kit.claims import Heard

pytestmark = pytest.mark.unit


def job(job_id: str = "AJ_1", room: str = "room-a") -> JobFacts:
    return JobFacts("ws://livekit.test", room, "", "JT_ROOM", "", job_id)


class Counted(MemoryRegistry):
    closed = 0

    async def aclose(self) -> None:
        self.closed += 1


def service(registry: MemoryRegistry, **settings: Any) -> ClaimService:
    return ClaimService(Settings.load(**settings), lambda: "worker", lambda *_: registry)


async def test_a_job_has_a_current_claim_until_it_is_released() -> None:
    registry = Counted()
    front = service(registry)
    answer = await front.claim_for_job(job(), Heard())
    assert answer.handle is not None
    assert current_claim() is answer.handle
    assert answer.handle.verified and not answer.handle.superseded
    assert answer.handle.fence.endswith(f":{answer.handle.token}")
    assert await answer.handle.release() is True
    assert (answer.handle.verified, registry.closed) == (False, 1)  # a job takes its connection
    assert await answer.handle.release() is False


async def test_user_code_reads_a_claim_that_came_late_and_the_one_that_came_after_it() -> None:
    """In observe a task of ours claims; after a reloaded page the same job claims again."""
    front = service(MemoryRegistry(MemoryStore()))
    tokens: list[int] = []

    async def user_code(asked: asyncio.Event, read: asyncio.Event) -> None:
        for _ in range(2):
            await asked.wait()
            asked.clear()
            claim = current_claim()
            tokens.append(claim.token if claim is not None else 0)
            read.set()

    asked, read = asyncio.Event(), asyncio.Event()
    claiming = asyncio.create_task(front.claim_for_job(job(), Heard()))
    reader = asyncio.create_task(user_code(asked, read))
    for _ in range(2):
        answer = await claiming
        assert answer.handle is not None
        read.clear()
        asked.set()
        await read.wait()
        assert tokens[-1] == answer.handle.token > 0
        await answer.handle.release()
        claiming = asyncio.create_task(front.claim_for_job(job(), Heard()))
    await reader
    last = await claiming
    assert last.handle is not None and await last.handle.release()
    assert tokens[1] > tokens[0]


async def test_a_task_outside_of_the_job_has_no_claim_of_it() -> None:
    front = service(MemoryRegistry(MemoryStore()))

    async def a_job() -> None:
        answer = await front.claim_for_job(job(), Heard())
        assert answer.handle is not None and current_claim() is answer.handle
        await answer.handle.release()

    await asyncio.create_task(a_job())
    assert current_claim() is None


async def test_the_workers_connection_outlives_its_jobs() -> None:
    registry = Counted()
    front = service(registry)
    answer = await front.claim_for_worker(job(), Heard())
    assert answer.handle is not None
    await answer.handle.release()
    assert registry.closed == 0
    front.close()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert registry.closed == 1


@pytest.mark.parametrize("url", ["mysql://user:hunter2@db/x", "sqlite://relative"])
async def test_a_url_that_cannot_be_used_is_an_outage_and_says_so(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    front = ClaimService(Settings.load(claims_url=url), lambda: "worker")
    heard = Heard()
    await front.warm()
    answer = await front.claim_for_job(job(), heard)
    assert answer.handle is not None
    assert heard.kinds() == ["unverified:unreachable"]
    assert "claims cannot be verified" in caplog.text
    assert "hunter2" not in caplog.text
    await answer.handle.release()


async def test_times_that_do_not_go_together_warn_and_fall_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    front = service(MemoryRegistry(), claims_ttl_seconds=3.0, claims_heartbeat_seconds=3.0)
    with caplog.at_level(logging.WARNING):
        answer = await front.claim_for_job(job(), Heard())
    assert answer.handle is not None
    assert "need ttl > deadline > 1.2 x heartbeat" in caplog.text
    await answer.handle.release()


async def test_an_answer_that_never_came_leaves_no_orphan_behind() -> None:
    """The grant was made, the reply was not heard, and the policy is to refuse."""

    class Mute(MemoryRegistry):
        async def acquire(self, *args: Any, **kwargs: Any) -> Any:
            await super().acquire(*args, **kwargs)
            await asyncio.Event().wait()

    store = MemoryStore()
    front = service(Mute(store), claims_unreachable="closed", claims_timeout_seconds=0.02)
    answer = await front.claim_for_worker(job(), Heard())
    assert (answer.handle, answer.cause) == (None, "registry_closed")
    for _ in range(10):
        await asyncio.sleep(0)
    assert [lease.held for lease in store.leases.values()] == [False]


async def test_a_cancelled_claim_leaves_no_orphan_behind() -> None:
    class Slow(MemoryRegistry):
        async def acquire(self, *args: Any, **kwargs: Any) -> Any:
            await super().acquire(*args, **kwargs)
            await asyncio.Event().wait()

    store = MemoryStore()
    front = service(Slow(store), claims_timeout_seconds=2.0)
    claiming = asyncio.create_task(front.claim_for_job(job(), Heard()))
    await asyncio.sleep(0.01)
    claiming.cancel()
    with pytest.raises(asyncio.CancelledError):
        await claiming
    for _ in range(10):
        await asyncio.sleep(0)
    assert [lease.held for lease in store.leases.values()] == [False]


async def test_abandon_releases_a_dead_jobs_claim_and_survives_an_outage() -> None:
    store = MemoryStore()
    front = service(MemoryRegistry(store))
    answer = await front.claim_for_worker(job(), Heard())
    assert answer.handle is not None
    await front.abandon(job())
    assert [lease.held for lease in store.leases.values()] == [False]
    broken = ClaimService(Settings.load(claims_url="mysql://x"), lambda: "worker")
    await broken.abandon(job())
    front.close()


@pytest.mark.parametrize(("by_metadata", "served"), [(False, [True, False]), (True, [True, True])])
async def test_metadata_makes_another_job_only_where_the_settings_say_so(
    by_metadata: bool, served: list[bool]
) -> None:
    """A translator per language has one agent name, and a dispatch that is retried one text."""
    front = service(MemoryRegistry(MemoryStore()), claims_by_metadata=by_metadata)
    answers = [
        await front.claim_for_worker(replace(job(name), metadata=language), Heard())
        for name, language in (("AJ_1", "es"), ("AJ_2", "fr"))
    ]
    handles = [answer.handle for answer in answers if answer.handle and answer.handle.token]
    assert len(handles) == sum(served)
    again = await front.claim_for_worker(replace(job("AJ_3"), metadata="es"), Heard())
    assert again.handle is not None and not again.handle.token, "whether AJ_1 serves it will see"
    assert again.holder.job_id == "AJ_1"
    claims = {handle.fence.partition(":")[0] for handle in handles}
    assert len(claims) == len(handles), "nor does one fence out the other in their room"
    front.close()


class Closing(MemoryRegistry):
    """Counts how often it was closed."""

    closed = 0

    async def aclose(self) -> None:
        self.closed += 1


async def test_a_refused_job_leaves_no_connection_behind() -> None:
    """Jobs may be threads of one worker, each with a loop: a storm of duplicates has many."""
    store = MemoryStore()
    quick = {
        "claims_ttl_seconds": 1.2,
        "claims_heartbeat_seconds": 0.2,
        "claims_timeout_seconds": 0.1,
    }
    holder = service(MemoryRegistry(store), **quick)
    assert (await holder.claim_for_job(job("AJ_1"), Heard())).handle is not None
    registry = Closing(store)
    refused = service(registry, **quick)
    await refused.warm()
    assert (await refused.claim_for_job(job("AJ_2"), Heard())).handle is None
    assert (registry.closed, len(refused._loops)) == (1, 0)
    holder.close()


def test_what_was_only_warm_goes_with_its_loop() -> None:
    front = service(MemoryRegistry(MemoryStore()))
    for _ in range(20):
        asyncio.run(front.warm())
    assert len(front._loops) <= 1


async def test_namespaces_keep_deployments_apart() -> None:
    store = MemoryStore()
    one = service(MemoryRegistry(store), claims_namespace="blue")
    two = service(MemoryRegistry(store), claims_namespace="green")
    for front, name in ((one, "AJ_1"), (two, "AJ_2")):
        answer = await front.claim_for_worker(job(name), Heard())
        assert answer.handle is not None
        assert answer.handle.token
        front.close()
    assert len(store.leases) == 2
