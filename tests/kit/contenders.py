"""Many processes that want the same claims at the same time.

Run as ``python -m tests.kit.contenders URL`` this is one of them: it reads one line of JSON
per task and answers with one line.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from runguard_otel.claims.registries.open import open_registry
from runguard_otel.claims.registry import ClaimRegistry, Granted, Held, Holder, RegistryUnavailable
from runguard_otel.settings import Settings

ROOT = Path(__file__).resolve().parents[2]


def _who(number: int) -> Holder:
    return Holder(f"AJ_{number}", uuid.uuid4().hex, "w")


async def insist(registry: ClaimRegistry, key: str, who: Holder, ttl: float) -> Granted | Held:
    """Ask until there is an answer: of a thousand at once, some wait longer than a call may take.

    Asking again is harmless, for the same instance is told the same.
    """
    while True:
        with suppress(RegistryUnavailable):
            async with registry.turn():
                return await registry.acquire(key, who, ttl)


async def rush(registry: ClaimRegistry, key: str, first: int, count: int) -> list[int]:
    """``count`` jobs claim one key at once; the tokens that were granted."""
    answers = await asyncio.gather(
        *(insist(registry, key, _who(n), 60) for n in range(first, first + count))
    )
    return [answer.token for answer in answers if isinstance(answer, Granted)]


async def sweep(
    registry: ClaimRegistry, prefix: str, rooms: int, number: int, seed: str
) -> list[int]:
    """One worker claims every room, in an order of its own; the rooms it got."""
    order = list(range(rooms))
    random.Random(f"{seed}{number}").shuffle(order)
    queue = iter(order)
    won: list[int] = []

    async def lane() -> None:
        for room in queue:
            key = f"rg:v1:{{{prefix}{room}}}"
            answer = await insist(registry, key, _who(number), 600)
            if isinstance(answer, Granted):
                won.append(room)

    await asyncio.gather(*(lane() for _ in range(4)))
    return won


async def _serve(url: str) -> None:
    registry = open_registry(url, Settings())
    await registry.open()
    print("ready", flush=True)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        task = json.loads(line)
        if task.pop("do") == "rush":
            print(json.dumps(await rush(registry, **task)), flush=True)
        else:
            print(json.dumps(await sweep(registry, **task)), flush=True)
    await registry.aclose()


class Contenders:
    """Processes that are ready to claim.

    Args:
        url: The registry.
        processes: How many.
        env: On top of ours.
    """

    def __init__(self, url: str, processes: int, env: Mapping[str, str] | None = None) -> None:
        self._url = url
        self._count = processes
        self._env = {**os.environ, **(env or {})}
        self._processes: list[asyncio.subprocess.Process] = []

    async def __aenter__(self) -> Contenders:
        for _ in range(self._count):
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "tests.kit.contenders", self._url,
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
                cwd=ROOT, env=self._env, limit=1 << 22,
            )  # fmt: skip
            self._processes.append(process)
        for process in self._processes:
            assert process.stdout is not None
            assert await asyncio.wait_for(process.stdout.readline(), 30) == b"ready\n"
        return self

    async def __aexit__(self, *_: object) -> None:
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.close()
        await asyncio.gather(*(process.wait() for process in self._processes))

    async def _all(self, tasks: list[dict[str, Any]]) -> tuple[list[list[int]], float]:
        began = time.monotonic()
        for process, task in zip(self._processes, tasks, strict=True):
            assert process.stdin is not None
            process.stdin.write((json.dumps(task) + "\n").encode())
        answers = []
        for process in self._processes:
            assert process.stdout is not None
            answers.append(json.loads(await process.stdout.readline()))
        return answers, time.monotonic() - began

    async def rush(self, contenders: int) -> tuple[int, float]:
        """All claim one room at once.

        Returns:
            Winners, and the seconds until everybody had an answer.
        """
        each, key = contenders // self._count, f"rg:v1:{{{uuid.uuid4().hex}}}"
        answers, seconds = await self._all(
            [
                {"do": "rush", "key": key, "first": n * each, "count": each}
                for n in range(self._count)
            ]
        )
        return sum(map(len, answers)), seconds

    async def sweep(self, rooms: int) -> tuple[int, int, float]:
        """Every process claims every room.

        Returns:
            Grants, distinct rooms granted, and seconds.
        """
        prefix = uuid.uuid4().hex
        answers, seconds = await self._all(
            [
                {"do": "sweep", "prefix": prefix, "rooms": rooms, "number": n, "seed": "order"}
                for n in range(self._count)
            ]
        )
        won = [room for answer in answers for room in answer]
        return len(won), len(set(won)), seconds


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1]))
