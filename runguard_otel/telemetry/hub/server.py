"""The hub: where the job processes of one worker report, so that no count dies with a job.

A job process lives for one call and under forkserver never runs ``atexit``. It counts in memory
that the hub reads (:mod:`~runguard_otel.telemetry.hub.block`), handed over on a stream socket; the
end of that stream is the notice of its death. Where memory cannot be shared each count is a record
on the socket. What was counted or written survives SIGKILL either way.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import selectors
import shutil
import signal
import socket
import stat
import struct
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from runguard_otel.telemetry.failures import Failures
from runguard_otel.telemetry.hub.aggregator import Account, Aggregator, Bind, PeriodWatcher
from runguard_otel.telemetry.hub.tape import TapeKeeper

__all__ = ["CHUNK", "Hub", "available"]

logger = logging.getLogger("runguard_otel")

CHUNK = 16 * 1024
"""Bytes per read. The GIL is let go between reads, so this bounds (to well under 1 ms) how long the
worker's event loop can wait for us."""
_BEAT_SECONDS = 1.0
_USED_UP = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_BACKLOG = 1024
_SPARE = 4  # what block and tape take: descriptors, and those that their mappings keep
_MOST_DESCRIPTORS = 2
_CLOEXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)
_PREFIX = "runguard-hub-"
_SETTLED_SECONDS = 60.0
_PEER = struct.Struct("3i")  # pid, uid, gid


def available() -> bool:
    """Whether this system has Unix sockets (Windows has not: counts stay in process)."""
    return hasattr(socket, "AF_UNIX")


class Hub:
    """Listens in a private directory and counts into one sink, in a thread of its own.

    Args:
        bind: Finds the function that counts one series, in instruments that live as long as the
            worker.
        peer_uid: Reads the user id at the other end of a connection; for tests.
    """

    def __init__(self, bind: Bind, peer_uid: Callable[[socket.socket], int] | None = None) -> None:
        self._aggregator = Aggregator(bind)
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
        self._spare: list[int] = []
        self._file: tuple[int, int] | None = None
        self._gone = False
        self.address = ""

    def start(self) -> None:
        """Listen, and count in a daemon thread.

        Raises:
            OSError: If no socket can be made here.
        """
        _sweep(Path(tempfile.gettempdir()))
        self._directory = tempfile.mkdtemp(prefix=_PREFIX)  # made with mode 0700
        self.address = os.path.join(self._directory, "hub")
        try:
            self._listen()
        except OSError:
            self._remove()
            raise
        self._selector.register(self._wake_read, selectors.EVENT_READ, None)
        self._spare = [os.dup(self._wake_read.fileno()) for _ in range(_SPARE)]
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

    def look(self) -> None:
        """Count now what the jobs have counted in their blocks; any thread may ask."""
        self._aggregator.look()

    def watch(self, watcher: PeriodWatcher) -> None:
        """Tell ``watcher`` what lasts in the jobs, see :data:`PeriodWatcher`."""
        self._aggregator.watch(watcher)

    def keep(self, keeper: TapeKeeper) -> None:
        """Hand ``keeper`` the histories of the jobs."""
        self._aggregator.keep(keeper)

    def _run(self) -> None:
        due = 0.0
        while not self._stopping:
            self._turn(max(0.0, due - time.monotonic()))
            if time.monotonic() >= due:
                due = time.monotonic() + _BEAT_SECONDS
                self._each_second()
        deadline = time.monotonic() + 1.0
        while self._turn(0.0) and time.monotonic() < deadline:
            pass
        self._aggregator.look()
        if self._listener is not None:
            self._listener.close()  # it may not be registered just now
        for key in list(self._selector.get_map().values()):
            if isinstance(key.fileobj, socket.socket):
                key.fileobj.close()
        self._selector.close()
        self._wake_write.close()
        self._free_spare()

    def _each_second(self) -> None:
        self._beat = time.time()
        try:
            self._aggregator.look()
            self._stay_reachable()
        except Exception:  # noqa: BLE001 - the thread serves all jobs of this worker
            self._failures.log("Hub")

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
                    self._drop(sock, account)
        return served

    def _answer(self, listener: socket.socket) -> int:
        """Accept. Where descriptors are used up it waits: the queue would wake it without end."""
        try:
            self._accept(listener)
        except OSError as error:
            if error.errno not in _USED_UP:
                raise
            self._failures.log("Hub")
            self._selector.unregister(listener)
            self._deaf_until = time.monotonic() + _BEAT_SECONDS
            return 0
        return 1

    def _accept(self, listener: socket.socket) -> None:
        connection, _ = listener.accept()
        account = Account()
        account.end = _ender(connection)
        if self._peer_uid(connection) != os.getuid():
            connection.close()
            self._aggregator.dropped("peer")
            return
        connection.setblocking(False)
        self._selector.register(connection, selectors.EVENT_READ, account)

    def _read(self, sock: socket.socket, account: Account) -> None:
        first = not account.heard
        if first:  # most likely with a descriptor, which must find room
            self._free_spare()
        try:
            data, descriptors, _, _ = socket.recv_fds(sock, CHUNK, _MOST_DESCRIPTORS, _CLOEXEC)
        except ConnectionError:
            data, descriptors = b"", []
        if data:
            account.heard = True
            self._aggregator.read(account, data, descriptors)
        else:
            self._drop(sock, account)
        if first:
            with contextlib.suppress(OSError):
                self._spare = [os.dup(self._wake_read.fileno()) for _ in range(_SPARE)]

    def _drop(self, sock: socket.socket, account: Account) -> None:
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(sock)
        sock.close()
        try:
            self._aggregator.close(account)
        except Exception:  # noqa: BLE001 - as in _turn, which calls this in its own handler
            self._failures.log("Hub.close")

    def _free_spare(self) -> None:
        while self._spare:
            os.close(self._spare.pop())

    # The address, which every job process was given when it was made

    def _listen(self) -> None:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        # Known by its file before anybody can put another one in its place.
        unseen = os.path.join(self._directory, "new")
        try:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(unseen)
            listener.bind(unseen)
            listener.listen(_BACKLOG)
            listener.setblocking(False)
            self._file = _file(unseen)
            os.rename(unseen, self.address)
        except OSError:
            listener.close()
            raise
        self._listener = listener
        self._selector.register(listener, selectors.EVENT_READ, None)

    def _stay_reachable(self) -> None:
        """Make the socket anew, where it was, if somebody has removed or replaced it."""
        if _file(self.address) == self._file or self._stopping:
            return
        if not self._gone:
            self._gone = True
            logger.warning("%s was removed; it is made anew", self.address)
        with contextlib.suppress(FileExistsError):
            os.mkdir(self._directory, 0o700)
        about = os.lstat(self._directory)
        if about.st_uid != os.getuid() or not stat.S_ISDIR(about.st_mode) or about.st_mode & 0o077:
            return  # somebody else's: no job could trust it, nor do we
        former = self._listener
        self._listen()
        self._gone = False
        if former is not None:
            self._retire(former)

    def _retire(self, listener: socket.socket) -> None:
        """Accept who is in the queue of a listener that is found no more, and close it."""
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(listener)
        with contextlib.suppress(OSError):
            while True:
                self._accept(listener)
        listener.close()

    def _remove(self) -> None:
        if self._directory:
            shutil.rmtree(self._directory, ignore_errors=True)
            self._directory = ""


def _file(path: str) -> tuple[int, int] | None:
    try:
        about = os.lstat(path)
    except OSError:
        return None
    return about.st_dev, about.st_ino


def _sweep(folder: Path) -> None:
    """Remove what workers left that were killed: our own directories without a listener."""
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


def _ender(connection: socket.socket) -> Callable[[], None] | None:
    """Kills the process at the other end; ``None`` where the system does not say which it is."""
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return None
    pid, _, _ = _PEER.unpack(connection.getsockopt(socket.SOL_SOCKET, option, _PEER.size))

    def end() -> None:
        if pid != os.getpid():  # a test's job may live in this process
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    return end


def _peer_uid(connection: socket.socket) -> int:
    """The user at the other end. Where the system cannot say, the 0700 directory is the check."""
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return os.getuid()
    _, uid, _ = _PEER.unpack(connection.getsockopt(socket.SOL_SOCKET, option, _PEER.size))
    return int(uid)
