"""The server's view under load: 500 webhooks a second about 5,000 rooms of four, in CPU and memory.

CPU time and not waiting is measured, in the process that hears them, so that whoever sends them and
a busy host count as little as can be. An event must cost the same with ten rooms as with 5,000.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import random
import sys
import time
from collections.abc import Iterator

import aiohttp
import jwt

from bench.harness import Result

SECRET = "a secret that is long enough for HS256"
ROOMS, FEW, EACH_SECOND = 5000, 10, 500
SENDERS = 4
GOAL_SHARE, GOAL_MB, GOAL_FLAT = 25.0, 150.0, 1.25


def run(soak: bool) -> list[Result]:
    return asyncio.run(_run(60.0 if soak else 8.0))


async def _run(seconds: float) -> list[Result]:
    share, megabytes, each = await _load(ROOMS, seconds)
    _, _, few = await _load(FEW, seconds)
    return [
        Result(
            f"watch: {EACH_SECOND} webhooks a second, {ROOMS} rooms of 4", share, GOAL_SHARE, "%",
            note=f"of one core; {each * 1e6:.0f} us of CPU each, HTTP and signature with it",
        ),
        Result("watch: memory with these rooms", megabytes, GOAL_MB, "MB", note="resident"),
        Result(
            f"watch: CPU of a webhook, {ROOMS} rooms against {FEW}", each / few, GOAL_FLAT, "",
            note="flat is 1",
        ),
    ]  # fmt: skip


async def _load(rooms: int, seconds: float) -> tuple[float, float, float]:
    """Per cent of a core, megabytes, CPU seconds of one webhook."""
    probe = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.probes.watching", str(rooms), SECRET,
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert probe.stdout is not None
    url = f"http://127.0.0.1:{int(await probe.stdout.readline())}"
    ready = list(_webhooks(rooms, int(seconds * EACH_SECOND) + 200))
    try:
        async with aiohttp.ClientSession() as client:
            await _send(client, url, ready[:200], 0.0)  # warms up
            before = await _used(client, url)
            parts = [ready[200 + n :: SENDERS] for n in range(SENDERS)]
            pause = SENDERS / EACH_SECOND
            await asyncio.gather(*(_send(client, url, part, pause) for part in parts))
            after = await _used(client, url)
    finally:
        probe.kill()
        await probe.wait()
    each = (after["cpu"] - before["cpu"]) / (len(ready) - 200)
    return 100 * each * EACH_SECOND, after["bytes"] / 1e6, each


async def _used(client: aiohttp.ClientSession, url: str) -> dict[str, float]:
    async with client.get(f"{url}/healthz") as answer:
        found: dict[str, float] = json.loads(await answer.text())
        return found


async def _send(
    client: aiohttp.ClientSession, url: str, ready: list[tuple[str, str]], pause: float
) -> None:
    begun = time.monotonic()
    for number, (body, token) in enumerate(ready):
        ahead = begun + number * pause - time.monotonic()
        if ahead > 0:
            await asyncio.sleep(ahead)
        async with client.post(url, data=body, headers={"Authorization": token}) as answer:
            if answer.status != 200:
                raise RuntimeError(f"a webhook was answered {answer.status}")


def _webhooks(rooms: int, number: int) -> Iterator[tuple[str, str]]:
    """Joins, leaves and microphones of people in these rooms, as long as LiveKit's, signed."""
    dice = random.Random(1)
    codecs = [{"mime": f"audio/or/video/{n}"} for n in range(10)]
    for n in range(number):
        room = dice.randrange(rooms)
        kind = ("participant_joined", "participant_left", "track_published")[n % 3]
        event = {
            "event": kind,
            "room": {
                "sid": f"RM_{room}", "name": f"room-{room}", "emptyTimeout": 300,
                "departureTimeout": 20, "creationTime": "1795917384", "enabledCodecs": codecs,
            },
            "participant": {
                "sid": f"PA_{n // 3}", "identity": f"who-{n // 3}", "joinedAtMs": str(n * 1000),
                "permission": {"canSubscribe": True, "canPublish": True, "canPublishData": True},
                "capabilities": ["CAP_PACKET_TRAILER", "CAP_COMPRESSION_DEFLATE_RAW"],
            },
            "track": {"sid": f"TR_{n}", "source": "MICROPHONE"},
            "id": f"EV_{n}",
            "createdAt": str(int(time.time())),
        }  # fmt: skip
        body, now = json.dumps(event), int(time.time())
        digest = base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()
        claims = {"iss": "devkey", "exp": now + 300, "nbf": now, "iat": now, "sha256": digest}
        yield body, jwt.encode(claims, SECRET)
