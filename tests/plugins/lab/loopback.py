"""A provider on this machine: one server that answers whatever host a plugin asks for.

While it runs, every connection of ``aiohttp``, ``httpx`` and ``httpx2`` (which OpenAI's client
uses) ends here, whatever its address says, so that plugins run with the endpoints they ship. What
speaks with another client gets the address.

A stream belongs to the provider that was running when it was opened. Some outlive their close: up
to Python 3.11 ``asyncio.wait_for`` may lose a cancellation, and a plugin that reconnects for ever
then goes on. It reaches no provider after its own, and is ended with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterable, Iterator
from contextvars import ContextVar
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import aiohttp
from aiohttp import WSMsgType, web

__all__ = ["ENDLESS", "PATIENCE", "Provider", "Script", "provider"]

PATIENCE = 10.0
"""Seconds for what takes milliseconds: nothing here is timed."""
ENDLESS = 12
"""So many connections in a row are no retry budget any more; then the provider stays."""


class Script:
    """What one provider says; subclasses know its messages."""

    ends_on: tuple[str, ...] = ()
    """What a client sends when it is done: the provider then says goodbye and closes."""

    def __init__(self) -> None:
        self.turns = 0

    def opened(self) -> Iterable[Any]:
        """What it says to a new connection."""
        return ()

    def heard(self, message: str) -> Iterable[Any]:
        """What it answers to a text message."""
        return ()

    def goodbye(self) -> Iterable[Any]:
        """What it says before it closes."""
        return ()

    def turn(self, said: Any) -> Iterable[Any]:
        """An utterance: what is said while it lasts and at its end."""
        raise NotImplementedError

    def noise(self) -> Iterable[Any]:
        """A voice that was none, as far as the protocol has a way to say so."""
        return ()

    def answer(self, request: web.Request, said: Any) -> Any:
        """To an HTTP request."""
        raise NotImplementedError


_here: ContextVar[Provider | None] = ContextVar("laboratory_provider", default=None)
"""The provider of whoever asks: the tasks of a stream inherit that of who opened it."""


@contextlib.contextmanager
def everywhere(running: Provider) -> Iterator[None]:
    """Whoever is asked for by one of these clients, this provider answers, in plain text."""
    connector = aiohttp.TCPConnector
    clients = [import_module(name) for name in ("httpx", "httpx2") if find_spec(name)]
    originals = [client.AsyncHTTPTransport.handle_async_request for client in clients]
    original = connector._create_connection

    def port() -> int:
        lab = _here.get() or running
        if lab.gone:
            raise ConnectionRefusedError("the provider of this stream is gone")
        return lab.port

    async def connect(self: Any, req: Any, traces: Any, timeout: Any) -> Any:
        _, protocol = await self._loop.create_connection(self._factory, "127.0.0.1", port())
        return protocol

    def instead(handle: Any) -> Any:
        async def here(self: Any, request: Any) -> Any:
            request.url = request.url.copy_with(scheme="http", host="127.0.0.1", port=port())
            return await handle(self, request)

        return here

    connector._create_connection = connect  # type: ignore[method-assign]
    for client, handle in zip(clients, originals, strict=True):
        client.AsyncHTTPTransport.handle_async_request = instead(handle)
    token = _here.set(running)
    try:
        yield
    finally:
        _here.reset(token)
        connector._create_connection = original  # type: ignore[method-assign]
        for client, handle in zip(clients, originals, strict=True):
            client.AsyncHTTPTransport.handle_async_request = handle


@contextlib.asynccontextmanager
async def ended() -> AsyncIterator[None]:
    """What is begun in here is over afterwards, however often it has to be told.

    Raises:
        RuntimeError: If something goes on all the same.
    """
    before = asyncio.all_tasks()
    try:
        yield
    finally:
        for _ in range(100):
            left = asyncio.all_tasks() - before - {asyncio.current_task()}
            if not left:
                break
            for task in left:
                task.cancel()
            await asyncio.wait(left, timeout=0.1)
        else:
            raise RuntimeError(f"still running: {left}")


class Provider:
    """The server, and what it saw.

    Args:
        script: What it says.
    """

    counts_exactly = True

    def __init__(self, script: Script) -> None:
        self.script = script
        self.port = 0
        self.gone = False
        self.session: Any = None
        self.connections = 0
        self.requests = 0
        self.texts: list[str] = []
        self.audio_bytes = 0
        self.closes_with: int | None = None
        self.batch: Any = None
        self.sockets: list[web.WebSocketResponse] = []
        self._pongs = asyncio.Queue[bytes]()

    @property
    def http(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def ws(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    @property
    def open(self) -> list[web.WebSocketResponse]:
        return [socket for socket in self.sockets if not socket.closed]

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Whatever is asked."""
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await self._socket(request)
        self.requests += 1
        answer = self.script.answer(request, self.batch)
        if asyncio.iscoroutine(answer):
            answer = await answer
        return answer if isinstance(answer, web.StreamResponse) else web.json_response(answer)

    async def _socket(self, request: web.Request) -> web.WebSocketResponse:
        offered = request.headers.get("Sec-WebSocket-Protocol", "")
        protocols = [name.strip() for name in offered.split(",") if name.strip()]
        socket = web.WebSocketResponse(autoping=False, max_msg_size=0, protocols=protocols)
        await socket.prepare(request)
        self.connections += 1
        self.sockets.append(socket)
        await self._send(socket, self.script.opened())
        if self.closes_with is not None and self.connections <= ENDLESS:
            await socket.close(code=self.closes_with, message=b"as the laboratory asked")
            return socket
        async for message in socket:
            if message.type is WSMsgType.PING:
                await socket.pong(message.data)
            elif message.type is WSMsgType.PONG:
                self._pongs.put_nowait(message.data)
            elif message.type is WSMsgType.BINARY:
                self.audio_bytes += len(message.data)
            elif message.type is WSMsgType.TEXT:
                self.texts.append(message.data)
                await self._send(socket, self.script.heard(message.data))
                if any(end in message.data for end in self.script.ends_on):
                    await self._send(socket, self.script.goodbye())
                    await socket.close()
        return socket

    async def say(self, messages: Iterable[Any]) -> None:
        """Send these on the newest connection, and wait until the client has read them."""
        socket = self.open[-1]
        await self._send(socket, messages)
        while not self._pongs.empty():
            self._pongs.get_nowait()
        await socket.ping(b"read?")
        await asyncio.wait_for(self._pongs.get(), PATIENCE)

    async def connected(self, number: int = 1) -> None:
        """Wait for so many connections in all."""

        async def ready() -> None:
            while self.connections < number or not self.open:
                await asyncio.sleep(0.005)

        await asyncio.wait_for(ready(), PATIENCE)

    async def close(self, code: int) -> None:
        for socket in self.open:
            await socket.close(code=code)

    @staticmethod
    async def _send(socket: web.WebSocketResponse, messages: Iterable[Any]) -> None:
        for message in messages:
            if isinstance(message, bytes):
                await socket.send_bytes(message)
            else:
                text = message if isinstance(message, str) else json.dumps(message)
                await socket.send_str(text)


@contextlib.asynccontextmanager
async def provider(script: Script) -> AsyncIterator[Provider]:
    """The server, running, and reached by any address."""
    from livekit.agents.utils import http_context

    from tests.plugins.lab.calls import CallProvider, CallScript

    if isinstance(script, CallScript):
        called = CallProvider(script)
        await called.start()
        try:
            yield called
        finally:
            await called.stop()
        return
    running = Provider(script)
    app = web.Application(client_max_size=1 << 26)
    app.router.add_route("*", "/{anything:.*}", running.serve)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    running.port = runner.addresses[0][1]
    running.session = aiohttp.ClientSession()
    original = http_context.http_session
    http_context.http_session = lambda: (_here.get() or running).session
    try:
        with everywhere(running):  # to the very end: nothing here ever leaves this machine
            async with ended():
                try:
                    yield running
                finally:
                    running.gone = True
    finally:
        http_context.http_session = original
        await running.session.close()
        await runner.cleanup()
