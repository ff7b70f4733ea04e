"""The agent's network is cut and comes back: what the SDK resumes by itself is no loop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest
from livekit import rtc

import runguard_otel
from tests.kit.livekit_server import needs_server, new_room, token, until, url

pytestmark = [pytest.mark.chain, needs_server]


class Cable:
    """The way to the server; while it is cut nothing passes and nobody gets through."""

    def __init__(self) -> None:
        target = urlsplit(url())
        self._target = (target.hostname or "127.0.0.1", target.port or 7880)
        self._writers: set[asyncio.StreamWriter] = set()
        self._cut = False
        self.attempts = 0

    async def __aenter__(self) -> Cable:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self.url = f"ws://127.0.0.1:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self.cut()
        self._server.close()

    def cut(self) -> None:
        """Break every connection and refuse new ones."""
        self._cut = True
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    def mend(self) -> None:
        """Let traffic through again."""
        self._cut = False

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.attempts += 1
        if self._cut:
            writer.transport.abort()
            return
        there, back = await asyncio.open_connection(*self._target)
        self._writers |= {writer, back}
        await asyncio.gather(_pump(reader, back), _pump(there, writer))


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await source.read(65536):
            sink.write(data)
            await sink.drain()
    sink.close()


@pytest.fixture
async def guard() -> AsyncIterator[runguard_otel.RunGuard]:
    yield runguard_otel.instrument(claims_url="memory://", metrics_port=0)
    runguard_otel.uninstrument()


async def test_an_outage_the_sdk_recovers_from_is_one_episode_and_no_reconnect(
    guard: runguard_otel.RunGuard,
) -> None:
    events: list[str] = []
    async with Cable() as cable:
        room = rtc.Room()
        room.on("reconnecting", lambda: events.append("reconnecting"))
        room.on("reconnected", lambda: events.append("reconnected"))
        await room.connect(cable.url, token(new_room(), "agent", agent=True))
        first = cable.attempts
        cable.cut()
        await until(lambda: cable.attempts > first, 60, "the SDK tries again")
        cable.mend()
        await until(lambda: "reconnected" in events, 60, "the SDK is back")
        await room.disconnect()
    counted = guard.snapshot()
    assert counted["signatures"] == {}, "what the SDK does by itself is not a reconnect"
    assert counted["trips"] == 0
    episodes = counted["metrics"]["runguard.room.reconnect_episodes"]
    assert episodes == [{"attributes": {"episode": "recovered"}, "value": 1}]


async def test_an_application_that_reconnects_through_a_dead_network_is_stopped(
    guard: runguard_otel.RunGuard,
) -> None:
    name = new_room()
    async with Cable() as cable:
        cable.cut()
        failures = 0
        with pytest.raises(runguard_otel.LoopDetectedError) as refused:
            for _ in range(10):
                try:
                    await rtc.Room().connect(cable.url, token(name, "agent", agent=True))
                except runguard_otel.LoopDetectedError:
                    raise
                except rtc.ConnectError:
                    failures += 1
        attempts = cable.attempts
    assert failures == 3, "one connect and two reconnects failed by themselves"
    trip = refused.value.trip
    assert trip is not None
    assert {e.detail for e in trip.evidence} == {"join_failure"}
    assert attempts >= failures, "and the refused one never reached the network"
