from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runguard_otel.core.window import SlidingWindow

pytestmark = pytest.mark.unit


@given(
    pauses=st.lists(st.integers(min_value=0, max_value=20), max_size=200),
    window=st.integers(min_value=1, max_value=30),
    capacity=st.integers(min_value=1, max_value=20),
)
def test_the_count_agrees_with_brute_force_up_to_the_capacity(
    pauses: list[int], window: int, capacity: int
) -> None:
    hits: list[float] = []
    sliding = SlidingWindow(window, capacity)
    now = 0.0
    for pause in pauses:
        now += pause
        hits.append(now)
        recent = [t for t in hits if t > now - window]
        assert sliding.hit(now) == min(len(recent), capacity)
        assert list(sliding.times()) == recent[-capacity:]
        later = now + window / 2
        assert sliding.count(now) == min(len(recent), capacity)
        assert SlidingWindow(window, capacity).count(later) == 0


def test_hits_leave_the_window_without_new_hits() -> None:
    sliding = SlidingWindow(10)
    sliding.hit(0)
    sliding.hit(5)
    assert sliding.count(9.9) == 2
    assert sliding.count(10) == 1
    assert sliding.count(15) == 0


def test_clear_forgets_everything() -> None:
    sliding = SlidingWindow(10)
    sliding.hit(0)
    sliding.clear()
    assert sliding.count(0) == 0
    assert sliding.hit(0) == 1


@pytest.mark.parametrize(("window", "capacity"), [(0, 1), (-1, 1), (1, 0)])
def test_a_bad_argument_is_refused(window: float, capacity: int) -> None:
    with pytest.raises(ValueError, match="must be"):
        SlidingWindow(window, capacity)
