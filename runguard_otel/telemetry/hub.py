"""The hub: where the job processes of one worker report, so that no count dies with a job.

A job process lives for one call and under forkserver never runs ``atexit``. It writes each event to
a stream socket; what was written survives the writer's SIGKILL, and the end of the stream is the
notice of its death. (Datagrams were tried: the kernel queues ten.)
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import selectors
import shutil
import socket
import stat
import struct
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from runguard_otel.telemetry.failures import Failures
from runguard_otel.telemetry.ledger import Account, Ledger
from runguard_otel.telemetry.sink import Sink

__all__ = ["CHUNK", "Hub", "available"]

logger = logging.getLogger("runguard_otel")

CHUNK = 16 * 1024
"""Bytes per read. The GIL is let go between reads, so this bounds (to well under 1 ms) how long the
worker's event loop can wait for us."""
_BEAT_SECONDS = 1.0
_USED_UP = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_BACKLOG = 1024
_PREFIX = "runguard-hub-"
_SETTLED_SECONDS = 60.0
_PEER = struct.Struct("3i")  # pid, uid, gid


def available() -> bool:
    """Whether this system has Unix sockets (Windows has not: counts stay in process)."""
    return hasattr(socket, "AF_UNIX")


class Hub:
    """Listens in a private directory and counts into one sink, in a thread of its own.

    Args:
        sink: Instruments that live as long as the worker.
        peer_uid: Reads the user id at the other end of a connection; for tests.
    """

    def __init__(self, sink: Sink, peer_uid: Callable[[socket.socket], int] | None = None) -> None:
        self._ledger = Ledger(sink)
        self._peer_uid = peer_uid or _peer_uid
        self._failures = Failures()
        self._selector = selectors.DefaultSelector()
        self._directory = ""
        self._listener: socket.socket | None = None
        self._wake_read, self._wake_write = socket.socketpair()
        self._wake_read.setblocking(False)
        self._stopping = False
        self._deaf_until = 0.0
        self._thread: threading.Thread | None = None
        self._beat = time.time()
        self.address = ""

    def start(self) -> None:
        """Listen, and count in a daemon thread.

        Raises:
            OSError: If no socket can be made here.
        """
        _sweep(Path(tempfile.gettempdir()))
        self._directory = tempfile.mkdtemp(prefix=_PREFIX)  # made with mode 0700
        self.address = os.path.join(self._directory, "hub")
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listener.bind(self.address)
            listener.listen(_BACKLOG)
            listener.setblocking(False)
        except OSError:
            listener.close()
            self._remove()
            raise
        self._listener = listener
        self._selector.register(listener, selectors.EVENT_READ, None)
        self._selector.register(self._wake_read, selectors.EVENT_READ, None)
        self._thread = threading.Thread(target=self._run, name="runguard-hub", daemon=True)
        self._thread.start()

    def stop(self, timeout: float = 2.0) -> None:
        """Read what has been written, then close. Blocks for at most ``timeout`` seconds."""
        self._stopping = True
        with contextlib.suppress(OSError):
            self._wake_write.send(b"x")
        if self._thread is not None:
            self._thread.join(timeout)
        self._remove()

    def last_beat(self) -> float:
        """Unix time at which the thread was last seen alive."""
        return self._beat

    def _run(self) -> None:
        while not self._stopping:
            self._turn(_BEAT_SECONDS)
        deadline = time.monotonic() + 1.0
        while self._turn(0.0) and time.monotonic() < deadline:
            pass
        if self._listener is not None:
            self._listener.close()  # it may not be registered just now
        for key in list(self._selector.get_map().values()):
            if isinstance(key.fileobj, socket.socket):
                key.fileobj.close()
        self._selector.close()
        self._wake_write.close()

    def _turn(self, timeout: float) -> int:
        """Serve every socket that is ready once; how many connections had something."""
        served = 0
        if self._deaf_until and time.monotonic() >= self._deaf_until and self._listener:
            self._deaf_until = 0.0
            self._selector.register(self._listener, selectors.EVENT_READ, None)
        for key, _ in self._selector.select(timeout):
            sock, account = key.fileobj, key.data
            if not isinstance(sock, socket.socket):
                continue
            try:
                if account is not None:
                    self._read(sock, account)
                    served += 1
                elif sock is self._listener:
                    served += self._answer(sock)
                else:
                    sock.recv(64)
            except BlockingIOError:
                continue
            # One bad connection must not end the thread that serves all the others.
            except Exception:  # noqa: BLE001
                self._failures.log("Hub")
                if account is not None:
                    self._drop(sock)
        self._beat = time.time()
        return served

    def _answer(self, listener: socket.socket) -> int:
        """Accept. Where descriptors are used up it waits: the queue would wake it without end."""
        try:
            self._accept()
        except OSError as error:
            if error.errno not in _USED_UP:
                raise
            self._failures.log("Hub")
            self._selector.unregister(listener)
            self._deaf_until = time.monotonic() + _BEAT_SECONDS
            return 0
        return 1

    def _accept(self) -> None:
        assert self._listener is not None
        connection, _ = self._listener.accept()
        if self._peer_uid(connection) != os.getuid():
            connection.close()
            self._ledger.dropped("peer")
            return
        connection.setblocking(False)
        self._selector.register(connection, selectors.EVENT_READ, Account())

    def _read(self, sock: socket.socket, account: Account) -> None:
        try:
            data = sock.recv(CHUNK)
        except ConnectionError:
            data = b""
        if data:
            self._ledger.read(account, data)
            return
        self._drop(sock)
        self._ledger.close(account)

    def _drop(self, sock: socket.socket) -> None:
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(sock)
        sock.close()

    def _remove(self) -> None:
        if self._directory:
            shutil.rmtree(self._directory, ignore_errors=True)
            self._directory = ""


def _sweep(folder: Path) -> None:
    """Remove what workers left that were killed: our own directories where nobody listens."""
    for directory in folder.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            about = directory.lstat()
            young = time.time() - about.st_mtime < _SETTLED_SECONDS  # may be about to listen
            if young or about.st_uid != os.getuid() or not stat.S_ISDIR(about.st_mode):
                continue
            with socket.socket(socket.AF_UNIX) as probe:
                probe.setblocking(False)
                if probe.connect_ex(str(directory / "hub")) in (errno.ECONNREFUSED, errno.ENOENT):
                    shutil.rmtree(directory, ignore_errors=True)


def _peer_uid(connection: socket.socket) -> int:
    """The user at the other end. Where the system cannot say, the 0700 directory is the check."""
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return os.getuid()
    _, uid, _ = _PEER.unpack(connection.getsockopt(socket.SOL_SOCKET, option, _PEER.size))
    return int(uid)
