"""A room on the stage: the server in this process, alice in its lobby, the agent connected."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from livekit import rtc

from runguard_otel.testing.ffi import StageServer


@pytest.fixture
def server() -> Iterator[StageServer]:
    with StageServer() as stage:
        stage.join("lobby", "alice")
        yield stage


@pytest.fixture
async def room(server: StageServer) -> AsyncIterator[rtc.Room]:
    made = rtc.Room()
    await made.connect("wss://stage", server.token("lobby", "agent"))
    yield made
    await made.disconnect()
