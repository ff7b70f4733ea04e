"""A disk that is full, read-only or slow costs lines, which are counted, and nobody's time."""

from __future__ import annotations

import errno
import json
import logging
import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from runguard_otel.journal import files as module
from runguard_otel.journal.files import Files
from runguard_otel.journal.reading import UnreadableError, find

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


def numbers(folder: Path) -> list[int]:
    return [row["n"] for history in find([folder]) for row in history.rows() if "n" in row]


def test_a_disk_that_is_full_when_a_history_begins_leaves_no_file_without_a_header(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails if the header counts as written, or half of one stays: such a file is no journal."""
    folder, real, full = Folder(tmp_path), os.write, [True]

    def write(descriptor: int, data: bytes) -> int:
        if full[0] and len(data) > 30:
            return real(descriptor, data[:30])
        if full[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(descriptor, data)

    monkeypatch.setattr(os, "write", write)
    folder.files.put(NAME, [HEADER, line(1)])
    folder.files.put(NAME, [line(2)])
    folder.until(lambda: folder.lost == 3)
    full[0] = False
    folder.files.put(NAME, [line(3)])
    folder.files.stop(SECONDS)
    (path,) = tmp_path.iterdir()
    assert path.read_bytes() == b"\n".join([HEADER, line(3), b""])


def test_a_disk_that_is_full_in_the_middle_of_a_rotation_costs_lines_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails if the next part begins without its header once there is room again."""
    folder, real, opened, full = Folder(tmp_path, 8_000), os.write, list[int](), [True]

    def write(descriptor: int, data: bytes) -> int:
        if descriptor not in opened:
            opened.append(descriptor)
        if not full[0] or descriptor == opened[0]:
            return real(descriptor, data)
        if os.fstat(descriptor).st_size:  # of the second part there is room for half a header
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(descriptor, data[:40])

    monkeypatch.setattr(os, "write", write)
    for n in range(15):
        folder.files.put(NAME, [HEADER] if n == 0 else [line(n)])
        folder.until(lambda: not folder.files._waiting)
    full[0] = False
    lost = folder.lost
    assert lost, "it was full when the second part began"
    for n in range(15, 20):
        folder.files.put(NAME, [line(n)])
    folder.files.stop(SECONDS)
    first, second = sorted(tmp_path.iterdir())
    assert json.loads(second.read_bytes().splitlines()[0])["part"] == 2
    kept = numbers(tmp_path)
    assert kept[-5:] == [15, 16, 17, 18, 19] and len(kept) == 19 - lost
    first.unlink()
    assert numbers(tmp_path) == kept[-5:], "and can be read when the first one is swept"


def test_a_folder_that_is_removed_while_a_call_runs_is_made_again(tmp_path: Path) -> None:
    """Fails if lines go on into a file that nobody can find any more, uncounted."""
    place = tmp_path / "journal"
    folder = Folder(place)
    folder.files.put(NAME, [HEADER, line(1)])
    folder.until(lambda: place.exists() and not folder.files._waiting)
    shutil.rmtree(place)
    folder.files.put(NAME, [line(2)])
    folder.files.stop(SECONDS)
    assert numbers(place) == [2] and folder.lost == 0
    assert not find([place])[0].whole


def test_a_file_that_was_replaced_by_another_is_left_to_whoever_did_it(tmp_path: Path) -> None:
    """Fails if lines go on into the file that was moved away, or into the one in its place."""
    folder, moved = Folder(tmp_path), tmp_path / "moved"
    folder.files.put(NAME, [HEADER, line(1)])
    folder.until(lambda: bool(list(tmp_path.iterdir())) and not folder.files._waiting)
    (path,) = tmp_path.iterdir()
    path.rename(moved)
    path.write_bytes(HEADER + b"\nsomebody's\n")
    folder.files.put(NAME, [line(2)])
    folder.files.stop(SECONDS)
    assert path.read_bytes() == HEADER + b"\nsomebody's\n"
    assert moved.read_bytes().splitlines() == [HEADER, line(1)]
    assert numbers(tmp_path) == [2] and folder.lost == 0


def test_clocks_that_jump_remove_no_more_than_the_bounds_ask_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Back: files of the future are not old. A folder that cannot be listed costs no line."""
    old = tmp_path / "20250101T000000Z-AJ_0.1.jsonl"
    old.write_bytes(HEADER + b"\n")
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() - 10 * 365 * 86_400)
    folder = Folder(tmp_path)
    folder.files.put(NAME, [HEADER, line(1)])
    folder.until(lambda: not folder.files._waiting)
    assert old.exists()
    monkeypatch.setattr(time, "time", lambda: real() + 10 * 365 * 86_400)
    folder.files._swept = float("-inf")
    folder.files.put(NAME, [line(2)])
    folder.until(lambda: not folder.files._waiting)
    assert not old.exists(), "ten years are more than an hour"
    with monkeypatch.context() as patch:
        patch.setattr(Path, "iterdir", lambda self: os.listdir("/dev/null/nowhere"))
        folder.files._swept = float("-inf")
        folder.files.put(NAME, [line(3)])
        folder.files.stop(SECONDS)
    assert numbers(tmp_path) == [1, 2, 3] and folder.lost == 0, "what is being written stays"


def test_what_a_folder_holds_that_is_no_journal_is_left_out_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Fails if one file that a killed worker left empty costs all calls of the folder."""
    caplog.set_level(logging.WARNING, "runguard_otel")
    (tmp_path / f"{NAME}.1.jsonl").write_bytes(HEADER + b"\n" + line(1) + b"\n")
    empty = tmp_path / "20260102T000000Z-AJ_2.1.jsonl"
    empty.write_bytes(b"")
    (tmp_path / "notes.jsonl").write_text("not ours\n")
    assert numbers(tmp_path) == [1]
    assert [record.getMessage().split()[-4:] for record in caplog.records] == [
        ["it", "is", "left", "out"]
    ] * 2
    with pytest.raises(UnreadableError, match="no journal of runguard-otel"):
        find([tmp_path, empty])
