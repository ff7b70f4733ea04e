"""Holders of a claim, in this process and in others, watched by a test."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from runguard_otel.claims.circuit import BoundedRegistry, Circuit
from runguard_otel.claims.clock import boottime
from runguard_otel.claims.holder import LeaseHolder
from runguard_otel.claims.registries.open import open_registry
from runguard_otel.claims.registry import Holder
from runguard_otel.claims.state import Timing
from runguard_otel.core.ports import ClaimEvent
from runguard_otel.settings import Settings
from tests.kit.process import Server
from tests.kit.servers import postgres_url

ROOT = Path(__file__).resolve().parents[2]
TIMING = Timing(ttl=1.5, heartbeat=0.5, timeout=0.25, notice=1.0)
SLOW = Timing(
    ttl=3.0, heartbeat=1.0, timeout=0.9, notice=2.0
)  # dynalite is slow where cores are busy
NOTICE = TIMING.heartbeat * 1.1 + TIMING.timeout
"""How long a holder may take to learn that it was superseded, in seconds."""
SLACK = 0.4
"""What a loaded machine may add, in seconds."""


@pytest.fixture
def key() -> str:
    return f"rg:v1:{{{uuid.uuid4().hex}}}"


@pytest.fixture(params=["redis", "psycopg", "dynalite"])
def process_backend(request: pytest.FixtureRequest) -> tuple[str, str, Timing]:
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
async def holding_here(
    url: str, key: str, job: str, timing: Timing = TIMING, circuit: Circuit | None = None
) -> AsyncIterator[tuple[LeaseHolder, Heard]]:
    registry = open_registry(url, Settings())
    heard = Heard()
    circuit = circuit or Circuit(open_seconds=0.3)
    bounded = BoundedRegistry(registry, timing.timeout, circuit, heard.registry_call)
    who = Holder(job, uuid.uuid4().hex, "worker-2")
    holder = LeaseHolder(bounded, key, who, heard, timing=timing)
    try:
        yield holder, heard
    finally:
        holder.stop()
        await registry.aclose()


async def warm(holder: LeaseHolder) -> None:
    """Connect first, as the worker does; a cold DynamoDB client alone takes 0.3 s."""
    await holder._registry._registry.open()


async def eventually(check: Callable[[], object], seconds: float) -> float:
    """Wait for it; how long it took."""
    began = boottime()
    while not check():
        assert boottime() - began < seconds, "it did not happen in time"
        await asyncio.sleep(0.005)
    return boottime() - began


def redis_url(server: Server) -> str:
    return f"redis://127.0.0.1:{server.port}"
