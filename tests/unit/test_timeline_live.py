"""The calls that run now: followed whatever becomes of their files, told on any width."""

from __future__ import annotations

import io
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from runguard_otel.cli.timeline import running
from runguard_otel.journal import following as module
from runguard_otel.journal.following import Following
from tests.kit.journals import Desk

pytestmark = pytest.mark.unit

NOBODYS = 2**22 + 1
"""A process number that Linux never gives."""


class Call:
    """A call of this process that runs, and its file."""

    def __init__(self, folder: Path, name: str, /, **header: Any) -> None:
        self.desk = Desk(name)
        self.desk.now = time.monotonic()
        self.path = folder / f"20260101T000000Z-{name}.1.jsonl"
        self.job = self.desk.policies.job(self.desk.subject, lambda: True, self.desk.clock)
        self.job.job_started()
        self.job.callers("room", 1)
        first, *rest = self.desk.lines
        self.header = {**json.loads(first), **header}
        self.desk.lines = [json.dumps(self.header).encode(), *rest]
        self.keep()

    def guard(self, state: str, signature: str, guard: str = "") -> None:
        row = {"guard": guard or signature.partition(":")[0], "signature": signature}
        self.put({"e": "guard", "state": state, **row})

    def cost(self, amount: float) -> None:
        row = {"metric": "runguard.cost.estimated", "component": "stt", "amount": amount}
        self.put({"e": "count", **row})

    def put(self, row: dict[str, Any]) -> None:
        self.desk.book.put({"t": self.desk.now, **row})
        self.keep()

    def keep(self) -> None:
        self.path.write_bytes(b"\n".join(self.desk.lines) + b"\n")


def jobs(following: Following) -> list[str]:
    return [call.history.job for call in following.look()]


def test_calls_are_followed_as_their_files_come_grow_are_rotated_and_end(tmp_path: Path) -> None:
    """Fails if a folder must be there at the start, or what is known is not read again."""
    folder = tmp_path / "journal"
    following = Following([folder])
    assert jobs(following) == []
    folder.mkdir()
    call = Call(folder, "AJ_1")
    (seen,) = following.look()
    assert (seen.callers, seen.open_guards, seen.money.total) == (["1 there"], [], 0.0)
    call.guard("open", "session_overrun:agent_alone")
    call.cost(0.25)
    (seen,) = following.look()
    assert seen.open_guards == ["session_overrun:agent_alone"]
    assert seen.money.total == 0.25
    call.desk.lines = [json.dumps({**call.header, "part": 2}).encode()]
    call.path, first = folder / "20260101T000000Z-AJ_1.2.jsonl", call.path
    call.cost(0.5)
    first.unlink()
    (seen,) = following.look()
    assert seen.money.total == 0.5 and not seen.history.whole
    call.put({"e": "end", "outcome": "killed"})
    assert jobs(following) == []


def test_a_file_that_goes_while_it_is_looked_at_costs_one_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails if the error of a file that was swept is let out, or its call is forgotten for it."""
    Call(tmp_path, "AJ_1")
    other = Call(tmp_path, "AJ_2")
    real, gone = Path.read_bytes, [True]

    def read(self: Path) -> bytes:
        if gone[0] and self == other.path:
            raise FileNotFoundError(str(self))
        return real(self)

    monkeypatch.setattr(Path, "read_bytes", read)
    following = Following([tmp_path])
    assert jobs(following) == ["AJ_1"]
    gone[0] = False
    assert sorted(jobs(following)) == ["AJ_1", "AJ_2"]


def test_what_is_no_running_call_is_not_shown(tmp_path: Path) -> None:
    """Fails if a worker's own claims look like a call, or a dead process like a living one."""
    (tmp_path / "notes.jsonl").write_text("no journal\n")
    (tmp_path / "20260101T000000Z-AJ_0.1.jsonl").write_bytes(b"")
    Call(tmp_path, "AJ_gone", process=NOBODYS)
    Call(tmp_path, "AJ_odd", process="x")
    Call(tmp_path, "AJ_boot", t=time.monotonic() + 10_000)
    worker = Call(tmp_path, "worker", job="")
    first = worker.desk.lines[0]
    claim = {"t": worker.desk.now, "e": "event", "signature": "job_claim:acquired"}
    worker.desk.lines = [first, json.dumps({**claim, "outcome": "allowed"}).encode()]
    worker.keep()
    console = Call(tmp_path, "console", job="")
    following = Following([tmp_path])
    for _ in range(2):
        assert [call.history.parts for call in following.look()] == [[console.path]]


def test_another_process_of_the_same_number_is_not_the_one_that_began_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Call(tmp_path, "AJ_1", t=time.monotonic() - 100)
    monkeypatch.setattr(module, "_lived", lambda process: 50.0)
    assert jobs(Following([tmp_path])) == []
    monkeypatch.setattr(module, "_lived", lambda process: 99.0)
    assert jobs(Following([tmp_path])) == ["AJ_1"]
    monkeypatch.undo()
    lived = module._lived(os.getpid())
    assert lived is None or 0 < lived < time.clock_gettime(time.CLOCK_BOOTTIME)


def shown(folder: Path, width: int, height: int = 0) -> str:
    written = io.StringIO()
    calls = Following([folder]).look()
    Console(width=width, file=written).print(running(calls, time.monotonic(), width, height))
    return written.getvalue()


@pytest.mark.parametrize("width", [30, 44, 70, 89, 90, 200])
def test_every_width_tells_which_call_which_guard_and_how_much(tmp_path: Path, width: int) -> None:
    """Fails if a column is cut to its first letters, as a table of seven columns is at 44."""
    quiet, loud = Call(tmp_path, "AJ_quiet"), Call(tmp_path, "AJ_loud")
    quiet.cost(3.0)
    loud.cost(0.25)
    loud.guard("open", "track_subscribe")
    loud.guard("open", "session_overrun:agent_alone")
    text = shown(tmp_path, width)
    for word in ("AJ_quiet", "AJ_loud", "$0.2500", "track_subscribe", "agent_alone", "$3.2500"):
        assert word in text
    assert text.index("AJ_loud") < text.index("AJ_quiet"), "what troubles comes first"
    assert max(map(len, text.splitlines())) <= width


def test_calls_that_find_no_room_on_the_screen_are_counted(tmp_path: Path) -> None:
    for number in range(30):
        Call(tmp_path, f"AJ_{number}").cost(0.01)
    for width in (60, 120):
        text = shown(tmp_path, width, height=12)
        assert text.startswith("30 calls run on this host, $0.3000 so far")
        rest = int(text.rstrip().splitlines()[-1].split()[1])
        assert rest == 30 - text.count("AJ_") > 15
        assert len(text.splitlines()) <= 12
