from __future__ import annotations

from pathlib import Path

import pytest

from runguard_otel.core.signatures import GuardName
from tools.compatibility_doc import ACTS, DOC, render

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parents[2]
PROBE = {"version": "x", "patches": [], "misfires": []}


def test_the_table_has_a_row_per_guard_and_a_column_per_locked_release() -> None:
    locks = (ROOT / "requirements" / "matrix").glob("agents-1.*.txt")
    releases = {path.stem.removeprefix("agents-") for path in locks}
    for line in (ROOT / "requirements" / "dev.in").read_text(encoding="utf-8").splitlines():
        if line.startswith("livekit-agents=="):
            releases.add(line.partition("==")[2])
    lines = DOC.read_text(encoding="utf-8").splitlines()
    table = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if "|" in line]
    assert table[0][0] == "guard"
    assert set(table[0][1:]) == releases
    guards = {row[0].strip("`"): row[1:] for row in table[2 : 2 + len(ACTS)]}
    assert set(guards) == set(ACTS) == {str(guard) for guard in GuardName}
    for cells in guards.values():
        assert {cell.partition(":")[0] for cell in cells} <= {"full", "observe only", "absent"}
    headings = [line for line in render([(PROBE, {"why": 1})]).splitlines() if line[:1] == "#"]
    assert headings == [line for line in lines if line[:1] == "#"]
