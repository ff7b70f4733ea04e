"""A slow machine is told apart from a broken demonstration, before it is played."""

from __future__ import annotations

import pytest

from runguard_otel.demo.machine import GIVE_UP_SECONDS, PATIENCE, Machine, patient
from runguard_otel.demo.runner import _last_words
from runguard_otel.demo.runs import Plan
from runguard_otel.demo.scene import PHASES, STORMS
from runguard_otel.demo.wire import Event
from tests.kit.demo import played

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("slowness", "patience", "side_by_side"),
    [(1.0, 1.0, 6), (1.4, 1.0, 6), (2.0, 4.0, 2), (2.9, 5.8, 2), (5.0, 10.0, 1)],
)
def test_the_slower_the_more_patient_and_the_fewer_at_a_time(
    slowness: float, patience: float, side_by_side: int
) -> None:
    machine = Machine(slowness)
    assert machine.patience == pytest.approx(patience)
    assert machine.side_by_side == side_by_side
    assert bool(machine.words()) is (slowness >= 1.5)


def test_too_slow_is_said_within_twenty_seconds() -> None:
    assert GIVE_UP_SECONDS < 20


@pytest.mark.parametrize(("told", "limit"), [("3", 30), ("0.1", 10), ("much", 10), (None, 10)])
def test_a_storm_is_as_patient_as_it_was_told(
    told: str | None, limit: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(PATIENCE, raising=False)
    if told is not None:
        monkeypatch.setenv(PATIENCE, told)
    assert patient(10) == limit


def test_time_left_counts_phases_groups_and_what_is_over() -> None:
    plan = Plan(STORMS)
    seconds = {storm.name: storm.seconds for storm in STORMS}
    longest = [max(seconds[name] for name in phase) for phase in PHASES]
    assert plan.seconds_left(PHASES) == sum(longest)
    assert plan.seconds_left(PHASES, 1) == 2 * sum(seconds.values())
    for run in plan.runs:
        if run.storm.name in PHASES[0]:
            run.feed(Event("done", 1.0))
    assert plan.seconds_left(PHASES) == longest[1]
    assert played().seconds_left(PHASES) == 0


def test_why_a_run_failed_is_one_line_and_no_traceback() -> None:
    log = (
        "2026 livekit.agents starting worker\n"
        "Traceback (most recent call last):\n"
        '  File "x.py", line 1, in <module>\n'
        "    import nothing\n"
        "ModuleNotFoundError: No module named 'nothing'\n"
        "2026 livekit.agents bye\n\n"
    )
    assert _last_words(log) == ": ModuleNotFoundError: No module named 'nothing'"
    assert _last_words("usage: storms\n") == ": usage: storms"
    assert _last_words("") == ""
