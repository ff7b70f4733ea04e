"""The job's connection to its worker's hub: records are written at once, and never waited for."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import selectors
import socket
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable

from runguard_otel.telemetry.hub import wire

__all__ = ["Connection", "Hello"]

logger = logging.getLogger("runguard_otel")

Hello = Callable[[], "tuple[bytes, list[int]]"]
"""What to say first on every connection: whole records, and descriptors to send along."""

_MAX_QUEUE = 10_000
_BATCH = 200
_RETRY_SECONDS = 0.2
_FLAGS = getattr(socket, "MSG_DONTWAIT", 0) | getattr(socket, "MSG_NOSIGNAL", 0)

_open: weakref.WeakSet[Connection] = weakref.WeakSet()


class Connection:
    """Sends records to the worker's hub, in order.

    ``send`` appends to a bounded queue and writes as much of it as the socket takes at once. When
    two threads meet, one writes for both, so none waits for a lock. When the socket takes nothing
    a thread is started that waits for it. A full queue loses its oldest record and counts it.

    Args:
        address: Path of the hub's socket.
        hello: Asked on every connect.
        max_queue: How many records may wait.
    """

    def __init__(self, address: str, hello: Hello, max_queue: int = _MAX_QUEUE) -> None:
        self.address = address
        self._hello = hello
        self._queue: deque[bytes] = deque(maxlen=max_queue)
        self._appended = itertools.count(1)  # next() of it is atomic, `+=` is not
        self._asked = 0
        self._taken = 0
        self._lost = 0
        self._overflowed = False
        self._reported = 0
        self._head = b""
        self._head_counts = 0
        self._socket: socket.socket | None = None
        self._wanted = False
        self._retry_at = 0.0
        self._said = False
        self._closed = False
        self._writing = threading.Lock()
        self._waiter: threading.Thread | None = None

    @property
    def connected(self) -> bool:
        """Whether there is a connection, on which hello was said."""
        return self._socket is not None

    def open(self) -> None:
        """Connect if there is no connection; try again in a thread for as long as it takes."""
        self._wanted = True
        self._retry_at = 0.0
        self._push()

    def send(self, record: bytes) -> None:
        """Write one record, or let it wait."""
        self._append(record)
        self._push()

    def flush(self, timeout: float) -> bool:
        """Wait until everything is written, at most ``timeout`` seconds."""
        deadline = time.monotonic() + timeout
        while True:
            self._push()
            if not self._pending():
                return True
            if time.monotonic() >= deadline:
                return False
            self._wait(0.02)

    def close(self) -> None:
        """Close the connection; the worker sees the end of the stream."""
        self._closed = True
        with self._writing:
            self._disconnect()

    def _append(self, record: bytes) -> None:
        next(self._appended)
        if len(self._queue) == self._queue.maxlen:
            self._overflowed = True
        self._queue.append(record)

    def _pending(self) -> bool:
        return bool(self._queue or self._head or (self._wanted and self._socket is None))

    def _push(self) -> None:
        """Write what waits, unless another thread is writing: it will take ours along."""
        while self._pending() and self._writing.acquire(blocking=False):
            try:
                stuck = not self._write()
            finally:
                self._writing.release()
            if stuck and self._pending():
                self._start_waiter()
                return

    def _write(self) -> bool:
        """Write until nothing waits (true) or the socket takes no more (false)."""
        connection = self._connect()
        if connection is None:
            return False
        while self._pending():
            if not self._head:
                self._take()
            try:
                sent = connection.send(self._head, _FLAGS)
            except (BlockingIOError, InterruptedError):
                return False
            except OSError:
                self._disconnect()
                return False
            self._head = self._head[sent:]
        if self._overflowed or self._lost:
            self._report_lost()
        return True

    def _take(self) -> None:
        records: list[bytes] = []
        with contextlib.suppress(IndexError):
            while len(records) < _BATCH:
                records.append(self._queue.popleft())
        self._taken += len(records)
        self._head_counts = sum(record[3] == wire.RecordKind.COUNT for record in records)
        self._head = b"".join(records)

    def _report_lost(self) -> None:
        """Say how many records the queue pushed out, and how many a broken connection swallowed."""
        if self._overflowed:
            self._overflowed = False
            self._asked += 1
            appended = next(self._appended) - self._asked
            pushed_out = appended - self._taken - len(self._queue) - self._reported
            self._reported += pushed_out
            self._append(_lost_record(pushed_out, "queue_full"))
        if self._lost:
            lost, self._lost = self._lost, 0
            self._append(_lost_record(lost, "closed"))

    def _connect(self) -> socket.socket | None:
        if self._socket is not None or self._closed or time.monotonic() < self._retry_at:
            return self._socket
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.setblocking(False)
        try:
            connection.connect(self.address)
            self._say_hello(connection)
        except OSError as error:
            connection.close()
            self._retry_at = time.monotonic() + _RETRY_SECONDS
            if not self._said:
                self._said = True
                logger.warning(
                    "the worker's telemetry hub cannot be reached (%s): counts of this job wait",
                    error.strerror,
                )
            return None
        self._socket = connection
        _open.add(self)
        return connection

    def _say_hello(self, connection: socket.socket) -> None:
        records, descriptors = self._hello()
        if not records:
            return
        sent = (
            socket.send_fds(connection, [records], descriptors)
            if descriptors
            else connection.send(records, _FLAGS)
        )
        if sent != len(records):  # a fresh socket takes these few bytes whole
            raise OSError("the socket takes nothing")

    def _disconnect(self) -> None:
        """Forget the connection, and what was on its way: half a record cannot be continued."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        self._lost += self._head_counts
        self._head, self._head_counts = b"", 0

    def _start_waiter(self) -> None:
        if self._closed or (self._waiter is not None and self._waiter.is_alive()):
            return
        if self._waiter is not threading.current_thread():
            self._waiter = threading.Thread(target=self._wait_all, name="runguard-hub", daemon=True)
            self._waiter.start()

    def _wait_all(self) -> None:
        while self._pending() and not self._closed:
            self._wait(_RETRY_SECONDS)
            self._push()

    def _wait(self, seconds: float) -> None:
        connection = self._socket
        if connection is None:
            time.sleep(seconds)
            return
        # Neither select(), which refuses descriptors from 1024 on, nor what needs one of its own.
        with contextlib.suppress(OSError, ValueError), selectors.PollSelector() as selector:
            selector.register(connection, selectors.EVENT_WRITE)
            selector.select(seconds)

    def forget(self) -> None:
        """After a fork, in the child: the connection belongs to the parent."""
        self._writing = threading.Lock()
        self._waiter = None
        self._queue.clear()
        self._appended = itertools.count(1)
        self._asked = self._taken = self._reported = 0
        self._overflowed = self._wanted = False
        self._disconnect()
        self._lost = 0


def _lost_record(number: int, reason: str) -> bytes:
    series = wire.encode_series("runguard.events.dropped", {"drop": reason})
    return wire.encode_count(number, wire.NO_TRACE, series)


def _after_fork() -> None:
    """A child that kept the connection open would hide its parent's death from the hub."""
    for connection in list(_open):
        connection.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
