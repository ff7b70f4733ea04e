"""The misfire guard as published, for any pipeline; and which confidences mean something."""

from __future__ import annotations

import math

import pytest

from runguard_otel import LoopDetectedError, VADMisfireGuard
from runguard_otel.core.guards.confidence import known_confidence

pytestmark = pytest.mark.unit


class TestPublishedClass:
    """``VADMisfireGuard`` alone, as published."""

    def test_it_says_what_reaches_the_model(self) -> None:
        guard = VADMisfireGuard()
        assert guard.on_stt_result("hello there", 0.9) is True
        assert guard.on_stt_result("", 0.0) is False
        assert guard.on_stt_result("hm", 0.2) is False

    def test_it_raises_once_per_storm_with_the_evidence(self) -> None:
        guard = VADMisfireGuard(consecutive_empty_limit=3)
        assert not guard.on_stt_result("", None)
        assert not guard.on_stt_result("", None)
        with pytest.raises(LoopDetectedError) as caught:
            guard.on_stt_result("", None)
        assert caught.value.trip is not None
        assert caught.value.trip.count == 3
        assert [guard.on_stt_result("", None) for _ in range(5)] == [False] * 5
        assert guard.on_stt_result("a table for two", None)
        assert not guard.on_stt_result("", None)
        assert not guard.on_stt_result("", None)
        with pytest.raises(LoopDetectedError):
            guard.on_stt_result("", None)

    def test_a_recogniser_that_never_reports_confidence_is_believed(self) -> None:
        guard = VADMisfireGuard()
        assert all(guard.on_stt_result("yes", 0.0) for _ in range(20))

    @pytest.mark.parametrize("earlier", [0.8, 1.0])
    def test_zero_is_unknown_whatever_was_reported_of_other_results(self, earlier: float) -> None:
        guard = VADMisfireGuard()
        assert guard.on_stt_result("hello", earlier)
        assert guard.on_stt_result("hello", 0.0)
        assert not guard.on_stt_result(" ", 0.0), "a blank one is a misfire all the same"

    def test_reset_forgets_the_row_and_closes(self) -> None:
        now = [0.0]
        guard = VADMisfireGuard(2, clock=lambda: now[0])
        guard.on_stt_result("", None)
        guard.reset()
        guard.on_stt_result("", None)
        with pytest.raises(LoopDetectedError):
            guard.on_stt_result("", None)
        guard.reset()
        assert not guard.on_stt_result("", None), "closed: counted, not raised"

    def test_misfires_hours_apart_never_trip(self) -> None:
        now = [0.0]
        guard = VADMisfireGuard(clock=lambda: now[0])
        for _ in range(50):
            now[0] += 3600
            assert not guard.on_stt_result("", None)

    @pytest.mark.parametrize(
        "arguments",
        [
            {"consecutive_empty_limit": 0},
            {"min_confidence": 1.2},
            {"floor_confidence": -0.1},
            {"window_seconds": 0},
        ],
    )
    def test_a_bad_argument_is_named(self, arguments: dict[str, float]) -> None:
        (name,) = arguments
        with pytest.raises(ValueError, match=name.replace("consecutive_empty_", "")):
            VADMisfireGuard(**arguments)  # type: ignore[arg-type]  # that is the test


def test_a_confidence_of_zero_or_nonsense_is_unknown() -> None:
    for value in (None, math.nan, -1.0, 0.0, 87.0, 1.01):
        assert known_confidence(value) is None
    for value in (0.01, 0.5, 1.0):
        assert known_confidence(value) == value
