"""Agents without this package, in Node and in Python, in each loop on a real server: seen by watch.

With ``RUNGUARD_TEST_WEBHOOK=127.0.0.1:PORT``, an address in the server's ``webhook.urls``, loops
are seen by webhooks, else by polls. How long each took is printed (``pytest -s``). Node's agent
needs node and npm; what it needs of npm is pinned in ``tools/npm/agent``.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from livekit import api

from tests.kit.livekit_server import needs_server, new_room, until, url
from tests.kit.ports import free_port
from tests.kit.scrape import scrape, total

pytestmark = [pytest.mark.chain, needs_server, pytest.mark.timeout(240)]

ROOT = Path(__file__).resolve().parents[2]
KIT = ROOT / "tests" / "kit"
WEBHOOK = os.environ.get("RUNGUARD_TEST_WEBHOOK", "")
POLL = 15 if WEBHOOK else 2
WITHIN = 2.0 if WEBHOOK else POLL + 2.0
"""Seconds from the moment at which it is a loop."""
STAY = 0.2 if WEBHOOK else POLL + 0.5
"""How long each of many stays is: one that is shorter than a poll may be seen by webhooks only."""
LEFT, TOGETHER = 3.0, 10.0
LONG = 60.0


@pytest.fixture(scope="module")
def node() -> list[str]:
    """The command of a participant in Node."""
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("node and npm are not here")
    home, source = ROOT / ".cache" / "npm-agent", ROOT / "tools" / "npm" / "agent"
    lock = home / "package-lock.json"
    wanted = (source / lock.name).read_text()
    if not (lock.exists() and lock.read_text() == wanted and (home / "node_modules").exists()):
        home.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", lock.name):
            shutil.copyfile(source / name, home / name)
        quiet = ["--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        done = subprocess.run(["npm", "ci", *quiet], cwd=home, capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"npm cannot install the agent: {done.stderr[-300:]}")
    return ["node", str(KIT / "plain_agent.mjs"), str(home)]


@pytest.fixture(params=["node", "python"])
def agent(request: pytest.FixtureRequest) -> list[str]:
    """The command of an agent that knows nothing of us."""
    if request.param == "node":
        found: list[str] = request.getfixturevalue("node")
        return found
    return [sys.executable, str(KIT / "plain_agent.py")]


@dataclass
class Participant:
    """A process in a room."""

    process: asyncio.subprocess.Process

    async def did(self, what: str, times: int = 1) -> float:
        """When it did it for the nth time."""
        assert self.process.stdout is not None
        while True:
            line = await asyncio.wait_for(self.process.stdout.readline(), LONG)
            assert line, "it ended"
            with contextlib.suppress(ValueError):
                said = json.loads(line)
                times -= said.get("did") == what  # LiveKit logs JSON there, too
                if not times:
                    return float(said["at"])

    async def leave(self) -> None:
        if self.process.returncode is None:
            assert self.process.stdin is not None
            self.process.stdin.close()
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self.process.wait(), 20)
        if self.process.returncode is None:
            self.process.kill()
            await self.process.wait()


def token(room: str, identity: str, name: str | None) -> str:
    made = api.AccessToken().with_identity(identity)
    made = made.with_grants(api.VideoGrants(room_join=True, room=room, agent=name is not None))
    if name is not None:
        made = made.with_kind("agent").with_attributes({"lk.agent.name": name})
    return made.to_jwt()


@contextlib.asynccontextmanager
async def there(
    command: Sequence[str], what: str, room: str, identity: str, name: str | None = None, n: int = 0
) -> AsyncIterator[Participant]:
    process = await asyncio.create_subprocess_exec(
        *command, what, url(), token(room, identity, name), str(n), str(STAY),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    participant = Participant(process)
    try:
        yield participant
    finally:
        await participant.leave()


class Watcher:
    """``runguard-otel watch``, and when it first tells of a loop."""

    def __init__(self, metrics: int) -> None:
        self.metrics = metrics

    async def sees(self, signature: str, agent: str, since: float) -> None:
        """Wait for the trip; fail if it came later than it may after ``since`` (unix)."""

        async def told() -> bool:
            samples = await scrape(self.metrics)
            return total(samples, "runguard_trips_total", signature=signature) > 0 and any(
                ("runguard_agent_name", agent) in labels and value > 0
                for (metric, labels), value in samples.items()
                if metric == "runguard_trips_total" and ("runguard_signature", signature) in labels
            )

        await until(told, LONG, signature)
        late = time.time() - since
        way = "webhooks" if WEBHOOK else f"polls every {POLL} s"
        print(f"\n{agent}: {signature} seen {late:.2f} s after it was a loop, by {way}")
        assert late < WITHIN


@pytest.fixture
async def watcher() -> AsyncIterator[Watcher]:
    metrics = free_port()
    address = WEBHOOK or f"127.0.0.1:{free_port()}"
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).with_name("runguard-otel")), "watch",
        "--webhook", address, "--poll", str(POLL),
        env={
            **os.environ, "RUNGUARD_METRICS_PORT": str(metrics),
            "RUNGUARD_SESSION_OVERRUN_LEFT_SECONDS": str(LEFT),
            "RUNGUARD_SESSION_OVERRUN_UNMET_SECONDS": str(LEFT),
        },
    )  # fmt: skip

    async def up() -> bool:
        assert process.returncode is None, "it ended"
        with contextlib.suppress(OSError):
            return bool(await scrape(metrics))
        return False

    try:
        await until(up, LONG, "the watcher's metrics")
        yield Watcher(metrics)
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        await process.wait()


def name_of(agent: list[str], what: str) -> str:
    return f"{Path(agent[0]).stem.partition('3')[0]}-{what}"


async def test_an_agent_that_joins_again_and_again(watcher: Watcher, agent: list[str]) -> None:
    room, name = new_room(), name_of(agent, "rejoins")
    async with there(agent, "rejoin", room, "agent", name, n=3) as process:
        since = await process.did("joined", 4)
        await watcher.sees("room_reconnect", name, since)


async def test_two_agents_of_one_name(watcher: Watcher, agent: list[str]) -> None:
    room, name = new_room(), name_of(agent, "twins")
    async with (
        there(agent, "stay", room, "caller") as caller,
        there(agent, "stay", room, "first", name) as first,
        there(agent, "stay", room, "second", name) as second,
    ):
        joined = [await each.did("joined") for each in (caller, first, second)]
        await watcher.sees("job_claim:duplicate", name, max(joined) + TOGETHER)


@pytest.mark.skipif(not WEBHOOK, reason="a track that is gone again is in webhooks only")
async def test_a_microphone_published_again_and_again(watcher: Watcher, agent: list[str]) -> None:
    room, name = new_room(), name_of(agent, "tracks")
    async with there(agent, "stay", room, "agent", name) as listening:
        await listening.did("joined")
        async with there(agent, "publish", room, "caller", n=4) as caller:
            since = await caller.did("published", 3)
            await watcher.sees("track_subscribe", name, since)


async def test_an_agent_alone(watcher: Watcher, agent: list[str]) -> None:
    room, name = new_room(), name_of(agent, "alone")
    async with there(agent, "stay", room, "agent", name) as process:
        since = await process.did("joined")
        await watcher.sees("session_overrun:agent_alone", name, since + LEFT)
