"""The comparison with other packages refuses what does no work, and says who adds least."""

from __future__ import annotations

import pytest

from bench.harness import Figure
from bench.peers import CONTROL, LOCK, OURS, PACKAGES, DidNothing, must_have_seen, pinned, rows

pytestmark = pytest.mark.unit


def figures(ours: float) -> dict[str, Figure]:
    added = {CONTROL: 1.0, "spans": 900.0, "a guard": 200.0, **dict.fromkeys(OURS, ours)}
    return {name: Figure(value, value, value, 3) for name, value in added.items()}


@pytest.mark.parametrize("seen", [0, 12])
def test_a_side_that_missed_a_turn_is_refused(seen: float) -> None:
    with pytest.raises(DidNothing, match="a guard"):
        must_have_seen("a guard", seen, 13)


def test_a_turn_may_make_two_requests() -> None:
    must_have_seen("a guard", 26, 13)


@pytest.mark.parametrize(("ours", "met"), [(199, True), (201, False)])
def test_we_are_measured_against_the_least_of_the_others(ours: float, met: bool) -> None:
    judged = [row for row in rows("text turn", "", figures(ours)) if row.goal]
    assert [(row.met, row.note) for row in judged] == [(met, "that of a guard")] * len(OURS)


def test_the_environment_has_the_versions_that_are_named() -> None:
    wanted = LOCK.with_suffix(".in").read_text("utf-8").split()
    assert {f"{name}=={pinned(name)}" for name in PACKAGES} <= set(wanted)
