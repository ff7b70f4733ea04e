"""A recogniser's provider on the loopback that closes each connection; minutes pass in a moment."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from types import SimpleNamespace
from typing import Any
from unittest import mock

import aiohttp
import pytest
from aiohttp import web
from livekit.agents import APIError, stt
from livekit.agents.stt import stt as host

from runguard_otel.core.verdict import Mode
from tests.kit.overrun import Stage, on_stage
from tests.kit.virtual_time import VirtualLoop

Scene = Callable[[Stage, str, aiohttp.ClientSession], Awaitable[None]]
"""Plays something, with the address of the provider and a client for it."""


class Provider:
    """Accepts, and closes after so many seconds; what it is told to say it says before that.

    Args:
        seconds: How long it keeps each connection.
        path: Where it answers.
        says: A message at the beginning of each connection.
    """

    def __init__(self, seconds: float, path: str, says: Mapping[str, Any] | None = None) -> None:
        self._seconds, self._path, self._says = seconds, path, says
        self.opened: list[float] = []
        self.open = 0

    async def connect(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        loop = asyncio.get_running_loop()
        self.opened.append(loop.time())
        self.open += 1
        reading = asyncio.create_task(self._read(socket))
        try:
            if self._says is not None:
                await socket.send_json(self._says)
            await asyncio.wait([reading], timeout=self._seconds)
            await socket.close(code=1011)
        finally:
            self.open -= 1
            reading.cancel()
        return socket

    @staticmethod
    async def _read(socket: web.WebSocketResponse) -> None:
        while not (await socket.receive()).type & 0x100:  # a close of any kind
            pass

    @contextlib.asynccontextmanager
    async def served(self) -> AsyncIterator[tuple[str, aiohttp.ClientSession]]:
        """Its address, and a client."""
        app = web.Application()
        app.router.add_get(self._path, self.connect)
        runner = web.AppRunner(app, shutdown_timeout=1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        async with aiohttp.ClientSession() as http:
            yield f"127.0.0.1:{runner.addresses[0][1]}", http
        await runner.cleanup()


def played(scene: Scene, provider: Provider, mode: Mode = Mode.OBSERVE) -> Stage:
    """Plays a scene in virtual time, and says what the guard saw."""
    loop = VirtualLoop()

    async def run() -> None:
        async with provider.served() as (address, http):
            await scene(stage, address, http)

    time = SimpleNamespace(time=loop.time)
    with mock.patch.object(host, "time", time), on_stage(mode, loop.time) as stage:
        loop.run_until_complete(run())
    loop.close()
    return stage


async def until_it_ends(stream: stt.RecognizeStream) -> None:
    """Whatever is recognised is read."""
    async for _ in stream:
        pass


async def listens(stream: stt.RecognizeStream, seconds: float) -> None:
    """So long a stream is read, and must not end; then it is closed."""
    reading = asyncio.create_task(until_it_ends(stream))
    await asyncio.wait([reading], timeout=seconds)
    assert not reading.done()
    await stream.aclose()
    await reading


async def is_ended(recogniser: stt.STT[Any], provider: Provider, after: float) -> None:
    """The stream fails as if its provider had: no retry, and ten seconds later no connection.

    Args:
        recogniser: Of that provider.
        provider: Closes each connection.
        after: So many seconds after its beginning, three more or less.
    """
    errors: list[Any] = []
    recogniser.on("error", errors.append)
    stream = recogniser.stream()
    clock = asyncio.get_running_loop().time
    began = clock()
    with pytest.raises(APIError, match="runguard"):
        await asyncio.wait_for(until_it_ends(stream), 10 * after)
    assert clock() - began == pytest.approx(after, abs=3)
    assert errors[-1].recoverable is False
    await asyncio.sleep(10)
    assert provider.open == 0
    await stream.aclose()
