"""One request, bounded in time whatever the other side does; redirects are not followed."""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any, Final

__all__ = ["SECONDS", "NotSent", "send"]

SECONDS: Final = 5.0
"""How long a request may take in all."""

_LATE: Final = "it does not answer in time"
_AGAIN: Final = frozenset({408, 425, 429})


class NotSent(Exception):
    """It did not arrive.

    Args:
        reason: Why; names no address and quotes no secret.
        again: Whether another attempt can do better.
    """

    def __init__(self, reason: str, *, again: bool) -> None:
        super().__init__(reason)
        self.again = again


def send(url: str, body: bytes, headers: Mapping[str, str], seconds: float = SECONDS) -> None:
    """Post something, through the proxy that the environment names. Blocks: call in a thread.

    Args:
        url: Where.
        body: What.
        headers: With it.
        seconds: How long it may take in all, an answer that drips in included.

    Raises:
        NotSent: If it is not known to have arrived.
    """
    late = threading.Event()
    cuts: list[tuple[threading.Timer, socket.socket]] = []

    class Timed(http.client.HTTPConnection):
        def connect(self) -> None:
            super().connect()
            twin = self.sock.dup()  # TLS takes the first handle away
            cut = threading.Timer(seconds, _cut, [twin, late])
            cut.daemon = True
            cuts.append((cut, twin))
            cut.start()

    class TimedSecurely(http.client.HTTPSConnection, Timed):  # before the handshake
        pass

    class Plain(urllib.request.HTTPHandler):
        def http_open(self, request: urllib.request.Request) -> Any:
            return self.do_open(Timed, request)

    class Secure(urllib.request.HTTPSHandler):
        def https_open(self, request: urllib.request.Request) -> Any:
            return self.do_open(TimedSecurely, request)

    try:
        request = urllib.request.Request(url, body, dict(headers), method="POST")
        urllib.request.build_opener(_Stay, Plain, Secure).open(request, timeout=seconds).close()
    except urllib.error.HTTPError as error:
        error.close()
        again = error.code >= 500 or error.code in _AGAIN
        what = "a redirect, which is not followed" if 300 <= error.code < 400 else "its answer was"
        raise NotSent(f"{what} {error.code}", again=again) from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise NotSent(_LATE if late.is_set() else _reason(error), again=True) from None
    finally:
        for cut, twin in cuts:
            cut.cancel()
            twin.close()
    if late.is_set():  # half of an answer reads as one
        raise NotSent(_LATE, again=True)


class _Stay(urllib.request.HTTPRedirectHandler):
    """A key must not go where somebody else sends it."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def _cut(connection: socket.socket, late: threading.Event) -> None:
    late.set()
    with contextlib.suppress(OSError):  # it is over already
        connection.shutdown(socket.SHUT_RDWR)


def _reason(error: BaseException) -> str:
    cause = getattr(error, "reason", error)
    if isinstance(cause, TimeoutError):
        return _LATE
    said = getattr(cause, "strerror", None)
    return str(said or type(cause).__name__)
