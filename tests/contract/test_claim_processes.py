"""Processes and servers that die, stop or come back empty."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Iterator

import psycopg
import pytest

from runguard_otel.claims.clock import boottime
from runguard_otel.claims.registries.redis.registry import RedisRegistry
from runguard_otel.claims.registry import Granted, Held, Renewed
from runguard_otel.claims.state import ClaimState, Timing
from tests.kit import servers
from tests.kit.fixtures import running
from tests.kit.lease_holders import (
    NOTICE,
    SLACK,
    TIMING,
    eventually,
    holding,
    holding_here,
    redis_url,
    warm,
)
from tests.kit.outcomes import Outcomes
from tests.kit.process import Server
from tests.kit.registries import holder
from tests.kit.servers import postgres_url

pytestmark = pytest.mark.contract


@pytest.fixture(scope="module")
def outcomes(request: pytest.FixtureRequest) -> Iterator[Outcomes]:
    table = Outcomes(
        "Processes and servers (lease 1.5 s, heartbeat 0.5 s; dynalite twice that)",
        "backend", "what happens", "expected", "measured",
    )  # fmt: skip
    yield from table.printed(request)


async def test_a_killed_holders_room_is_taken_over_within_one_lease(
    process_backend: tuple[str, str, Timing], key: str, outcomes: Outcomes
) -> None:
    name, url, timing = process_backend
    async with (
        holding(url, key, timing) as first,
        holding_here(url, key, "AJ_b", timing) as (rival, _),
    ):
        await warm(rival)
        os.kill(first.process.pid, signal.SIGKILL)
        began = boottime()
        assert await rival.claim()
        took = boottime() - began
    outcomes.add(
        name, "holder: kill -9", f"taken over <= {timing.ttl + timing.probe:.1f} s", f"{took:.2f} s"
    )
    assert took < timing.ttl + timing.probe + SLACK


async def test_a_stopped_holder_knows_on_waking_that_its_lease_is_over(
    process_backend: tuple[str, str, Timing], key: str, outcomes: Outcomes
) -> None:
    name, url, timing = process_backend
    async with (
        holding(url, key, timing) as first,
        holding_here(url, key, "AJ_b", timing) as (rival, _),
    ):
        await warm(rival)
        first.process.send_signal(signal.SIGSTOP)
        began = boottime()
        assert await rival.claim()
        admitted = boottime() - began
        rival.start()
        woken = boottime()
        first.process.send_signal(signal.SIGCONT)
        doubts = await first.until("doubts")
        stop = await first.until("stop")
    told = (doubts["at"] - woken) * 1e3
    outcomes.add(
        name, "holder: SIGSTOP, SIGCONT", "rival admitted; zombie doubts at once",
        f"{admitted:.2f} s; {told:.1f} ms",
    )  # fmt: skip
    assert stop["cause"] == "superseded"
    assert told < 100


async def test_a_standby_leaves_a_living_holder_alone(
    process_backend: tuple[str, str, Timing], key: str, outcomes: Outcomes
) -> None:
    name, url, timing = process_backend
    async with holding(url, key, timing), holding_here(url, key, "AJ_b", timing) as (rival, heard):
        await warm(rival)
        began = boottime()
        assert not await rival.claim()
        took = boottime() - began
    outcomes.add(name, "rival meets a living holder", "leaves after a heartbeat", f"{took:.2f} s")
    assert rival.cause == "holder_renewed"
    assert heard.events == ["refused"]


@pytest.fixture
def own_redis() -> Iterator[Server]:
    yield from running(servers.redis_server)


async def test_a_short_pause_of_the_server_costs_no_claim(
    own_redis: Server, key: str, outcomes: Outcomes
) -> None:
    async with holding_here(redis_url(own_redis), key, "AJ_a") as (lease, heard):
        assert await lease.claim()
        lease.start()
        token = lease.token
        own_redis.pause()
        await asyncio.sleep(0.9)
        own_redis.resume()
        began = lease._since
        await eventually(lambda: lease._since > began, 2)
        assert (lease.state, lease.token) == (ClaimState.HELD, token)
        assert "lost" not in heard.events
    outcomes.add("redis", "server: SIGSTOP 0.9 s", "claim kept, token kept", "kept")


async def test_a_long_pause_is_expiry_then_the_same_claim_again(
    own_redis: Server, key: str, outcomes: Outcomes
) -> None:
    async with holding_here(redis_url(own_redis), key, "AJ_a") as (lease, heard):
        assert await lease.claim()
        lease.start()
        token, since = lease.token, lease._since
        own_redis.pause()
        await eventually(lambda: lease.state is ClaimState.EXPIRED, 3)
        expired = boottime() - since
        assert not lease.verified
        own_redis.resume()
        await eventually(lambda: lease.state is ClaimState.HELD, 3)
        assert lease.token == token
        assert heard.events.count("lost") == 1 and heard.stopped == []  # goes on by default
    outcomes.add(
        "redis", "server: SIGSTOP beyond the lease", "expired < 1.5 s, then held again",
        f"{expired:.2f} s",
    )  # fmt: skip


async def test_a_server_that_returns_empty_gets_the_claim_again_with_a_higher_token(
    own_redis: Server, key: str, outcomes: Outcomes
) -> None:
    async with holding_here(redis_url(own_redis), key, "AJ_a") as (lease, heard):
        assert await lease.claim()
        lease.start()
        token = lease.token
        own_redis.kill()
        own_redis.start()
        took = await eventually(lambda: lease.token != token, 3)
        assert lease.token > token
        direct = RedisRegistry(redis_url(own_redis))
        assert isinstance(await direct.acquire(key, holder("AJ_b"), 5), Held)
        await direct.aclose()
        assert heard.stopped == []
    outcomes.add(
        "redis", "server: kill -9, back empty", "re-claimed, higher token", f"{took:.2f} s"
    )


async def test_a_rival_that_uses_the_empty_servers_gap_ends_the_older_holder(
    own_redis: Server, key: str, outcomes: Outcomes
) -> None:
    """The residual double-holding window, with its bound."""
    async with holding_here(redis_url(own_redis), key, "AJ_a") as (lease, heard):
        assert await lease.claim()
        lease.start()
        own_redis.kill()
        own_redis.start()
        direct = RedisRegistry(redis_url(own_redis))
        granted = await direct.acquire(key, holder("AJ_b"), 5)
        assert isinstance(granted, Granted) and granted.token > lease.token
        double = await eventually(lambda: heard.stopped == ["superseded"], 3)
        await direct.aclose()
    outcomes.add(
        "redis", "server: back empty, rival first", f"double holding <= {NOTICE:.2f} s",
        f"{double:.2f} s",
    )  # fmt: skip
    assert double < NOTICE + SLACK


async def test_without_a_server_the_call_is_served_unverified_and_claimed_late(
    own_redis: Server, key: str, outcomes: Outcomes, caplog: pytest.LogCaptureFixture
) -> None:
    own_redis.pause()
    async with holding_here(redis_url(own_redis), key, "AJ_a") as (lease, heard):
        with caplog.at_level(logging.INFO):
            began = boottime()
            assert await lease.claim()
            took = boottime() - began
            lease.start()
            assert lease.state is ClaimState.UNVERIFIED and lease.token == 0
            await asyncio.sleep(1.2)
            own_redis.resume()
            late = await eventually(lambda: lease.state is ClaimState.HELD, 3)
        warnings = [r for r in caplog.records if "cannot be reached" in r.message]
        assert len(warnings) == 1, "one warning per outage"
        assert lease.verified and heard.stopped == []
    outcomes.add(
        "redis", "server: silent at the claim", "unverified <= 0.25 s, claimed late",
        f"{took * 1e3:.0f} ms; {late:.2f} s",
    )  # fmt: skip
    assert took < TIMING.timeout + SLACK


async def test_a_duplicate_proven_by_the_late_claim_is_told_to_stop(
    own_redis: Server, key: str, outcomes: Outcomes
) -> None:
    direct = RedisRegistry(redis_url(own_redis))
    who = holder("AJ_b")
    granted = await direct.acquire(key, who, 30)
    assert isinstance(granted, Granted)
    own_redis.pause()
    async with holding_here(redis_url(own_redis), key, "AJ_a") as (lease, heard):
        assert await lease.claim()
        lease.start()
        own_redis.resume()
        took = await eventually(lambda: heard.stopped == ["superseded"], 3)
    assert await direct.renew(key, who, granted.token, 30) == Renewed()
    await direct.aclose()
    outcomes.add("redis", "late claim finds a holder", "the late one stops", f"{took:.2f} s")


async def test_terminated_backends_cost_no_claim(
    postgres_server: Server, key: str, outcomes: Outcomes
) -> None:
    url = postgres_url(postgres_server.port)
    async with holding_here(url, key, "AJ_a") as (lease, heard):
        await warm(lease)
        assert await lease.claim()
        lease.start()
        token, since = lease.token, lease._since
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as admin:
            await admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name = 'runguard-otel'"
            )
        await eventually(lambda: lease._since > since, 2)
        assert (lease.state, lease.token) == (ClaimState.HELD, token)
        assert "lost" not in heard.events
    outcomes.add("psycopg", "server: backends terminated", "claim kept, token kept", "kept")
