"""A made week with a known best threshold: it is found; with too little to tell by, nothing is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from runguard_otel.cli import commands
from runguard_otel.journal.advice import LEAST_CALLS, TRIED, advise
from runguard_otel.journal.reading import find
from tests.kit.journals import Desk

pytestmark = pytest.mark.unit

BEST = 60
"""Seconds alone: callers who come back do so within 45."""
NAME = "session_overrun_left_seconds"


def call(folder: Path, number: int, *, back_after: float | None, alone: float = 320) -> None:
    """A caller leaves; comes back, or never does, and the agent stays and costs."""
    desk = Desk(f"AJ_{number:03}", mode="observe")
    job = desk.policies.job(desk.subject, lambda: True, desk.clock)
    job.job_started()
    job.callers("room", 1)

    def wait(seconds: float) -> None:
        for _ in range(int(seconds / 5)):
            desk.wait(5)
            if job.due <= desk.now:
                job.check()
            row = {"metric": "runguard.cost.estimated", "component": "agent", "amount": 0.001}
            desk.book.put({"t": desk.now, "e": "count", **row})

    wait(30)
    job.callers("room", 0)
    if back_after is not None:
        wait(back_after)
        job.callers("room", 1)
        wait(30)
    else:
        wait(alone)
    job.left("room")
    job.job_ended()
    desk.history(folder, f"20260101T00{number // 60:02}{number % 60:02}Z-AJ_{number:03}")


def week(folder: Path, calls: int) -> None:
    """In a third nobody comes back; in the others after 5, 15, 25, 35 or 45 seconds."""
    for number in range(calls):
        call(folder, number, back_after=None if number % 3 == 0 else 5 + number % 5 * 10)


def test_the_best_threshold_of_a_made_week_is_found(tmp_path: Path) -> None:
    """Fails if calls that go on after a trip are not told from those that are over."""
    week(tmp_path, 60)
    (found,) = advise(find([tmp_path]), [NAME])
    rows = {choice.value: choice for choice in found.choices}
    assert rows[10].calls > rows[30].calls > rows[60].calls == rows[120].calls == 20
    assert rows[30].touched and not rows[60].touched
    assert rows[60].dollars > rows[120].dollars > 0, "the sooner, the more it saves"
    assert (found.now, found.proposed) == (30, BEST)
    assert found.nearest, "calls to look at"


def test_with_too_few_calls_or_trips_nothing_is_proposed(tmp_path: Path) -> None:
    few = tmp_path / "few"
    few.mkdir()
    week(few, LEAST_CALLS - 1)
    (found,) = advise(find([few]), [NAME])
    assert found.proposed is None and "too few" in found.why
    healthy = tmp_path / "healthy"
    healthy.mkdir()
    for number in range(LEAST_CALLS):
        call(healthy, number, back_after=5)
    (found,) = advise(find([healthy]), [NAME])
    assert found.proposed is None and "too few" in found.why


def test_where_every_trip_touches_a_caller_nothing_is_proposed(tmp_path: Path) -> None:
    for number in range(LEAST_CALLS):
        call(tmp_path, number, back_after=310)
    (found,) = advise(find([tmp_path]), [NAME])
    assert found.proposed is None and "stay in observe" in found.why


def test_the_command_shows_the_trade_off(tmp_path: Path) -> None:
    week(tmp_path, 60)
    words = ["advise", "--setting", NAME, str(tmp_path)]
    told = CliRunner().invoke(commands(), words)
    assert told.exit_code == 0, told.output
    assert f"30 -> {BEST}" in told.output and f"{BEST} *" in told.output
    assert "look at: AJ_" in told.output
    data = json.loads(CliRunner().invoke(commands(), [*words, "--json"]).stdout)
    assert data["calls"] == 60 and data["advice"][0]["proposed"] == BEST
    told = CliRunner().invoke(commands(), ["advise", "--setting", "hash_salt", str(tmp_path)])
    assert told.exit_code == 2 and "nothing can be proposed" in told.stderr


def test_what_cannot_be_told_for_lack_of_calls_is_said_once(tmp_path: Path) -> None:
    """Fails if the same sentence stands behind each of seven settings."""
    week(tmp_path, 3)
    told = CliRunner().invoke(commands(), ["advise", str(tmp_path)], env={"COLUMNS": "200"})
    assert told.exit_code == 0, told.output
    assert told.output.count("no proposal") == told.output.count("3 calls are too few") == 1
    assert all(told.output.count(name) == 1 for name in TRIED)
