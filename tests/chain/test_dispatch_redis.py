"""Real workers and job processes with their claims in a real Redis."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from pathlib import Path

import pytest
from livekit.protocol import agent

from runguard_otel.claims.registries.redis.registry import RedisRegistry
from tests.kit.process import Server
from tests.kit.workers import workers

pytestmark = [pytest.mark.chain]


async def test_on_redis_a_duplicate_is_refused_and_a_crashed_room_is_served_again_within_10_s(
    tmp_path: Path, redis_server: Server
) -> None:
    """The default lease of 9 s; worker and job die together, so nobody is left to release."""
    url = f"redis://127.0.0.1:{redis_server.port}"
    async with workers(tmp_path, RUNGUARD_CLAIMS_URL=url) as here:
        server, (one, two) = here.dispatcher, here.ids
        first = await server.dispatch(one, server.job("room-a"))
        (entered,) = await here.entered(1)

        # Another worker cannot know whether the holder serves: its job stands by, and never enters.
        refused = await server.dispatch(two, server.job("room-a"))
        assert refused.available
        assert await server.wait_ended(refused.job.id) == agent.JobStatus.JS_SUCCESS
        assert len(await here.entered(1)) == 1

        registry = RedisRegistry(url)
        held = [r for r in await registry.inspect() if r.token == entered["token"]]
        await registry.aclose()
        assert [(r.job_id, r.state) for r in held] == [(first.job.id, "held")]

        # The same job elsewhere, as after a worker's reload or a migration: it keeps the room.
        again = await server.dispatch(two, server.job("room-a", job_id=first.job.id), resuming=True)
        assert again.available
        same = (await here.entered(2))[1]
        assert same["job"] == first.job.id
        assert same["token"] > entered["token"]
        assert await server.wait_ended(first.job.id) == agent.JobStatus.JS_SUCCESS

        here.process_of(two).kill()
        with contextlib.suppress(ProcessLookupError):
            os.kill(same["pid"], signal.SIGKILL)
        died = time.monotonic()
        while True:  # as a server does that wants the room served
            heir = await server.dispatch(one, server.job("room-a"))
            if heir.available:
                break
            await asyncio.sleep(0.2)
        taken = (await here.entered(3))[2]
        took = time.monotonic() - died
        assert (taken["job"], taken["token"] > same["token"]) == (heir.job.id, True)
        assert took < 10, f"the room was silent for {took:.1f} s"


async def test_with_redis_down_calls_are_served_unverified_and_say_so(
    tmp_path: Path,
) -> None:
    async with workers(tmp_path, RUNGUARD_CLAIMS_URL="redis://127.0.0.1:1/0") as here:
        server, ids = here.dispatcher, here.ids
        for worker in ids:
            made = await server.dispatch(worker, server.job("room-a"))
            assert made.available
            assert made.seconds < 2
        entered = await here.entered(2)
        assert [step["token"] for step in entered] == [0, 0]
        assert "claims are unverified" in here.log()
