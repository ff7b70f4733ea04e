"""``sqlite:///path``, the default: claims of every worker process of one host and user.

One small file in write-ahead mode. A transaction that a killed process left behind is rolled back
by the next one that opens the file, so a crash never leaves a half-written claim.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, TypeVar

from runguard_otel.claims import lease as rules
from runguard_otel.claims.clock import boottime
from runguard_otel.claims.registries.claims_file import (
    NO_FILE,
    alone_in,
    check_owner,
    default_path,
    file_at,
    looks_like_ours,
    make_private,
)
from runguard_otel.claims.registry import (
    ClaimRecord,
    Granted,
    Held,
    Holder,
    Missing,
    Observation,
    RegistryBusy,
    RegistryUnavailable,
    Renewed,
    Superseded,
    UnreadableRecord,
    readable,
)
from runguard_otel.core.verdict import Clock

__all__ = ["NoClaimsFile", "SqliteRegistry", "default_path"]

logger = logging.getLogger("runguard_otel")

T = TypeVar("T")

BUSY_SECONDS = 0.1
"""How long a statement waits for another process's write. A file that others of this host write is
alive: the call is put off, and only a lock that lasts is an outage."""
KEEP_RELEASED_SECONDS = 7 * 86_400
"""Released records older than this are purged when the file is opened."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS runguard_claim (
    k TEXT PRIMARY KEY, tok INTEGER NOT NULL, job TEXT NOT NULL, inst TEXT NOT NULL,
    wrk TEXT NOT NULL, at REAL NOT NULL, boot TEXT NOT NULL, ends REAL NOT NULL,
    n INTEGER NOT NULL, held INTEGER NOT NULL
) WITHOUT ROWID
"""
_RELEASED, _HELD, _ENDING = range(3)
"""Values of ``held``. To the first release, which knows no third one, an ending claim is held."""
_HAS_CLAIMS = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'runguard_claim'"
_COLUMNS = "tok, job, inst, wrk, at, boot, ends, n, held"
_READ = f"SELECT {_COLUMNS} FROM runguard_claim WHERE k = ?"
_WRITE = f"INSERT OR REPLACE INTO runguard_claim (k, {_COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?)"


class NoClaimsFile(RegistryUnavailable):
    """There is no such file, or it holds no claims, and none was to be made."""


def _boot_id() -> str:
    """Tells boots apart; ``""`` where the system has no such thing."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
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
        self._file = NO_FILE
        self._turns = asyncio.Semaphore(1)
        self._thread: ThreadPoolExecutor | None = None
        self._pid = 0

    def turn(self) -> AbstractAsyncContextManager[object]:
        """See the protocol: one thread, one call."""
        return self._turns

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
            changed, answer = rules.acquire(self._read(db, key), who, ttl, self._clock(), observed)
            if changed is None:
                return answer
            with _Writing(db):
                lease, now = self._read(db, key), self._clock()
                changed, answer = rules.acquire(lease, who, ttl, now, observed)
                if changed is not None:
                    self._write(db, key, changed)
                return answer

        return await self._run(work)

    async def renew(
        self, key: str, who: Holder, token: int, ttl: float, *, ending: bool = False
    ) -> Renewed | Superseded | Missing:
        """See :class:`~runguard_otel.claims.registry.ClaimRegistry`."""

        def work(db: sqlite3.Connection) -> Renewed | Superseded | Missing:
            with _Writing(db):
                lease, now = self._read(db, key), self._clock()
                changed, answer = rules.renew(lease, who, token, ttl, now, ending)
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
            records = []
            for row in rows:
                with contextlib.suppress(*() if key else (UnreadableRecord,)), readable("sqlite"):
                    records.append(rules.record(row[0], self._lease(row[1:]), now))
            return records

        return await self._run(work)

    async def aclose(self) -> None:
        """See :class:`~runguard_otel.claims.registry.ClaimRegistry`."""
        thread, self._thread = self._thread, None
        if thread is not None and self._pid == os.getpid():
            await asyncio.get_running_loop().run_in_executor(thread, self._disconnect)
            thread.shutdown(wait=False)

    async def _release(self, key: str, token: int | None, **expected: str) -> bool:
        def work(db: sqlite3.Connection) -> bool:
            with _Writing(db):
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

        return await asyncio.get_running_loop().run_in_executor(self._thread, self._call, work)

    def _call(self, work: Callable[[sqlite3.Connection], T], *, again: bool = True) -> T:
        try:
            with readable("sqlite"):
                return work(self._connect())
        except sqlite3.Error as error:
            text = f"sqlite: {type(error).__name__}: {error}"
            if "locked" in str(error):
                raise RegistryBusy(text) from error
            self._disconnect()  # whatever is wrong: the next call opens the file anew
            if again and self.create and (_damaged(error) or "no such table" in str(error)):
                if _damaged(error):
                    self._set_aside(text)
                return self._call(work, again=False)
            raise RegistryUnavailable(text) from error
        except OSError as error:
            raise RegistryUnavailable(f"sqlite: {type(error).__name__}: {error}") from error

    def _connect(self) -> sqlite3.Connection:
        if self._connection is not None and file_at(self._path) != self._file:
            # Deleted, as by a cleaner of temporary directories, or replaced: what we hold on to is
            # a file that no other process sees, and the next who claims there is told yes too.
            self._disconnect()
            logger.warning(
                "the claims file %s was deleted or replaced: it is made anew", self._path
            )
        if self._connection is None:
            if self.create:
                make_private(self._path)
            elif not self._path.is_file():
                raise NoClaimsFile("no such file")
            else:
                check_owner(self._path.parent, private=self._path == default_path())
            db = sqlite3.connect(
                f"{self._path.absolute().as_uri()}?mode=rw",
                uri=True,
                timeout=BUSY_SECONDS,
                isolation_level=None,
                check_same_thread=False,
            )
            self._file = file_at(self._path, whole=False)
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

    def _set_aside(self, why: str) -> None:
        """Keep a damaged file for whoever wants to look at it, and let a new one be made.

        Tokens stay in order: those of a new file begin with the time.

        Raises:
            RegistryUnavailable: If the file may be somebody else's.
        """
        if not (self._path == default_path() or looks_like_ours(self._path)):
            raise RegistryUnavailable(
                f"{why}; claims_url sqlite:///... must name a file of its own: this one is none of "
                "SQLite, and is left alone"
            )
        aside = f".damaged-{int(time.time())}"
        with alone_in(self._path.parent):
            if file_at(self._path, whole=False) != self._file:
                return  # another process was faster
            for part in ("", "-wal", "-shm"):
                with contextlib.suppress(FileNotFoundError):
                    os.replace(f"{self._path}{part}", f"{self._path}{aside}{part}")
        logger.warning(
            "the claims file %s was damaged (%s): it was set aside as *%s and made anew",
            self._path,
            why,
            aside,
        )

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _read(self, db: sqlite3.Connection, key: str) -> rules.Lease | None:
        row = db.execute(_READ, (key,)).fetchone()
        return None if row is None else self._lease(row)

    def _lease(self, row: tuple[Any, ...]) -> rules.Lease:
        token, job, instance, worker, at, boot, ends, version, held = row
        if boot != self._boot:
            ends = 0.0  # taken before the last reboot: no longer held
        return rules.Lease(
            token=int(token),
            who=Holder(job, instance, worker),
            acquired_at=float(at),
            ends=float(ends),
            version=int(version),
            held=held != _RELEASED,
            ending=held == _ENDING,
        )

    def _write(self, db: sqlite3.Connection, key: str, lease: rules.Lease) -> None:
        who = lease.who
        db.execute(
            _WRITE,
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
                _RELEASED if not lease.held else _ENDING if lease.ending else _HELD,
            ),
        )


class _Writing:
    """``BEGIN IMMEDIATE`` .. ``COMMIT``: the write lock is taken before the record is read."""

    __slots__ = ("_db",)

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def __enter__(self) -> None:
        self._db.execute("BEGIN IMMEDIATE")

    def __exit__(self, failure: type[BaseException] | None, *_: object) -> None:
        self._db.execute("COMMIT" if failure is None else "ROLLBACK")


def _prepare(db: sqlite3.Connection) -> None:
    db.execute("PRAGMA page_size = 1024")  # of a new file: each process holds 20 of them, 0.1 MiB
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = NORMAL")
    db.execute(_SCHEMA)
    horizon = time.time() - KEEP_RELEASED_SECONDS
    db.execute("DELETE FROM runguard_claim WHERE held = 0 AND at < ?", (horizon,))


def _damaged(error: sqlite3.Error) -> bool:
    return "not a database" in str(error) or "malformed" in str(error)
