"""What docs/testing.md tells people to paste runs as it stands there, fixtures found by pytest."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tools.release_check import examples_of_the_page

pytestmark = pytest.mark.chain


def test_the_page_runs_as_written(tmp_path: Path) -> None:
    """Fails if the entry point is lost, a fixture is renamed, or a storm no longer trips."""
    files = examples_of_the_page(tmp_path)
    assert len(files) == 2
    command = [sys.executable, "-m", "pytest", "-q", "--strict-markers", *map(str, files)]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=110
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "5 passed" in done.stdout
