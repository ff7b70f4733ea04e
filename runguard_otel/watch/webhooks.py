"""Webhooks: an HTTP server that believes only what the LiveKit server has signed.

Whoever is not LiveKit costs little: a body has a size and a time, connections have a number, and a
refusal is counted and says nothing. The server repeats what was not answered, so nothing is lost by
an answer that says "later".
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final

import jwt
from livekit.api import TokenVerifier

from runguard_otel.watch.listener import STATUS, Answer, Listener, Request
from runguard_otel.watch.seen import Seen, seen
from runguard_otel.watch.server import Credentials

__all__ = ["Refused", "Verifier", "WebhookServer"]

_REMEMBERED = 20_000
_MOST_HEADS = 8
_CLAIMS: Final = frozenset(("iss", "sub", "exp", "nbf", "iat", "sha256"))
"""What LiveKit's tokens for webhooks say."""


class Refused(Exception):
    """A webhook that is not believed. ``args[0]`` is a value of the ``webhook`` attribute."""


class Verifier:
    """Knows LiveKit's signature, as ``livekit.api.WebhookReceiver`` does.

    LiveKit's own verifier says what is believed. It costs more than the rest of a webhook, so a
    token that begins as one it has believed, has the right signature and is plainly in its time is
    believed without it; whatever is doubtful in the least goes to it.

    Args:
        credentials: The key and secret that the server signs with.
    """

    def __init__(self, credentials: Credentials) -> None:
        self._verifier = TokenVerifier(credentials.key, credentials.secret)
        self._key = credentials.key
        self._secret = credentials.secret.encode()
        self._heads: set[str] = set()

    def read(self, body: bytes, authorization: str) -> Seen | None:
        """The event in a body, if it is the server's; ``None`` if it is of no interest.

        Raises:
            Refused: If it is forged, stale or malformed.
        """
        token = authorization.removeprefix("Bearer ").strip()
        said = self._plain(token) or self._asked(token)
        if not hmac.compare_digest(said, hashlib.sha256(body).digest()):
            raise Refused("forged")
        try:
            return seen(body)
        except (ValueError, RecursionError) as error:
            raise Refused("malformed") from error

    def _asked(self, token: str) -> bytes:
        """The hash in a token that LiveKit's verifier believes."""
        try:
            claims = self._verifier.verify(token)
            said = base64.b64decode(claims.sha256 or "", validate=True)
        except (jwt.ExpiredSignatureError, jwt.ImmatureSignatureError) as error:
            raise Refused("stale") from error
        except (jwt.PyJWTError, binascii.Error, ValueError, TypeError, AttributeError) as error:
            raise Refused("forged") from error
        if len(self._heads) < _MOST_HEADS:
            self._heads.add(token.partition(".")[0])
        return said

    def _plain(self, token: str) -> bytes | None:
        """The hash in a token that leaves no question open; ``None`` for any other."""
        signed, _, signature = token.rpartition(".")
        head, _, payload = signed.partition(".")
        if head not in self._heads:
            return None
        digest = hmac.digest(self._secret, signed.encode(), "sha256")
        right = base64.urlsafe_b64encode(digest).rstrip(b"=")
        if not hmac.compare_digest(right, signature.encode()):
            return None
        try:
            claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
            until, since = claims["exp"], claims["nbf"]
            made = claims.get("iat", since)
            plain = (
                claims.keys() <= _CLAIMS
                and claims["iss"] == self._key
                and type(claims.get("sub", "")) is str
                and type(until) is type(since) is type(made) is int
            )
            if plain and max(since, made) <= time.time() < until:
                return base64.b64decode(claims["sha256"], validate=True)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return None
        return None


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
        self._listener = Listener(self._answer, count)

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._listener.port

    async def start(self, host: str, port: int) -> None:
        """Listen.

        Raises:
            OSError: If the address cannot be had.
        """
        await self._listener.start(host, port)

    async def stop(self) -> None:
        """Stop listening, and let go of every connection."""
        await self._listener.stop()

    def _answer(self, request: Request) -> Answer:
        if request.method == "GET":
            return self._health(request.path.partition("?")[0])
        if request.method != "POST":
            return Answer(405)
        try:
            event = self._verifier.read(request.body, request.authorization)
        except Refused as refused:
            (what,) = refused.args
            self._count(what)
            return Answer(STATUS[what])
        self._count("accepted" if self._is_new(event) else "repeated")
        if event is not None:
            if event.dropped:
                self._lost(event.dropped)
            self._heard(event)
        return _OK

    def _is_new(self, event: Seen | None) -> bool:
        if event is None or not event.id:
            return True
        if event.id in self._known:
            return False
        self._known[event.id] = None
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        return True

    def _health(self, path: str) -> Answer:
        if path not in ("/healthz", "/readyz", "/active"):
            return Answer(404)
        status = self._status()
        well = path == "/healthz" or status.get("ready" if path == "/readyz" else "active")
        return Answer(200 if well else 503, json.dumps(status))


_OK: Final = Answer(200)
