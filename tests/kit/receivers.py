"""HTTP receivers on loopback that behave, or do not."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

Answer = Callable[[socket.socket, threading.Event], None]
"""Answers one request that was read; the event says that the test is over."""


class Receiver:
    """A server that hands each request to ``answer`` and keeps it.

    Args:
        answer: What it does with one.
    """

    def __init__(self, answer: Answer) -> None:
        self.requests: list[bytes] = []
        self._answer = answer
        self._over = threading.Event()
        self._socket = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self._socket.getsockname()[1]}"

    def stop(self) -> None:
        self._over.set()
        self._socket.close()

    def _serve(self) -> None:
        while not self._over.is_set():
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._one, args=[connection], daemon=True).start()

    def _one(self, connection: socket.socket) -> None:
        with connection:
            request = b""
            while b"\r\n\r\n" not in request:
                request += connection.recv(65536)
            head, _, body = request.partition(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
            while len(body) < length:
                body += connection.recv(65536)
            self.requests.append(head + b"\r\n\r\n" + body)
            with suppress(OSError):  # the other side gave up
                self._answer(connection, self._over)


def answers(status: str, *headers: str) -> Answer:
    """One that says ``status``."""
    text = "\r\n".join([f"HTTP/1.1 {status}", *headers, "Content-Length: 0", "", ""]).encode()
    return lambda connection, _: connection.sendall(text)


def silent(_: socket.socket, over: threading.Event) -> None:
    """One that never says a word."""
    over.wait(30)


def dripping(connection: socket.socket, over: threading.Event) -> None:
    """One that says a letter at a time, for ever."""
    connection.sendall(b"HTTP/1.1 202 A")
    while not over.wait(0.02):
        connection.sendall(b"a")


@contextmanager
def receiving(answer: Answer) -> Iterator[Receiver]:
    """One for a ``with`` statement."""
    receiver = Receiver(answer)
    try:
        yield receiver
    finally:
        receiver.stop()
