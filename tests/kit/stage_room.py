"""A room on the stage: the server in this process, alice in its lobby, the agent connected."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator

import pytest
from livekit import rtc

from runguard_otel.testing.ffi import StageServer


@contextlib.contextmanager
def stage() -> Iterator[StageServer]:
    """The server, with alice in its lobby."""
    with StageServer() as running:
        running.join("lobby", "alice")
        yield running


@contextlib.asynccontextmanager
async def lobby(server: StageServer) -> AsyncIterator[rtc.Room]:
    """The agent's room there."""
    made = rtc.Room()
    await made.connect("wss://stage", server.token("lobby", "agent"))
    try:
        yield made
    finally:
        await made.disconnect()


@pytest.fixture
def server() -> Iterator[StageServer]:
    with stage() as running:
        yield running


@pytest.fixture
async def room(server: StageServer) -> AsyncIterator[rtc.Room]:
    async with lobby(server) as made:
        yield made
