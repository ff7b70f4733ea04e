"""Where a process writes its history: to its worker's memory, or to a file of its own."""

from __future__ import annotations

import itertools
import json
import logging
import os
import re
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from runguard_otel.core.verdict import Clock
from runguard_otel.journal.files import Files
from runguard_otel.journal.record import ALONE, Put, Tail, expand
from runguard_otel.journal.schema import SCHEMA, Row, kept_settings
from runguard_otel.settings import Settings

__all__ = ["Book", "files_of", "name_of", "to_line"]

logger = logging.getLogger("runguard_otel")

_MEGABYTE: Final = 1_000_000
_DAY: Final = 86_400
_open: weakref.WeakSet[Book] = weakref.WeakSet()


class Book:
    """The history of this process. Nothing is opened before its first line.

    No method raises or waits: a line that cannot be kept is counted, never missed by the call.

    Args:
        settings: Frozen settings.
        tape: Finds what hands a record to the worker; ``None`` where there is none.
        job: The id of the running job, or ``""``.
        agent: LiveKit's name of the agent, or ``""``.
        lost: Counts lines that could not be kept.
        release: Ours, for whoever reads it later.
        clock: Monotonic seconds, as all lines have them.
    """

    def __init__(
        self,
        settings: Settings,
        tape: Callable[[], Put | None],
        job: Callable[[], str],
        agent: Callable[[], str],
        lost: Callable[[int], None],
        release: str = "",
        clock: Clock = time.monotonic,
    ) -> None:
        self._release = release
        self._clock = clock
        self._settings = settings
        self._tape = tape
        self._job = job
        self._agent = agent
        self._lost = lost
        self._numbers = itertools.count(1)
        self._put: Put | None = None
        self._files: Files | None = None
        self._lock = threading.RLock()
        _open.add(self)

    def number(self) -> int:
        """Another number, for a policy."""
        return next(self._numbers)

    def write(self, head: bytes, tail: Tail = ALONE, job: str = "") -> None:
        """Keep one line.

        Args:
            head: See :mod:`~runguard_otel.journal.record`.
            tail: The same.
            job: Whose it is, if the caller knows; it names the file.
        """
        try:
            put = self._put
            if put is None:
                put = self._begin(job)
            put(head, tail)
        except Exception:  # noqa: BLE001 - a decision stands whether it can be kept or not
            self._lost(1)

    def put(self, row: Row, job: str = "") -> None:
        """Keep one line that is rare enough to be made by the JSON encoder."""
        try:
            self.write(to_line(row), job=job)
        except (TypeError, ValueError):
            self._lost(1)

    def close(self, timeout: float = 2.0) -> None:
        """Write out what waits, within ``timeout`` seconds, and close the file."""
        files, self._files, self._put = self._files, None, None
        if files is not None:
            files.stop(timeout)

    def forget(self) -> None:
        """After a fork, in the child: what was begun is the parent's."""
        self._lock = threading.RLock()
        self._put = self._files = None

    def _begin(self, job: str) -> Put:
        with self._lock:
            if self._put is not None:
                return self._put
            put = self._tape()
            # Of a process that writes a file of its own, one job is not all there is to tell.
            header = self._header(job if put is not None else "")
            if put is None:
                files, name = files_of(self._settings, self._lost), name_of(header)
                self._files = files

                def put(head: bytes, tail: Tail) -> None:
                    files.put(name, [expand(head + tail[0])])

            put(to_line(header), ALONE)
            self._put = put
            return put

    def _header(self, job: str) -> Row:
        now = self._clock()
        return {
            "t": now,
            "e": "journal",
            "schema": SCHEMA,
            "release": self._release,
            "job": job or self._job(),
            "process": os.getpid(),
            "agent": self._agent(),
            "clock": round(time.time() - now, 6),
            "settings": kept_settings(self._settings),
        }


def files_of(settings: Settings, lost: Callable[[int], None]) -> Files:
    """The folder of the settings."""
    return Files(
        Path(settings.journal).expanduser(),
        most_bytes=int(settings.journal_megabytes * _MEGABYTE),
        most_seconds=settings.journal_days * _DAY,
        lost=lost,
    )


def name_of(header: Row) -> str:
    """The name of the file of a history, without its part: when it began, and whose it is."""
    began = time.gmtime(float(header["t"]) + float(header["clock"]))
    whose = re.sub(r"[^A-Za-z0-9_-]+", "-", str(header.get("job", "")))[:60]
    return f"{time.strftime('%Y%m%dT%H%M%SZ', began)}-{whose or header.get('process', 0)}"


def to_line(row: dict[str, Any]) -> bytes:
    """One line of JSON, without spaces that say nothing."""
    return json.dumps(row, separators=(",", ":"), allow_nan=False).encode()


def _after_fork() -> None:
    for book in list(_open):
        book.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
