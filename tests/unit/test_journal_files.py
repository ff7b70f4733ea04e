"""A disk that is full, read-only or slow costs lines, which are counted, and nobody's time."""

from __future__ import annotations

import errno
import json
import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from runguard_otel.journal import files as module
from runguard_otel.journal.files import Files
from runguard_otel.journal.reading import find

pytestmark = pytest.mark.unit

HEADER = b'{"t":1.0,"e":"journal","schema":1,"clock":0.0}'
NAME = "20260101T000000Z-AJ_1"
SECONDS = 30


class Folder:
    """Files of a folder, and what they lost."""

    def __init__(self, folder: Path, most_bytes: int = 1_000_000) -> None:
        self.lost = 0
        self.files = Files(folder, most_bytes=most_bytes, most_seconds=3600, lost=self._lose)

    def _lose(self, lines: int) -> None:
        self.lost += lines

    def until(self, done: Callable[[], bool]) -> None:
        deadline = time.monotonic() + SECONDS
        while not done() and time.monotonic() < deadline:
            time.sleep(0.005)
        assert done()


def line(n: int) -> bytes:
    return json.dumps({"t": float(n), "e": "note", "what": "x" * 50, "n": n}).encode()


def test_a_full_disk_is_said_once_counted_and_written_to_again_when_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Fails without the line end after a torn line: it would swallow the next one."""
    folder, real, full = Folder(tmp_path), os.write, [False]

    def write(descriptor: int, data: bytes) -> int:
        if not full[0]:
            return real(descriptor, data)
        if len(data) > 30:
            return real(descriptor, data[:30])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", write)
    caplog.set_level(logging.WARNING, "runguard_otel")
    folder.files.put(NAME, [HEADER, line(1)])
    folder.until(lambda: tmp_path.joinpath(f"{NAME}.1.jsonl").exists())
    folder.until(lambda: not folder.files._waiting)
    full[0] = True
    for n in (2, 3):
        folder.files.put(NAME, [line(n)])
    folder.until(lambda: folder.lost == 2)
    full[0] = False
    folder.files.put(NAME, [line(4)])
    folder.files.stop(SECONDS)
    (history,) = find([tmp_path])
    assert [row.get("n") for row in history.rows()] == [None, 1, 4]
    assert history.torn >= 1
    said = [r for r in caplog.records if "the journal in" in r.message]
    assert len(said) == 1 and "No space left on device" in said[0].message


def test_a_folder_that_cannot_be_written_to_costs_lines_only(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "runguard_otel")
    (tmp_path / "file").write_text("no folder")
    folder = Folder(tmp_path / "file" / "journal")
    for n in range(5):
        folder.files.put(NAME, [HEADER, line(n)])
    folder.until(lambda: folder.lost == 10)
    folder.files.stop(SECONDS)
    assert len([r for r in caplog.records if "cannot be written" in r.message]) == 1


def test_a_slow_disk_holds_nobody_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails if lines are written by whoever has them, or wait without a bound."""
    monkeypatch.setattr(module, "MOST_WAITING", 1000)
    folder, gate, real = Folder(tmp_path), threading.Event(), os.write

    def write(descriptor: int, data: bytes) -> int:
        gate.wait(SECONDS)
        return real(descriptor, data)

    monkeypatch.setattr(os, "write", write)
    for n in range(100):
        folder.files.put(NAME, [line(n)])
    assert 80 < folder.lost < 100, "what fits the bound waits; nobody else does"
    gate.set()
    folder.files.stop(SECONDS)
    lines = b"".join(path.read_bytes() for path in tmp_path.iterdir()).splitlines()
    assert len(lines) == 100 - folder.lost


def test_histories_come_in_parts_and_the_oldest_go_first(tmp_path: Path) -> None:
    """Fails if a part does not begin with the header, or nothing is ever removed."""
    most = 40_000
    other = tmp_path / "notes.jsonl"
    other.write_text("not ours\n" * 10_000)
    folder = Folder(tmp_path, most)
    for n in range(1500):
        folder.files.put(NAME, [HEADER] if n == 0 else [line(n)])
        if n % 50 == 0:
            folder.until(lambda: not folder.files._waiting)
    folder.files.stop(SECONDS)
    parts = sorted(tmp_path.glob(f"{NAME}.*"))
    assert 3 < len(parts) <= 9
    assert sum(path.stat().st_size for path in parts) <= most + most // 8
    assert other.exists(), "what is not ours stays"
    (history,) = find(parts)
    assert not history.whole
    rows = [row for row in history.rows() if row["e"] == "note"]
    assert [row["n"] for row in rows] == list(range(rows[0]["n"], 1500)), "no hole"
    assert folder.lost == 0
