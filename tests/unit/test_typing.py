"""What a type checker tells a user: the documented use is clean, a slip of the pen is an error.

Each checker reads the package as an installed one, without plugins, and ``tests/typing`` as the
user's code. ``wrong.py`` holds the mutants: a marked line without an error fails, as does an error
anywhere else.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kit.fixtures import leave_out
from tests.kit.process import NotInstalled
from tools.install_servers import NPM

pytestmark = pytest.mark.unit

HERE = Path(__file__).resolve().parents[1] / "typing"
ROOT = HERE.parents[1]
SLIPS = {
    number
    for number, line in enumerate((HERE / "wrong.py").read_text().splitlines(), start=1)
    if line.endswith("# slip")
}


def mypy(file: str, config: Path) -> dict[int, str]:
    config.write_text("[mypy]\n")  # not the project's own: its plugin is not the user's
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file", str(config)]
    command += ["--no-error-summary", "--cache-dir", str(ROOT / ".mypy_cache" / "user")]
    done = subprocess.run(
        [*command, str(HERE / file)], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.stderr == ""
    found = re.findall(rf"{file}:(\d+): error: (.*)", done.stdout)
    elsewhere = [line for line in done.stdout.splitlines() if f"{file}:" not in line]
    assert elsewhere == [], "an error inside the package is one the user sees"
    return {int(line): text for line, text in found}


def pyright(file: str, config: Path) -> dict[int, str]:
    shutil.copyfile(HERE / file, config.with_name(file))  # it checks only what is beside its file
    settings = {
        "include": [file],
        "typeCheckingMode": "strict",
        "extraPaths": [str(ROOT)],
        # A slip is marked where it stands; what follows from it in other lines is not counted.
        "reportUnusedImport": False,
        "reportUnusedExpression": False,
        "reportUnknownVariableType": False,
        "reportUnknownMemberType": False,
        "reportUnusedFunction": False,
    }
    config = config.with_name("pyrightconfig.json")
    config.write_text(json.dumps(settings))
    program = NPM / "node_modules" / ".bin" / "pyright"
    if not program.exists():
        leave_out(NotInstalled("pyright is not installed: make servers"))
    command = [program, "--outputjson", "-p", config]
    done = subprocess.run(
        [*map(str, command), "--pythonpath", sys.executable],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    report = json.loads(done.stdout)
    assert report["summary"]["filesAnalyzed"] == 1, done.stdout
    return {
        d["range"]["start"]["line"] + 1: d["message"]
        for d in report["generalDiagnostics"]
        if d["severity"] == "error"
    }


CHECKERS = pytest.mark.parametrize("check", [mypy, pyright])


@CHECKERS
def test_the_documented_use_is_clean(check: object, tmp_path: Path) -> None:
    assert callable(check)
    assert check("right.py", tmp_path / "checker.ini") == {}


@CHECKERS
def test_every_slip_is_an_error_and_nothing_else_is(check: object, tmp_path: Path) -> None:
    assert callable(check)
    assert len(SLIPS) >= 12
    found = check("wrong.py", tmp_path / "checker.ini")
    assert set(found) == SLIPS, found
