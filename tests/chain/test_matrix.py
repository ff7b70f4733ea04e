"""The matrix tool itself: what hangs, crashes or cannot be installed is said, never hidden."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from tools import matrix_environments, matrix_suites
from tools.matrix_environments import InstallFailed, environment, newest
from tools.matrix_suites import Result, examine

pytestmark = pytest.mark.chain

HANGS = """
import pathlib, subprocess, sys, time
def test_is_fine():
    pass
def test_waits_for_ever():
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    pathlib.Path({noted!r}).write_text(str(child.pid))
    time.sleep(600)
"""


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The tool, with a suite of its own and no probe."""

    def probe(python: Path, result: Result, seconds: float) -> None:
        result.probe = {"version": result.version}

    monkeypatch.setattr(matrix_suites, "CACHE", tmp_path)
    monkeypatch.setattr(matrix_suites, "_probe", probe)
    monkeypatch.setattr(matrix_suites, "ROOT", tmp_path)
    monkeypatch.setattr(matrix_suites, "ALL", ("test_suite.py",))
    return tmp_path


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"


def test_a_suite_that_hangs_fails_by_name_and_leaves_no_process(bench: Path) -> None:
    noted = bench / "pid"
    (bench / "test_suite.py").write_text(HANGS.format(noted=str(noted)))
    result = examine(newest(), complete=True, seconds=15)
    (failure,) = result.failed
    assert failure.startswith("hung, ended after 15 s in ")
    assert "test_waits_for_ever" in failure
    assert not result.good
    child = int(noted.read_text())
    deadline = time.monotonic() + 5
    while alive(child):
        assert time.monotonic() < deadline, "its child is left behind"
        time.sleep(0.05)


@pytest.mark.parametrize("suite", ["import nothing_of_that_name", "", None])
def test_a_suite_that_cannot_run_is_not_a_success(bench: Path, suite: str | None) -> None:
    if suite is not None:
        (bench / "test_suite.py").write_text(suite)
    result = examine(newest(), complete=True)
    assert (result.good, result.passed, len(result.failed)) == (False, 0, 1)


def test_failures_and_reasons_to_skip_are_read(bench: Path) -> None:
    (bench / "test_suite.py").write_text(
        "import pytest\n"
        "def test_good(): pass\n"
        "def test_bad(): assert False\n"
        "def test_other(): pytest.skip('not here')\n"
    )
    result = examine(newest(), complete=True)
    assert (result.passed, result.skipped, result.good) == (1, {"not here": 1}, False)
    assert [name.rpartition("::")[2] for name in result.failed] == ["test_bad"]


def test_a_release_that_vanished_from_the_registry_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uv = tmp_path / "uv"
    uv.write_text(f"#!{sys.executable}\nimport sys\nsys.exit('no such thing as foo==1.0')\n")
    uv.chmod(0o755)
    monkeypatch.setattr(matrix_environments, "UV", uv)
    monkeypatch.setattr(matrix_environments, "CACHE", tmp_path)
    with pytest.raises(InstallFailed) as failed:
        environment("1.0.23")
    text = str(failed.value)
    for words in ("agents-1.0.23.txt", "make lock", "make test-matrix", "no such thing as foo"):
        assert words in text
    (result,) = [examine("1.0.23", complete=True)]
    assert (result.good, len(result.failed)) == (False, 1)
