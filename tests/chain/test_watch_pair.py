"""Two ``runguard-otel watch`` processes of one server: killed, ended, and both hear everything."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from livekit import api

from runguard_otel.core.guards.overrun import AGENT_ALONE
from runguard_otel.journal.reading import find
from runguard_otel.journal.replay import replay
from runguard_otel.journal.timeline import Timeline
from tests.kit.ports import free_port
from tests.kit.room_service import RoomService
from tests.kit.scrape import scrape, total

pytestmark = [pytest.mark.chain]

KEY, SECRET = "devkey", "a secret that is long enough for HS256"
LONG = 60.0
"""Seconds to wait for what takes four on an idle machine."""


class Watching:
    """One process."""

    def __init__(self, process: asyncio.subprocess.Process, port: int, metrics: int) -> None:
        self.process, self.port, self.metrics = process, port, metrics

    async def health(self) -> dict[str, Any]:
        async with (
            aiohttp.ClientSession() as client,
            client.get(f"http://127.0.0.1:{self.port}/healthz") as answer,
        ):
            found: dict[str, Any] = json.loads(await answer.text())
            return found

    async def is_now(self, **wanted: object) -> None:
        """Wait until it says so of itself."""
        deadline, found = time.monotonic() + LONG, {}
        while time.monotonic() < deadline and self.process.returncode is None:
            with contextlib.suppress(aiohttp.ClientError):
                found = await self.health()
                if wanted.items() <= found.items():
                    return
            await asyncio.sleep(0.05)
        raise AssertionError(f"{found} is never {wanted}")

    async def trips(self) -> float:
        return total(await scrape(self.metrics), "runguard_trips_total", vantage="server")

    async def loops(self) -> float:
        return total(await scrape(self.metrics), "runguard_guards_open", vantage="server")

    async def rooms(self) -> list[float]:
        found = await scrape(self.metrics)
        return [value for (name, _), value in found.items() if name == "runguard_server_rooms"]

    async def end(self, number: int) -> None:
        if self.process.returncode is None:
            self.process.send_signal(number)
        await self.process.wait()


@contextlib.asynccontextmanager
async def watching(
    server: RoomService, registry: str, *options: str, journal: str = ""
) -> AsyncIterator[Watching]:
    port, metrics = free_port(), free_port()
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).with_name("runguard-otel")), "watch",
        "--webhook", f"127.0.0.1:{port}", "--poll", "1", *options,
        env={
            **os.environ,
            "LIVEKIT_URL": server.url, "LIVEKIT_API_KEY": KEY, "LIVEKIT_API_SECRET": SECRET,
            "RUNGUARD_CLAIMS_URL": registry, "RUNGUARD_METRICS_PORT": str(metrics),
            "RUNGUARD_CLAIMS_TTL_SECONDS": "3", "RUNGUARD_CLAIMS_HEARTBEAT_SECONDS": "1",
            "RUNGUARD_CLAIMS_TIMEOUT_SECONDS": "0.8", "RUNGUARD_JOURNAL": journal,
            "RUNGUARD_SESSION_OVERRUN_UNMET_SECONDS": "1",
        },
    )  # fmt: skip
    it = Watching(process, port, metrics)
    try:
        await it.is_now(ready=True)
        yield it
    finally:
        await it.end(signal.SIGKILL)


async def rejoins(room: str, *watchers: Watching) -> None:
    """An agent joins four times: the server tells all watchers of it."""
    now = int(time.time() * 1000)
    for number in range(4):
        event = {
            "event": "participant_joined", "id": f"EV_{room}_{number}",
            "room": {"sid": f"RM_{room}", "name": room}, "createdAt": str(now // 1000),
            "participant": {
                "sid": f"PA_{room}_{number}", "identity": "agent", "kind": "AGENT",
                "joinedAtMs": str(now - 4000 + 1000 * number),
            },
        }  # fmt: skip
        body = json.dumps(event)
        digest = base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()
        token = api.AccessToken(KEY, SECRET).with_sha256(digest).to_jwt()
        async with aiohttp.ClientSession() as client:
            for watcher in watchers:
                url = f"http://127.0.0.1:{watcher.port}/webhook"
                headers = {"Authorization": token}
                async with client.post(url, data=body, headers=headers) as answer:
                    assert answer.status == 200


async def test_one_trip_whichever_of_them_is_killed_or_ends(tmp_path: Path) -> None:
    registry = f"sqlite:///{tmp_path}/claims.sqlite3"
    async with RoomService() as server:
        for room in ("a", "b", "c"):
            server.comes(room, "caller")
        async with watching(server, registry) as first:
            await first.is_now(duty="active")
            async with watching(server, registry) as second:
                await second.is_now(duty="standby")
                await rejoins("a", first, second)
                assert (await first.trips(), await second.trips()) == (1, 0)
                await second.is_now(untold=0)  # the first has lived on: it told
                await first.end(signal.SIGKILL)
                await rejoins("b", second)
                await second.is_now(duty="active")
                assert await second.trips() == 1, "what nobody told, and no more"
                assert await second.loops() == 2, "both last"
                async with watching(server, registry) as third:
                    await third.is_now(duty="standby")
                    assert await third.rooms() == [], "the second says how many there are"
                    await second.end(signal.SIGTERM)
                    await third.is_now(duty="active")
                    assert await third.trips() == 0
                    await rejoins("c", third)
                    assert await third.trips() == 1
                    assert len(await third.rooms()) == 1


async def test_only_the_active_one_acts_and_its_journal_says_why(tmp_path: Path) -> None:
    registry = f"sqlite:///{tmp_path}/claims.sqlite3"
    async with RoomService() as server:
        server.comes("r", "agent", agent="support")
        journal = str(tmp_path / "journal")
        async with watching(server, registry, "--act", journal=journal) as first:
            await first.is_now(duty="active")
            async with watching(server, registry, "--act") as second:
                await second.is_now(duty="standby")
                deadline = time.monotonic() + LONG
                while not server.did and time.monotonic() < deadline:
                    await asyncio.sleep(0.05)
                await first.is_now(duty="active")
                await second.is_now(duty="standby")
                await first.end(signal.SIGTERM)
                await second.is_now(duty="active")
        assert server.did == [("delete", "r")]
    (history,) = find([tmp_path / "journal"])
    (trip,) = Timeline.of(history).trips
    assert (trip.trip.signature, trip.trip.action) == (AGENT_ALONE, "delete_room")
    assert replay(history).same
