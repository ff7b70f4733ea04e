"""Webhooks: an HTTP server that believes only what the LiveKit server has signed.

Whoever is not LiveKit costs little: a body has a size and a time, connections have a number, and a
refusal is counted and says nothing. The server repeats what was not answered, so nothing is lost by
an answer that says "later".
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import json
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final

import aiohttp
import jwt
from aiohttp import web
from livekit.api import TokenVerifier

from runguard_otel.watch.seen import Seen, seen
from runguard_otel.watch.server import Credentials

__all__ = ["MOST_BYTES", "MOST_CONNECTIONS", "Refused", "Verifier", "WebhookServer"]

MOST_BYTES: Final = 256 * 1024
"""Of one webhook; the largest that LiveKit sends have a few kilobytes."""
MOST_CONNECTIONS: Final = 128
SECONDS: Final = 5.0
"""For a client to say what it wants."""
_REMEMBERED = 20_000


class Refused(Exception):
    """A webhook that is not believed. ``args[0]`` is a value of the ``webhook`` attribute."""


class Verifier:
    """Knows LiveKit's signature, as ``livekit.api.WebhookReceiver`` does.

    Args:
        credentials: The key and secret that the server signs with.
    """

    def __init__(self, credentials: Credentials) -> None:
        self._verifier = TokenVerifier(credentials.key, credentials.secret)

    def read(self, body: bytes, authorization: str) -> Seen | None:
        """The event in a body, if it is the server's; ``None`` if it is of no interest.

        Raises:
            Refused: If it is forged, stale or malformed.
        """
        try:
            claims = self._verifier.verify(authorization.removeprefix("Bearer ").strip())
            said = base64.b64decode(claims.sha256 or "", validate=True)
        except (jwt.ExpiredSignatureError, jwt.ImmatureSignatureError) as error:
            raise Refused("stale") from error
        except (jwt.PyJWTError, binascii.Error, ValueError, TypeError, AttributeError) as error:
            raise Refused("forged") from error
        if not hmac.compare_digest(said, hashlib.sha256(body).digest()):
            raise Refused("forged")
        try:
            return seen(body)
        except (ValueError, RecursionError) as error:
            raise Refused("malformed") from error


Report = Callable[[str], None]
Status = Callable[[], dict[str, Any]]


class WebhookServer:
    """Serves webhooks at any path, and ``/healthz``, ``/readyz`` and ``/active``.

    Args:
        verifier: Says what is the server's.
        heard: Takes an event; returns at once.
        count: Told what became of each webhook: a value of the ``webhook`` attribute.
        status: What ``/readyz`` says; ready if its ``ready`` is true, active if its ``active`` is.
        lost: Told how many webhooks the server says that it gave up.
    """

    def __init__(
        self,
        verifier: Verifier,
        heard: Callable[[Seen], None],
        count: Report,
        status: Status,
        lost: Callable[[int], None] = lambda number: None,
    ) -> None:
        self._verifier = verifier
        self._heard = heard
        self._count = count
        self._status = status
        self._lost = lost
        self._known: OrderedDict[str, None] = OrderedDict()
        self._since: dict[Any, float] = {}
        self._runner: web.ServerRunner | None = None
        self._listener: asyncio.Server | None = None
        self._sweeper: asyncio.Task[None] | None = None
        self.port = 0

    async def start(self, host: str, port: int) -> None:
        """Listen.

        Raises:
            OSError: If the address cannot be had.
        """
        server = web.Server(self._answer, access_log=None, keepalive_timeout=75, lingering_time=0)
        self._runner = web.ServerRunner(server)
        await self._runner.setup()

        def protocol() -> asyncio.Protocol:
            if len(server.connections) >= MOST_CONNECTIONS:
                self._count("busy")
                return _Busy()
            handler = server()
            self._since[handler] = time.monotonic()
            return handler

        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(protocol, host, port, backlog=1024)
        self.port = self._listener.sockets[0].getsockname()[1]
        self._sweeper = asyncio.create_task(self._sweep())

    async def stop(self) -> None:
        """Stop listening, and let go of every connection."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        if self._listener is not None:
            self._listener.close()
        if self._runner is not None:
            await self._runner.cleanup()

    async def _sweep(self) -> None:
        """Hang up on whoever connects and asks for nothing."""
        while True:
            await asyncio.sleep(SECONDS / 5)
            late = time.monotonic() - SECONDS
            for handler, since in list(self._since.items()):
                if handler.transport is None:
                    if since < late:
                        del self._since[handler]
                elif since < late:
                    del self._since[handler]
                    self._count("busy")
                    handler.force_close()

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        self._since.pop(request.protocol, None)
        if request.method == "GET":
            return self._health(request.path)
        if request.method != "POST":
            return web.Response(status=405)
        try:
            event = self._verifier.read(
                await self._body(request), request.headers.get("Authorization", "")
            )
        except Refused as refused:
            (what,) = refused.args
            self._count(what)
            return web.Response(status=_STATUS[what])
        self._count("accepted" if self._is_new(event) else "repeated")
        if event is not None:
            if event.dropped:
                self._lost(event.dropped)
            self._heard(event)
        return web.Response()

    async def _body(self, request: web.BaseRequest) -> bytes:
        if (request.content_length or 0) > MOST_BYTES:
            request.protocol.force_close()
            raise Refused("oversized")
        # No task per read, as wait_for makes one: most bodies are there at once.
        late = asyncio.get_running_loop().call_later(SECONDS, request.protocol.force_close)
        parts = bytearray()
        try:
            while not request.content.at_eof():
                parts += await request.content.readany()
                if len(parts) > MOST_BYTES:
                    request.protocol.force_close()
                    raise Refused("oversized")
        except (ConnectionError, aiohttp.ClientError) as error:
            raise Refused("busy") from error
        finally:
            late.cancel()
        return bytes(parts)

    def _is_new(self, event: Seen | None) -> bool:
        if event is None or not event.id:
            return True
        if event.id in self._known:
            return False
        self._known[event.id] = None
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        return True

    def _health(self, path: str) -> web.Response:
        status = self._status()
        if path == "/healthz":
            return _json(status, 200)
        if path == "/readyz":
            return _json(status, 200 if status.get("ready") else 503)
        if path == "/active":
            return _json(status, 200 if status.get("active") else 503)
        return web.Response(status=404)


_STATUS: Final = {"forged": 401, "stale": 401, "oversized": 413, "malformed": 400, "busy": 408}


def _json(data: dict[str, Any], status: int) -> web.Response:
    return web.Response(text=json.dumps(data), status=status, content_type="application/json")


class _Busy(asyncio.Protocol):
    """There are too many connections: this one ends before it begins."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()
