"""HTTP as webhooks need it: small requests, each answered at once, by whoever speaks HTTP/1.1.

``httptools`` (llhttp, the parser of Node) reads; an answer is one write. A web framework makes a
task, a stream and tables of headers for each request: more CPU than all that a webhook is wanted
for, its signature included.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from email.utils import formatdate
from http import HTTPStatus
from typing import Final, NamedTuple, cast

import httptools

__all__ = ["MOST_BYTES", "MOST_CONNECTIONS", "SECONDS", "STATUS", "Answer", "Listener", "Request"]

logger = logging.getLogger("runguard_otel.watch")

MOST_BYTES: Final = 256 * 1024
"""Of one body; the largest that LiveKit sends have a few kilobytes."""
MOST_CONNECTIONS: Final = 128
SECONDS: Final = 5.0
"""For a client to say what it wants, from its first byte (or its connection) to its last."""
IDLE_SECONDS: Final = 75.0
"""Between two requests of one connection."""
_MOST_HEAD = 16 * 1024
_MOST_AT_ONCE = 32  # requests in one read; LiveKit waits for each answer

STATUS: Final = {"forged": 401, "stale": 401, "oversized": 413, "malformed": 400, "busy": 408}
"""The answer to what is refused."""


class Request(NamedTuple):
    """One request, whole.

    Args:
        method: As sent.
        path: As sent, with its query.
        authorization: The header; ``""`` without.
        body: As sent: chunks are joined, nothing is unpacked.
    """

    method: str
    path: str
    authorization: str
    body: bytes


class Answer(NamedTuple):
    """What is sent back.

    Args:
        status: An HTTP status.
        data: JSON, or nothing.
    """

    status: int
    data: str = ""


class Listener:
    """Listens at an address.

    Args:
        answer: Answers a request; returns at once.
        refused: Told why a request was not heard: a key of ``STATUS``.
    """

    def __init__(self, answer: Callable[[Request], Answer], refused: Callable[[str], None]) -> None:
        self.answer = answer
        self.refused = refused
        self.connections: set[_Connection] = set()
        self._server: asyncio.Server | None = None
        self._sweeper: asyncio.Task[None] | None = None
        self._date = ""
        self._empty: dict[int, bytes] = {}
        self.port = 0

    async def start(self, host: str, port: int) -> None:
        """Listen.

        Raises:
            OSError: If the address cannot be had.
        """
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._connection, host, port, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]
        self._look_at_clock()
        self._sweeper = asyncio.create_task(self._sweep())

    async def stop(self) -> None:
        """Stop listening, and let go of every connection."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        if self._server is not None:
            self._server.close()
        for connection in list(self.connections):
            connection.end()

    def written(self, answer: Answer, keep: bool) -> bytes:
        """An answer as it is sent.

        Args:
            answer: What.
            keep: Whether another request may follow.
        """
        if keep and not answer.data:
            ready = self._empty.get(answer.status)
            if ready is not None:
                return ready
        body = answer.data.encode()
        lines = [
            f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}",
            f"Date: {self._date}",
            f"Content-Length: {len(body)}",
        ]
        if body:
            lines.append("Content-Type: application/json; charset=utf-8")
        if not keep:
            lines.append("Connection: close")
        whole = "\r\n".join((*lines, "", "")).encode() + body
        if keep and not body:
            self._empty[answer.status] = whole
        return whole

    def _connection(self) -> asyncio.Protocol:
        if len(self.connections) >= MOST_CONNECTIONS:
            self.refused("busy")
            return _Busy()
        return _Connection(self)

    def _look_at_clock(self) -> None:
        self._date = formatdate(usegmt=True)
        self._empty.clear()

    async def _sweep(self) -> None:
        """Hang up on whoever asks for nothing, or takes too long over it."""
        while True:
            await asyncio.sleep(SECONDS / 5)
            self._look_at_clock()
            now = time.monotonic()
            for connection in list(self.connections):
                if connection.idle:
                    if connection.since < now - IDLE_SECONDS:
                        connection.end()
                elif connection.since < now - SECONDS:
                    if not connection.over:
                        self.refused("busy")
                    connection.end()


class _Connection(asyncio.Protocol):
    """One client. httptools calls the methods whose names begin with ``on_``."""

    _transport: asyncio.Transport
    _parser: httptools.HttpRequestParser

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self.since = time.monotonic()
        """Since when it asks, or is idle."""
        self.idle = False
        self.over = False
        """It has had its last answer."""
        self._taken = 0  # bytes since the last request was whole
        self._answered = 0  # requests of one read
        self._wrong = ""
        self._path = self._authorization = b""
        self._expects = self._in_body = False
        self._parts: list[bytes] = []
        self._length = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._parser = httptools.HttpRequestParser(self)
        self._listener.connections.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        self.over = True
        self._listener.connections.discard(self)
        del self._parser  # it knows this connection

    def pause_writing(self) -> None:
        """It does not read its answers: nothing more of it is read."""
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        if self.over:
            return
        if self._taken > (MOST_BYTES if self._in_body else 0) + _MOST_HEAD:
            self._wrong = "oversized"
        else:
            self._taken += len(data)
            self._answered = 0
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserUpgrade:
                self._close()  # it was answered, and speaks something else from here on
            except httptools.HttpParserError:
                self._wrong = self._wrong or "malformed"
        if self._wrong and not self.over:
            self._listener.refused(self._wrong)
            self._transport.write(self._listener.written(Answer(STATUS[self._wrong]), keep=False))
            self._close()

    def end(self) -> None:
        """Hang up."""
        self._transport.abort()
        self._listener.connections.discard(self)

    def _close(self) -> None:
        """Hang up when what was written is sent."""
        self.over, self.since, self.idle = True, time.monotonic(), False
        self._transport.close()

    # -- what httptools finds ---------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self.idle:
            self.idle, self.since = False, time.monotonic()
        self._path = self._authorization = b""
        self._expects = self._in_body = False
        self._parts, self._length = [], 0

    def on_url(self, url: bytes) -> None:
        self._path += url

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name == b"authorization":
            self._authorization = value
        elif name == b"content-length":
            if int(value) > MOST_BYTES:
                self._wrong = "oversized"
        elif name == b"expect":
            self._expects = value.lower() == b"100-continue"

    def on_headers_complete(self) -> None:
        self._in_body = True
        if self._expects and not self._wrong:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, part: bytes) -> None:
        self._length += len(part)
        if self._length > MOST_BYTES:
            self._wrong = "oversized"
        if not self._wrong:
            self._parts.append(part)

    def on_message_complete(self) -> None:
        self._answered += 1
        if self._answered > _MOST_AT_ONCE:
            self._wrong = "busy"
        if self._wrong or self.over:
            return
        parser, parts = self._parser, self._parts
        request = Request(
            parser.get_method().decode("latin-1"),
            self._path.decode("latin-1"),
            self._authorization.decode("latin-1"),
            parts[0] if len(parts) == 1 else b"".join(parts),
        )
        try:
            answer = self._listener.answer(request)
        except Exception:
            logger.exception("a request could not be answered")
            answer = Answer(500)
        keep = parser.should_keep_alive() and parser.get_http_version() == "1.1"
        self._transport.write(self._listener.written(answer, keep))
        self._taken, self._parts = 0, []
        self.idle, self.since = True, time.monotonic()
        if not keep:
            self._close()


class _Busy(asyncio.Protocol):
    """There are too many connections: this one ends before it begins."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()
