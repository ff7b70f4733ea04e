"""A TCP proxy that misbehaves on purpose, between a client and a real server."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from enum import Enum


class Fault(str, Enum):
    """What happens to traffic once the fault is armed."""

    NONE = "none"
    LATENCY = "latency"
    """Each direction takes 10 ms longer."""
    DROP_REQUEST = "dropped request"
    """The server never sees it."""
    DROP_REPLY = "dropped reply"
    """The server does it; nobody hears."""
    HALF_OPEN = "half-open"
    """Connections stay up and nothing passes, in neither direction."""
    RESET = "reset"
    """The connection is reset instead of passing the request on."""


LATENCY_SECONDS = 0.01


class FaultProxy:
    """Listens on a free loopback port and passes bytes to ``target``, as ``fault`` says.

    Bytes that were swallowed are gone: after :meth:`heal` an old connection is out of step, as
    after a real outage, and it is the client's task not to use it again.

    Args:
        target: Port of the real server.
    """

    def __init__(self, target: int) -> None:
        self.target = target
        self.port = 0
        self.swallowed = 0
        self.accepted = 0
        self._fault = Fault.NONE
        self._after = 0
        self._struck = False
        self._delay = 0.0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    def arm(self, fault: Fault, *, after: int = 0) -> None:
        """Misbehave from now on, or after that many more requests (writes of the client)."""
        self._fault, self._after, self._struck = fault, after, False

    def heal(self) -> None:
        """Pass everything again."""
        self._fault = Fault.NONE

    def delay_replies(self, seconds: float) -> None:
        """Hold every reply back for that long."""
        self._delay = seconds

    def _next(self) -> Fault:
        """What happens to this request."""
        if self._after > 0:
            self._after -= 1
            return Fault.NONE
        self._struck = True
        return self._fault

    @property
    def _of_replies(self) -> Fault:
        return self._fault if self._struck else Fault.NONE

    async def __aenter__(self) -> FaultProxy:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=5)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self.target)
        self._writers |= {writer, server_writer}
        with contextlib.suppress(ConnectionError):
            await asyncio.gather(
                self._requests(reader, server_writer, writer), self._replies(server_reader, writer)
            )

    async def _requests(
        self, client: asyncio.StreamReader, server: asyncio.StreamWriter, back: asyncio.StreamWriter
    ) -> None:
        while data := await client.read(65536):
            fault = self._next()
            if fault in (Fault.DROP_REQUEST, Fault.HALF_OPEN):
                self.swallowed += len(data)
                continue
            if fault is Fault.RESET:
                self.swallowed += len(data)
                _reset(back)
                break
            if fault is Fault.LATENCY:
                await asyncio.sleep(LATENCY_SECONDS)
            server.write(data)
            await server.drain()
        server.close()

    async def _replies(self, server: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        while data := await server.read(65536):
            if self._of_replies in (Fault.DROP_REPLY, Fault.HALF_OPEN):
                self.swallowed += len(data)
                continue
            if self._of_replies is Fault.LATENCY:
                await asyncio.sleep(LATENCY_SECONDS)
            await asyncio.sleep(self._delay)
            if client.is_closing():
                break
            client.write(data)
            await client.drain()
        client.close()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with RST instead of FIN."""
    raw: socket.socket = writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
