"""Wall clocks that are an hour wrong, on the server and on the client."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from runguard_otel.claims.clock import boottime
from runguard_otel.claims.holder import LeaseHolder
from runguard_otel.claims.registries.open import open_registry
from runguard_otel.claims.registry import Granted, Held
from runguard_otel.claims.state import Timing
from runguard_otel.settings import Settings
from tests.kit import servers
from tests.kit.fixtures import leave_out, running
from tests.kit.lease_holders import (
    NOTICE,
    SLACK,
    Heard,
    eventually,
    holding,
    holding_here,
    redis_url,
    warm,
)
from tests.kit.outcomes import Outcomes
from tests.kit.process import NotInstalled, Server
from tests.kit.registries import holder
from tests.kit.servers import postgres_url

pytestmark = pytest.mark.contract


@pytest.fixture(scope="module")
def outcomes(request: pytest.FixtureRequest) -> Iterator[Outcomes]:
    table = Outcomes(
        "Wall clocks (lease 1.5 s, heartbeat 0.5 s; dynalite twice that)",
        "backend", "what happens", "expected", "measured",
    )  # fmt: skip
    yield from table.printed(request)


@dataclass
class Clock:
    """A wall clock under which processes run, and which can be moved while they do.

    Args:
        folder: Where its file lies; readable by every system user.
    """

    folder: Path

    def __post_init__(self) -> None:
        self.folder.chmod(0o755)
        self.move("+0")

    def move(self, offset: str) -> None:
        """Set it to the true time and ``offset`` seconds."""
        file = self.folder / "clock"
        file.write_text(offset)
        file.chmod(0o644)

    def environment(self) -> dict[str, str]:
        """What makes a process live by it; its monotonic clock stays true."""
        libraries = [
            *Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"),
            *Path("/usr/lib").glob("faketime/libfaketimeMT.so.1"),
        ]
        if not libraries:
            raise NotInstalled("libfaketime is not installed: apt-get install faketime")
        return {
            "LD_PRELOAD": str(libraries[0]),
            "FAKETIME_TIMESTAMP_FILE": str(self.folder / "clock"),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }


@pytest.fixture
def clock() -> Iterator[Clock]:
    # Not below pytest's directory, which other users, such as PostgreSQL's, may not enter.
    with tempfile.TemporaryDirectory(prefix="runguard-clock-") as folder:
        clock = Clock(Path(folder))
        try:
            clock.environment()
        except NotInstalled as missing:
            leave_out(missing)
        yield clock


def valkey_under(clock: Clock) -> Server:
    """Debian's Redis does not start under libfaketime."""
    return servers.valkey_server(env=clock.environment())


def postgres_under(clock: Clock) -> Server:
    return servers.postgres_server(env=clock.environment())


@pytest.fixture(params=["valkey", "psycopg"])
def clocked(request: pytest.FixtureRequest, clock: Clock) -> Iterator[tuple[str, str]]:
    """Name and URL of a registry whose server lives by ``clock``."""
    start = {"valkey": valkey_under, "psycopg": postgres_under}[request.param]
    for server in running(lambda: start(clock)):
        url = redis_url(server) if start is valkey_under else postgres_url(server.port)
        yield request.param, url


async def test_a_servers_clock_an_hour_ahead_ends_leases_early_but_tokens_stay_ordered(
    clocked: tuple[str, str], clock: Clock, key: str, outcomes: Outcomes
) -> None:
    """A lease ends by the server's wall clock: a jump ahead ends all of them at once."""
    name, url = clocked
    async with holding_here(url, key, "AJ_a") as (lease, heard):
        assert await lease.claim()
        lease.start()
        clock.move("+3600")
        direct = open_registry(url, Settings())
        rival = await direct.acquire(key, holder("AJ_b"), 30)
        assert isinstance(rival, Granted) and rival.token > lease.token
        double = await eventually(lambda: heard.stopped == ["superseded"], 3)
        await direct.aclose()
    outcomes.add(name, "server clock +1 h", f"double holding <= {NOTICE:.2f} s", f"{double:.2f} s")
    assert double < NOTICE + SLACK


async def test_a_servers_clock_an_hour_back_keeps_the_holder_and_the_order_of_tokens(
    clocked: tuple[str, str], clock: Clock, key: str, outcomes: Outcomes
) -> None:
    name, url = clocked
    async with holding_here(url, key, "AJ_a") as (lease, heard):
        assert await lease.claim()
        lease.start()
        token, since = lease.token, lease._since
        clock.move("-3600")
        await eventually(lambda: lease._since > since, 3)
        direct = open_registry(url, Settings())
        assert isinstance(await direct.acquire(key, holder("AJ_b"), 30), Held)
        assert await lease.release()
        after = await direct.acquire(key, holder("AJ_b"), 30)
        assert isinstance(after, Granted) and after.token > token
        await direct.aclose()
        assert heard.stopped == []
    outcomes.add(name, "server clock -1 h", "claim kept, tokens increase", "kept")


@pytest.mark.parametrize("offset", ["+3600", "-3600"])
async def test_a_clients_clock_does_not_matter(
    process_backend: tuple[str, str, Timing],
    clock: Clock,
    key: str,
    offset: str,
    outcomes: Outcomes,
) -> None:
    name, url, timing = process_backend
    clock.move(offset)
    async with (
        holding(url, key, timing, clock.environment()) as first,
        holding_here(url, key, "AJ_b", timing) as (rival, _),
    ):
        await warm(rival)
        assert not await rival.claim()
        assert rival.cause == "holder_renewed"
        os.kill(first.process.pid, signal.SIGKILL)
        began = boottime()
        again = LeaseHolder(rival._registry, key, rival.who, Heard(), timing=timing)
        assert await again.claim()
        took = boottime() - began
    outcomes.add(name, f"holder's clock {offset} s", "as without", f"{took:.2f} s to take over")
    assert took < timing.ttl + timing.probe + SLACK
