"""``sqlite:///path``, the default: claims of every worker process of one host and user.

One small file in write-ahead mode. A transaction that a killed process left behind is rolled back
by the next one that opens the file, so a crash never leaves a half-written claim.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from runguard_otel.claims import lease as rules
from runguard_otel.claims.clock import boottime
from runguard_otel.claims.registry import (
    ClaimRecord,
    Granted,
    Held,
    Holder,
    Missing,
    Observation,
    RegistryUnavailable,
    Renewed,
    Superseded,
)
from runguard_otel.core.verdict import Clock

__all__ = ["NoClaimsFile", "SqliteRegistry", "default_path"]

T = TypeVar("T")

BUSY_SECONDS = 0.2
"""How long a statement waits for another process's write; below the keeper's 0.25 s bound."""
KEEP_RELEASED_SECONDS = 7 * 86_400
"""Released records older than this are purged when the file is opened."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS runguard_claim (
    k TEXT PRIMARY KEY, tok INTEGER NOT NULL, job TEXT NOT NULL, inst TEXT NOT NULL,
    wrk TEXT NOT NULL, at REAL NOT NULL, boot TEXT NOT NULL, ends REAL NOT NULL,
    n INTEGER NOT NULL, held INTEGER NOT NULL
) WITHOUT ROWID
"""
_HAS_CLAIMS = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'runguard_claim'"
_COLUMNS = "tok, job, inst, wrk, at, boot, ends, n, held"


class NoClaimsFile(RegistryUnavailable):
    """There is no such file, or nobody keeps claims in it, and none was to be made."""


def default_path() -> Path:
    """``runguard-<uid>/claims.sqlite3`` in the temporary directory of this host.

    Local to the host and writable almost everywhere; lost at reboot, which ends every lease anyway.
    Workers that are given different temporary directories (``TMPDIR``, containers) do not share it:
    set ``RUNGUARD_CLAIMS_URL`` for them.
    """
    uid = os.getuid() if hasattr(os, "getuid") else "user"
    return Path(tempfile.gettempdir()) / f"runguard-{uid}" / "claims.sqlite3"


def _boot_id() -> str:
    """Tells boots apart; ``""`` where the system has no such thing."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


class SqliteRegistry:
    """Claims in one SQLite file. Every call runs in one thread of its own, never on the event loop.

    Leases are measured on CLOCK_BOOTTIME, which all processes of a host share, together with the
    boot they were taken in: after a reboot every older lease is over. Where there is no boot id the
    wall clock is used.

    Args:
        path: The file. Its directory is created with mode 0700, the file with 0600.
        clock: Seconds that every process of the host agrees on; for tests.

    Attributes:
        create: Whether a file that is not there is made. A command that only looks sets it to
            ``False``: then nothing is made, prepared or purged, and the file must be there.
    """

    backend = "sqlite"
    default_timeout = 0.25

    def __init__(self, path: str | os.PathLike[str], clock: Clock | None = None) -> None:
        self._path = Path(path)
        self.create = True
        self._boot = _boot_id()
        self._clock: Clock = clock or (boottime if self._boot else time.time)
        self._connection: sqlite3.Connection | None = None
        self._thread: ThreadPoolExecutor | None = None
        self._pid = 0

    async def open(self) -> None:
        """See :class:`~runguard_otel.claims.registry.ClaimRegistry`."""
        await self._run(lambda db: None)

    async def acquire(
        self, key: str, who: Holder, ttl: float, *, observed: Observation | None = None
    ) -> Granted | Held:
        """See :class:`~runguard_otel.claims.registry.ClaimRegistry`.

        It reads first: the loser of a contest must not queue for the write lock.
        """

        def work(db: sqlite3.Connection) -> Granted | Held:
            changed, answer = rules.acquire(self._read(db, key), who, ttl, self._clock())
            if changed is None:
                return answer
            with _writing(db):
                changed, answer = rules.acquire(self._read(db, key), who, ttl, self._clock())
                if changed is not None:
                    self._write(db, key, changed)
                return answer

        return await self._run(work)

    async def renew(
        self, key: str, who: Holder, token: int, ttl: float
    ) -> Renewed | Superseded | Missing:
        """See :class:`~runguard_otel.claims.registry.ClaimRegistry`."""

        def work(db: sqlite3.Connection) -> Renewed | Superseded | Missing:
            with _writing(db):
                now = self._clock()
                changed, answer = rules.renew(self._read(db, key), who, token, ttl, now)
                if changed is not None:
                    self._write(db, key, changed)
                return answer

        return await self._run(work)

    async def release(self, key: str, who: Holder, token: int) -> bool:
        """See :class:`~runguard_otel.claims.registry.ClaimRegistry`."""
        return await self._release(key, token, instance=who.instance)

    async def abandon(self, key: str, job_id: str, worker: str) -> bool:
        """See :class:`~runguard_otel.claims.registry.ClaimRegistry`."""
        return await self._release(key, None, job_id=job_id, worker=worker)

    async def inspect(self, key: str | None = None) -> list[ClaimRecord]:
        """See :class:`~runguard_otel.claims.registry.ClaimRegistry`."""

        def work(db: sqlite3.Connection) -> list[ClaimRecord]:
            query, now = f"SELECT k, {_COLUMNS} FROM runguard_claim", self._clock()
            rows = (
                db.execute(query + " ORDER BY at")
                if key is None
                else db.execute(query + " WHERE k = ?", (key,))
            )
            return [rules.record(row[0], self._lease(row[1:]), now) for row in rows]

        return await self._run(work)

    async def aclose(self) -> None:
        """See :class:`~runguard_otel.claims.registry.ClaimRegistry`."""
        thread, self._thread = self._thread, None
        if thread is not None and self._pid == os.getpid():
            await asyncio.get_running_loop().run_in_executor(thread, self._disconnect)
            thread.shutdown(wait=False)

    async def _release(self, key: str, token: int | None, **expected: str) -> bool:
        def work(db: sqlite3.Connection) -> bool:
            with _writing(db):
                changed = rules.release(self._read(db, key), token=token, **expected)
                if changed is not None:
                    self._write(db, key, changed)
                return changed is not None

        return await self._run(work)

    async def _run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        if self._thread is None or self._pid != os.getpid():  # a fork inherits neither
            self._pid = os.getpid()
            self._connection = None
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="runguard-sqlite")

        def call() -> T:
            try:
                return work(self._connect())
            except (sqlite3.Error, OSError) as error:
                raise RegistryUnavailable(f"sqlite: {type(error).__name__}: {error}") from error

        return await asyncio.get_running_loop().run_in_executor(self._thread, call)

    def _connect(self) -> sqlite3.Connection:
        if self._connection is None:
            if self.create:
                _make_private(self._path)
            elif not self._path.is_file():
                raise NoClaimsFile("no such file")
            else:
                _check_owner(self._path.parent, private=self._path == default_path())
            db = sqlite3.connect(
                f"{self._path.absolute().as_uri()}?mode=rw",
                uri=True,
                timeout=BUSY_SECONDS,
                isolation_level=None,
                check_same_thread=False,
            )
            try:
                if self.create:
                    _prepare(db)
                elif not db.execute(_HAS_CLAIMS).fetchone():
                    raise NoClaimsFile("no claims are kept in this file")
            except (sqlite3.Error, NoClaimsFile):
                db.close()
                raise
            self._connection = db
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _read(self, db: sqlite3.Connection, key: str) -> rules.Lease | None:
        row = db.execute(f"SELECT {_COLUMNS} FROM runguard_claim WHERE k = ?", (key,)).fetchone()
        return None if row is None else self._lease(row)

    def _lease(self, row: tuple[int, str, str, str, float, str, float, int, int]) -> rules.Lease:
        token, job, instance, worker, at, boot, ends, version, held = row
        if boot != self._boot:
            ends = 0.0  # taken before the last reboot: nobody holds it any more
        return rules.Lease(token, Holder(job, instance, worker), at, ends, version, bool(held))

    def _write(self, db: sqlite3.Connection, key: str, lease: rules.Lease) -> None:
        who = lease.who
        db.execute(
            f"INSERT OR REPLACE INTO runguard_claim (k, {_COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?)",
            (
                key,
                lease.token,
                who.job_id,
                who.instance,
                who.worker,
                lease.acquired_at,
                self._boot,
                lease.ends,
                lease.version,
                int(lease.held),
            ),
        )


@contextlib.contextmanager
def _writing(db: sqlite3.Connection) -> Iterator[None]:
    """``BEGIN IMMEDIATE`` .. ``COMMIT``: the write lock is taken before the record is read."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")


def _prepare(db: sqlite3.Connection) -> None:
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = NORMAL")
    db.execute(_SCHEMA)
    horizon = time.time() - KEEP_RELEASED_SECONDS
    db.execute("DELETE FROM runguard_claim WHERE held = 0 AND at < ?", (horizon,))


def _make_private(path: Path) -> None:
    """Create directory (0700) and file (0600); refuse a directory that somebody else prepared.

    Raises:
        OSError: If the directory is a link, or belongs to another user.
    """
    folder = path.parent
    created = not folder.exists()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    private = created or path == default_path()
    _check_owner(folder, private=private)
    if private and hasattr(os, "getuid") and stat.S_IMODE(folder.lstat().st_mode) != 0o700:
        folder.chmod(0o700)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600))


def _check_owner(folder: Path, *, private: bool) -> None:
    if private and hasattr(os, "getuid"):
        seen = folder.lstat()
        if not stat.S_ISDIR(seen.st_mode) or seen.st_uid != os.getuid():
            raise PermissionError("the directory of the claims file belongs to somebody else")
