"""The table of combinations is of the versions that are locked, and what it says is judged."""

from __future__ import annotations

from typing import Any

import pytest

from tools.combinations import BEGIN, END, LOCKS, PAGE, ROWS, good, row

pytestmark = pytest.mark.unit

FOUND: dict[str, Any] = {
    "version": "1.0", "trip_spans": 1, "event_spans": 9, "events": 9, "host_spans": 20,
    "spans_again": 0, "trips_counted": [1], "trip_logs": 1, "providers_kept": True,
    "hooks_missing": [], "complaints": [],
}  # fmt: skip


def test_the_page_has_a_row_per_tool_of_the_locked_version() -> None:
    page = PAGE.read_text("utf-8").partition(BEGIN)[2].partition(END)[0]
    for title, package, _ in ROWS.values():
        (line,) = [line for line in page.splitlines() if line.startswith(f"| {title} |")]
        for lock in LOCKS.glob(f"{package}-*.txt"):
            assert lock.stem.removeprefix(f"{package}-") in line


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"trip_spans": 2}, "2 of 1 trip"),
        ({"event_spans": 6}, "3 of 9 events missing"),
        ({"trips_counted": [1, 1]}, "[1, 1]"),
        ({"trip_logs": 2}, "**no**: 2"),
        ({"providers_kept": False}, "provider was replaced"),
        ({"hooks_missing": ["Room.connect"]}, "Room.connect"),
    ],
)
def test_what_is_lost_or_doubled_is_said_and_fails(wrong: dict[str, Any], says: str) -> None:
    assert good("logfire", FOUND)
    assert says in row("logfire", {**FOUND, **wrong})
    assert not good("logfire", {**FOUND, **wrong})
