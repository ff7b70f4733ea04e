"""The folder of histories: appended to by one thread, in parts, bounded in size and age."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["NAME", "Files"]

logger = logging.getLogger("runguard_otel")

NAME: Final = re.compile(r"\d{8}T\d{6}Z-[A-Za-z0-9_-]+\.\d+\.jsonl")
"""Files that are ours to remove."""
MOST_WAITING: Final = 8_000_000
"""Bytes that may wait for a slow disk."""
PARTS: Final = 8
SWEEP_SECONDS: Final = 3600.0


@dataclass
class _File:
    """One history that is being written.

    Args:
        header: Its first line, which every part repeats.
        descriptor: Of the part being written; -1 while it cannot be opened.
        path: Of the same part.
        part: Which one it is, from 1.
        size: Its bytes.
        begun: Whether its header is written.
        torn: Whether its last line may be only half there.
    """

    header: bytes
    descriptor: int = -1
    path: Path = Path()
    part: int = 0
    size: int = 0
    begun: bool = False
    torn: bool = False


class Files:
    """Appends lines to files of a folder, in a thread of its own; whoever gives them never waits.

    Args:
        folder: Made if it is missing, for its owner only.
        most_bytes: How large all histories together may get; the oldest go first.
        most_seconds: How old one may get.
        lost: Counts lines that could not be kept.
    """

    def __init__(
        self,
        folder: Path,
        *,
        most_bytes: int,
        most_seconds: float,
        lost: Callable[[int], None],
    ) -> None:
        self.folder = folder
        self._most_bytes = most_bytes
        self._most_seconds = most_seconds
        self._part_bytes = max(most_bytes // PARTS, 1)
        self._lost = lost
        self._queue: list[tuple[str, list[bytes] | None]] = []
        self._waiting = 0
        self._wake = threading.Condition()
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._files: dict[str, _File] = {}
        self._written = 0
        self._swept = float("-inf")
        self._said = False

    def put(self, name: str, lines: list[bytes]) -> None:
        """Append lines to a history; the first one of a name is repeated ahead of every part."""
        size = sum(map(len, lines))
        with self._wake:
            full = self._waiting + size > MOST_WAITING
            if not full:
                self._waiting += size
                self._queue.append((name, lines))
                self._run_thread()
        if full:
            self._lost(len(lines))
            self._say("its disk is too slow")

    def close(self, name: str) -> None:
        """A history is complete."""
        with self._wake:
            self._queue.append((name, None))
            self._run_thread()

    def stop(self, timeout: float = 2.0) -> None:
        """Write what waits, within ``timeout`` seconds, and end the thread."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        if self._thread is not None:
            self._thread.join(timeout)

    # Inside

    def _run_thread(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="runguard-journal", daemon=True)
            self._thread.start()
        self._wake.notify()

    def _run(self) -> None:
        while True:
            with self._wake:
                while not self._queue and not self._stopping:
                    self._wake.wait()
                queue, self._queue = self._queue, []
                ending = self._stopping
            for name, lines in queue:
                if lines is None:
                    with contextlib.suppress(OSError):
                        self._end(name)
                else:
                    self._append(name, lines)
                    with self._wake:
                        self._waiting -= sum(map(len, lines))
            if ending and not queue:
                for name in list(self._files):
                    with contextlib.suppress(OSError):
                        self._end(name)
                return

    def _append(self, name: str, lines: list[bytes]) -> None:
        file = self._files.setdefault(name, _File(lines[0]))
        try:
            if file.descriptor < 0 or file.size >= self._part_bytes or not _is_there(file):
                self._next_part(name, file)
            with contextlib.suppress(OSError):  # a folder that cannot be listed costs no line
                self._sweep()
            rows = lines
            if not file.begun:
                header = _with_part(file.header, file.part) if file.part > 1 else file.header
                rows = [header, *(lines if lines[0] != file.header else lines[1:])]
            data = b"\n".join(rows) + b"\n"
            if file.torn:  # what was left of a line must not swallow the next one
                data = b"\n" + data
            written = 0
            while written < len(data):
                file.torn = True
                written += os.write(file.descriptor, data[written:])
            file.torn, file.begun = False, True
            file.size += written
            self._written += written
        except (OSError, ValueError) as error:
            self._lost(len(lines))
            self._say(getattr(error, "strerror", None) or str(error))
            if file.torn and not file.begun:  # a file that begins with half a header is none
                with contextlib.suppress(OSError):
                    os.ftruncate(file.descriptor, 0)
                    file.torn = False

    def _next_part(self, name: str, file: _File) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self.folder / f"{name}.{file.part + 1}.jsonl"
        while path.exists():  # somebody else's, or of a worker before
            file.part += 1
            path = self.folder / f"{name}.{file.part + 1}.jsonl"
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_CLOEXEC", 0)
        descriptor = os.open(path, flags, 0o600)
        if file.descriptor >= 0:
            os.close(file.descriptor)
        file.descriptor, file.path, file.part = descriptor, path, file.part + 1
        file.size, file.begun, file.torn = 0, False, False

    def _end(self, name: str) -> None:
        file = self._files.pop(name, None)
        if file is not None and file.descriptor >= 0:
            os.close(file.descriptor)

    def _sweep(self) -> None:
        """Keep the folder within its bounds; now and then, for it reads the whole folder."""
        now = time.monotonic()
        if now - self._swept < SWEEP_SECONDS and self._written < self._part_bytes:
            return
        self._swept, self._written = now, 0
        found = []
        writing = {file.path for file in self._files.values()}
        for path in self.folder.iterdir():
            if NAME.fullmatch(path.name) and path not in writing:
                with contextlib.suppress(OSError):  # another worker of this host sweeps, too
                    about = path.stat()
                    found.append((about.st_mtime, about.st_size, path))
        left = self._most_bytes - self._part_bytes  # room for what is being written
        for changed, size, path in sorted(found, reverse=True):
            left -= size
            if left < 0 or time.time() - changed > self._most_seconds:
                with contextlib.suppress(OSError):
                    path.unlink()

    def _say(self, why: str) -> None:
        if not self._said:
            self._said = True
            logger.warning(
                "the journal in %s cannot be written (%s): calls go on, and what it misses is "
                'counted as runguard.events.dropped{runguard.drop="journal"}',
                self.folder,
                why,
            )


def _is_there(file: _File) -> bool:
    """Whether its path still leads to what is written: it may be removed, or be another file."""
    try:
        return os.path.samestat(os.stat(file.path), os.fstat(file.descriptor))
    except FileNotFoundError:
        return False


def _with_part(header: bytes, part: int) -> bytes:
    return json.dumps({**json.loads(header), "part": part}, separators=(",", ":")).encode()
