"""Processes and servers that die, stop, come back empty or live in another hour."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from runguard_otel.claims.circuit import BoundedRegistry, Circuit
from runguard_otel.claims.clock import boottime
from runguard_otel.claims.keeper import ClaimKeeper
from runguard_otel.claims.open import open_registry
from runguard_otel.claims.redis import RedisRegistry
from runguard_otel.claims.registry import Granted, Held, Holder, Renewed
from runguard_otel.claims.state import ClaimState, Timing
from runguard_otel.core.ports import ClaimEvent
from runguard_otel.settings import Settings
from tests.contract.registry_contract import holder
from tests.kit import servers
from tests.kit.fixtures import running
from tests.kit.outcomes import Outcomes
from tests.kit.process import NotInstalled, Server
from tests.kit.servers import postgres_url

pytestmark = pytest.mark.contract

ROOT = Path(__file__).resolve().parents[2]
TIMING = Timing(ttl=1.5, heartbeat=0.5, timeout=0.25)
SLOW = Timing(ttl=3.0, heartbeat=1.0, timeout=0.9)  # dynalite is slow where cores are busy
NOTICE = TIMING.heartbeat * 1.1 + TIMING.timeout
"""How long a holder may take to learn that it was superseded, in seconds."""
SLACK = 0.4
"""What a loaded machine may add, in seconds."""


@pytest.fixture(scope="module")
def outcomes(request: pytest.FixtureRequest) -> Iterator[Outcomes]:
    table = Outcomes(
        "Processes, servers and clocks (lease 1.5 s, heartbeat 0.5 s; dynalite twice that)",
        "backend", "what happens", "expected", "measured",
    )  # fmt: skip
    yield from table.printed(request)


@pytest.fixture
def key() -> str:
    return f"rg:v1:{{{uuid.uuid4().hex}}}"


@pytest.fixture(params=["redis", "psycopg", "dynalite"])
def backend(request: pytest.FixtureRequest) -> tuple[str, str, Timing]:
    """Name, URL and timing of a backend that stays up."""
    name = request.param
    fixture = {"psycopg": "postgres_server"}.get(name, f"{name}_server")
    server: Server = request.getfixturevalue(fixture)
    url = {
        "redis": f"redis://127.0.0.1:{server.port}",
        "psycopg": postgres_url(server.port),
        "dynalite": f"dynamodb://proc?region=us-east-1&endpoint={server.url}&create=true",
    }[name]
    return name, url, SLOW if name == "dynalite" else TIMING


@dataclass
class Process:
    """The holder in a process of its own, and what it prints."""

    process: asyncio.subprocess.Process

    async def until(self, event: str) -> dict[str, Any]:
        """The next line with that event; lines before it are dropped."""
        assert self.process.stdout is not None
        while True:
            line = await asyncio.wait_for(self.process.stdout.readline(), 10)
            assert line, f"the holder ended before it said {event!r}"
            said: dict[str, Any] = json.loads(line)
            if said["event"] == event:
                return said


@asynccontextmanager
async def holding(
    url: str, key: str, timing: Timing, env: Mapping[str, str] | None = None
) -> AsyncIterator[Process]:
    words = [url, key, "AJ_a", str(timing.ttl), str(timing.heartbeat), str(timing.timeout)]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.kit.claim_holder", *words,
        cwd=ROOT, stdout=asyncio.subprocess.PIPE, env={**os.environ, **(env or {})},
    )  # fmt: skip
    try:
        holder = Process(process)
        await holder.until("believes")
        yield holder
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


class Heard:
    """A listener that remembers."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.stopped: list[str] = []

    def claim_event(self, event: ClaimEvent) -> None:
        self.events.append(event.kind)

    def claim_lost(self, cause: str) -> None:
        self.stopped.append(cause)

    def registry_call(self, operation: str, result: str, seconds: float) -> None:
        pass


@asynccontextmanager
async def keeping(
    url: str, key: str, job: str, timing: Timing = TIMING, circuit: Circuit | None = None
) -> AsyncIterator[tuple[ClaimKeeper, Heard]]:
    registry = open_registry(url, Settings())
    heard = Heard()
    circuit = circuit or Circuit(open_seconds=0.3)
    bounded = BoundedRegistry(registry, timing.timeout, circuit, heard.registry_call)
    who = Holder(job, uuid.uuid4().hex, "worker-2")
    keeper = ClaimKeeper(bounded, key, who, heard, timing=timing)
    try:
        yield keeper, heard
    finally:
        keeper.stop()
        await registry.aclose()


async def warm(keeper: ClaimKeeper) -> None:
    """Connect first, as the worker does; a cold DynamoDB client alone takes 0.3 s."""
    await keeper._registry._registry.open()


async def eventually(check: Callable[[], object], seconds: float) -> float:
    """Wait for it; how long it took."""
    began = boottime()
    while not check():
        assert boottime() - began < seconds, "it did not happen in time"
        await asyncio.sleep(0.005)
    return boottime() - began


# -- the holder ------------------------------------------------------------------------------


async def test_a_killed_holders_room_is_taken_over_within_one_lease(
    backend: tuple[str, str, Timing], key: str, outcomes: Outcomes
) -> None:
    name, url, timing = backend
    async with holding(url, key, timing) as first, keeping(url, key, "AJ_b", timing) as (rival, _):
        await warm(rival)
        os.kill(first.process.pid, signal.SIGKILL)
        began = boottime()
        assert await rival.claim(standby=timing.ttl * 1.05 + 0.5)
        took = boottime() - began
    outcomes.add(name, "holder: kill -9", f"taken over <= {timing.ttl} s", f"{took:.2f} s")
    assert took < timing.ttl + timing.probe + SLACK


async def test_a_stopped_holder_knows_on_waking_that_its_lease_is_over(
    backend: tuple[str, str, Timing], key: str, outcomes: Outcomes
) -> None:
    name, url, timing = backend
    async with holding(url, key, timing) as first, keeping(url, key, "AJ_b", timing) as (rival, _):
        await warm(rival)
        first.process.send_signal(signal.SIGSTOP)
        began = boottime()
        assert await rival.claim(standby=timing.ttl * 1.05 + 0.5)
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
    backend: tuple[str, str, Timing], key: str, outcomes: Outcomes
) -> None:
    name, url, timing = backend
    async with holding(url, key, timing), keeping(url, key, "AJ_b", timing) as (rival, heard):
        await warm(rival)
        began = boottime()
        assert not await rival.claim(standby=timing.ttl * 1.05 + 0.5)
        took = boottime() - began
    outcomes.add(name, "rival meets a living holder", "leaves after a heartbeat", f"{took:.2f} s")
    assert rival.cause == "holder_alive"
    assert heard.events == ["refused"]


# -- the server ------------------------------------------------------------------------------


@pytest.fixture
def own_redis() -> Iterator[Server]:
    yield from running(servers.redis_server)


def redis_url(server: Server) -> str:
    return f"redis://127.0.0.1:{server.port}"


async def test_a_short_pause_of_the_server_costs_no_claim(
    own_redis: Server, key: str, outcomes: Outcomes
) -> None:
    async with keeping(redis_url(own_redis), key, "AJ_a") as (keeper, heard):
        assert await keeper.claim()
        keeper.start()
        token = keeper.token
        own_redis.pause()
        await asyncio.sleep(0.9)
        own_redis.resume()
        began = keeper._since
        await eventually(lambda: keeper._since > began, 2)
        assert (keeper.state, keeper.token) == (ClaimState.HELD, token)
        assert "lost" not in heard.events
    outcomes.add("redis", "server: SIGSTOP 0.9 s", "claim kept, token kept", "kept")


async def test_a_long_pause_is_expiry_then_the_same_claim_again(
    own_redis: Server, key: str, outcomes: Outcomes
) -> None:
    async with keeping(redis_url(own_redis), key, "AJ_a") as (keeper, heard):
        assert await keeper.claim()
        keeper.start()
        token, since = keeper.token, keeper._since
        own_redis.pause()
        await eventually(lambda: keeper.state is ClaimState.EXPIRED, 3)
        expired = boottime() - since
        assert not keeper.verified
        own_redis.resume()
        await eventually(lambda: keeper.state is ClaimState.HELD, 3)
        assert keeper.token == token
        assert heard.events.count("lost") == 1 and heard.stopped == []  # goes on by default
    outcomes.add(
        "redis", "server: SIGSTOP beyond the lease", "expired < 1.5 s, then held again",
        f"{expired:.2f} s",
    )  # fmt: skip


async def test_a_server_that_returns_empty_gets_the_claim_again_with_a_higher_token(
    own_redis: Server, key: str, outcomes: Outcomes
) -> None:
    async with keeping(redis_url(own_redis), key, "AJ_a") as (keeper, heard):
        assert await keeper.claim()
        keeper.start()
        token = keeper.token
        own_redis.kill()
        own_redis.start()
        took = await eventually(lambda: keeper.token != token, 3)
        assert keeper.token > token
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
    async with keeping(redis_url(own_redis), key, "AJ_a") as (keeper, heard):
        assert await keeper.claim()
        keeper.start()
        own_redis.kill()
        own_redis.start()
        direct = RedisRegistry(redis_url(own_redis))
        granted = await direct.acquire(key, holder("AJ_b"), 5)
        assert isinstance(granted, Granted) and granted.token > keeper.token
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
    async with keeping(redis_url(own_redis), key, "AJ_a") as (keeper, heard):
        with caplog.at_level(logging.INFO):
            began = boottime()
            assert await keeper.claim()
            took = boottime() - began
            keeper.start()
            assert keeper.state is ClaimState.UNVERIFIED and keeper.token == 0
            await asyncio.sleep(1.2)
            own_redis.resume()
            late = await eventually(lambda: keeper.state is ClaimState.HELD, 3)
        warnings = [r for r in caplog.records if "cannot be reached" in r.message]
        assert len(warnings) == 1, "one warning per outage"
        assert keeper.verified and heard.stopped == []
    outcomes.add(
        "redis", "server: silent at the claim", "unverified <= 0.25 s, claimed late",
        f"{took * 1e3:.0f} ms; {late:.2f} s",
    )  # fmt: skip
    assert took < TIMING.timeout + 0.1


async def test_a_duplicate_proven_by_the_late_claim_is_told_to_stop(
    own_redis: Server, key: str, outcomes: Outcomes
) -> None:
    direct = RedisRegistry(redis_url(own_redis))
    who = holder("AJ_b")
    granted = await direct.acquire(key, who, 30)
    assert isinstance(granted, Granted)
    own_redis.pause()
    async with keeping(redis_url(own_redis), key, "AJ_a") as (keeper, heard):
        assert await keeper.claim()
        keeper.start()
        own_redis.resume()
        took = await eventually(lambda: heard.stopped == ["superseded"], 3)
    assert await direct.renew(key, who, granted.token, 30) == Renewed()
    await direct.aclose()
    outcomes.add("redis", "late claim finds a holder", "the late one stops", f"{took:.2f} s")


async def test_terminated_backends_cost_no_claim(
    postgres_server: Server, key: str, outcomes: Outcomes
) -> None:
    url = postgres_url(postgres_server.port)
    async with keeping(url, key, "AJ_a") as (keeper, heard):
        await warm(keeper)
        assert await keeper.claim()
        keeper.start()
        token, since = keeper.token, keeper._since
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as admin:
            await admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name = 'runguard-otel'"
            )
        await eventually(lambda: keeper._since > since, 2)
        assert (keeper.state, keeper.token) == (ClaimState.HELD, token)
        assert "lost" not in heard.events
    outcomes.add("psycopg", "server: backends terminated", "claim kept, token kept", "kept")


# -- clocks ----------------------------------------------------------------------------------


def faketime(folder: Path, offset: str) -> dict[str, str]:
    """Environment under which a process lives in another hour; rewrite the file to move it."""
    libraries = [
        *Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"),
        *Path("/usr/lib").glob("faketime/libfaketimeMT.so.1"),
    ]
    if not libraries:
        raise NotInstalled("libfaketime is not installed: apt-get install faketime")
    clock = folder / "clock"
    clock.write_text(offset)
    clock.chmod(0o644)
    return {
        "LD_PRELOAD": str(libraries[0]),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }


@pytest.fixture
def clock(tmp_path: Path) -> Iterator[tuple[dict[str, str], Callable[[str], None]]]:
    """Environment of a process under a movable wall clock, and how to move it."""
    try:
        env = faketime(tmp_path, "+0")
    except NotInstalled as missing:
        if os.environ.get("CI"):
            pytest.fail(str(missing))
        pytest.skip(str(missing))

    def move(offset: str) -> None:
        (tmp_path / "clock").write_text(offset)

    yield env, move


Clock = tuple[dict[str, str], Callable[[str], None]]


@pytest.fixture
def clocked_server(clock: Clock) -> Iterator[Server]:
    """Valkey in the hour of ``clock``; Debian's Redis does not start under libfaketime."""
    yield from running(lambda: servers.valkey_server(env=clock[0]))


async def test_a_servers_clock_an_hour_ahead_ends_leases_early_but_tokens_stay_ordered(
    clocked_server: Server, clock: Clock, key: str, outcomes: Outcomes
) -> None:
    """A lease in Redis ends by the server's wall clock: a jump ahead ends all of them at once."""
    _, move = clock
    async with keeping(redis_url(clocked_server), key, "AJ_a") as (keeper, heard):
        assert await keeper.claim()
        keeper.start()
        move("+3600")
        direct = RedisRegistry(redis_url(clocked_server))
        rival = await direct.acquire(key, holder("AJ_b"), 30)
        assert isinstance(rival, Granted) and rival.token > keeper.token
        double = await eventually(lambda: heard.stopped == ["superseded"], 3)
        await direct.aclose()
    outcomes.add(
        "valkey", "server clock +1 h", f"double holding <= {NOTICE:.2f} s", f"{double:.2f} s"
    )
    assert double < NOTICE + SLACK


async def test_a_servers_clock_an_hour_back_keeps_the_holder_and_the_order_of_tokens(
    clocked_server: Server, clock: Clock, key: str, outcomes: Outcomes
) -> None:
    _, move = clock
    async with keeping(redis_url(clocked_server), key, "AJ_a") as (keeper, heard):
        assert await keeper.claim()
        keeper.start()
        token, since = keeper.token, keeper._since
        move("-3600")
        await eventually(lambda: keeper._since > since, 3)
        direct = RedisRegistry(redis_url(clocked_server))
        assert isinstance(await direct.acquire(key, holder("AJ_b"), 30), Held)
        assert await keeper.release()
        after = await direct.acquire(key, holder("AJ_b"), 30)
        assert isinstance(after, Granted) and after.token > token
        await direct.aclose()
        assert heard.stopped == []
    outcomes.add("valkey", "server clock -1 h", "claim kept, tokens increase", "kept")


@pytest.mark.parametrize("offset", ["+3600", "-3600"])
async def test_a_clients_clock_does_not_matter(
    backend: tuple[str, str, Timing], clock: Clock, key: str, offset: str, outcomes: Outcomes
) -> None:
    name, url, timing = backend
    env, move = clock
    move(offset)
    async with (
        holding(url, key, timing, env) as first,
        keeping(url, key, "AJ_b", timing) as (rival, _),
    ):
        await warm(rival)
        assert not await rival.claim(standby=timing.ttl * 1.05 + 0.5)
        assert rival.cause == "holder_alive"
        os.kill(first.process.pid, signal.SIGKILL)
        began = boottime()
        again = ClaimKeeper(rival._registry, key, rival.who, Heard(), timing=timing)
        assert await again.claim(standby=timing.ttl * 1.05 + 0.5)
        took = boottime() - began
    outcomes.add(name, f"holder's clock {offset} s", "as without", f"{took:.2f} s to take over")
    assert took < timing.ttl + timing.probe + SLACK
