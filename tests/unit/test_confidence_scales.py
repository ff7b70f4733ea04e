"""A number outside 0..1 proves that a recogniser's confidence is none; nothing else does."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import pytest

from runguard_otel.core.guards.confidence import MAX_SCALES, ConfidenceScales, known_confidence
from runguard_otel.core.guards.misfire import VADMisfireGuard

pytestmark = pytest.mark.unit

RIVA = ("nvidia", "parakeet")

OTHER_SCALES: dict[str, Sequence[float]] = {
    "a raw score": (-0.9994, 0.36569, 0.36569, -2.6, 0.4),
    "a percentage": (87.5, 0.9, 12.0, 100.0),
    "a log-probability": (-0.1, -1.0, 0.0, -12.5),
    "decibels": (-37.0, 0.2),
    "minus one for none": (-1.0, 0.5),
    "infinity": (math.inf, 0.5),
}


@pytest.mark.parametrize("sent", OTHER_SCALES.values(), ids=OTHER_SCALES)
def test_one_value_outside_of_it_proves_the_scale_from_then_on(sent: Sequence[float]) -> None:
    """Fails if only the value itself is unknown: the third of the raw scores would be unsure."""
    scales = ConfidenceScales()
    assert [scales.judge(RIVA, value) for value in sent] == [None] * len(sent)
    assert scales.is_other(RIVA)


def test_it_is_proven_of_that_recogniser_and_of_no_other() -> None:
    scales = ConfidenceScales()
    scales.judge(RIVA, -2.6)
    assert scales.judge(("nvidia", "another model"), 0.4) == 0.4
    assert scales.judge(RIVA, 0.4) is None


@pytest.mark.parametrize(
    "value", [0.0, 1.0, 0.5, -0.0, 1.0000002, -0.00002, math.nan, None, "0.5", "", True, False, b""]
)
def test_nothing_else_proves_anything(value: object) -> None:
    """NaN and a string are no number on any scale, and a mean of 1.0s may be a hair above 1."""
    scales = ConfidenceScales()
    scales.judge(RIVA, value)
    assert scales.judge(RIVA, 0.4) == 0.4


@pytest.mark.parametrize(
    ("reported", "known"),
    [
        (0.7, 0.7),
        (1.0, 1.0),
        (1, 1.0),
        (1.00001, 1.0),
        (Fraction(1, 2), 0.5),
        (0.0, None),
        (0, None),
        (None, None),
        (math.nan, None),
        (True, None),
        ("0.7", None),
        (-0.1, None),
        (70, None),
        ([0.7], None),
    ],
)
def test_what_a_report_means(reported: object, known: float | None) -> None:
    assert known_confidence(reported) == known


def test_what_is_remembered_is_bounded() -> None:
    scales = ConfidenceScales()
    for number in range(10 * MAX_SCALES):
        scales.judge(number, -1.0)
    assert sum(map(scales.is_other, range(10 * MAX_SCALES))) == MAX_SCALES


def test_the_guard_alone_learns_as_well() -> None:
    guard = VADMisfireGuard()
    assert guard.on_stt_result("processing the order", -0.9994)
    for _ in range(20):
        assert guard.on_stt_result("processing the order", 0.36)
