"""docs/executors.md names, for each way to run an agent, a test that exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parents[2]


def test_every_row_names_tests_that_exist() -> None:
    page = (ROOT / "docs/executors.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1:-1] for line in page.splitlines() if line.count("|") == 8][2:]
    assert len(rows) > 8
    for row in rows:
        named = re.findall(r"`(test_\w+)`", row[-1])
        assert named or row[-1].strip() == "the same", row
        for name in named:
            assert list((ROOT / "tests").glob(f"*/{name}.py")), name
