from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runguard_otel.core.loop import LoopDetector

pytestmark = pytest.mark.unit


def oracle(
    history: list[tuple[str, float]], repeats: int, longest: int, window: float | None
) -> tuple[str, ...] | None:
    """Brute force: is the tail of the whole history one block repeated?"""
    for period in range(1, longest + 1):
        tail = history[-period * repeats :]
        if len(tail) < period * repeats:
            continue
        block = [s for s, _ in tail[-period:]]
        if [s for s, _ in tail] != block * repeats:
            continue
        if window is None or tail[-1][1] - tail[0][1] <= window:
            return tuple(block)
    return None


@given(
    steps=st.lists(
        st.tuples(st.sampled_from("abc"), st.integers(min_value=0, max_value=5)), max_size=120
    ),
    repeats=st.integers(min_value=2, max_value=5),
    longest=st.integers(min_value=1, max_value=5),
    window=st.one_of(st.none(), st.integers(min_value=1, max_value=30)),
)
def test_every_push_agrees_with_brute_force_over_the_whole_history(
    steps: list[tuple[str, int]], repeats: int, longest: int, window: int | None
) -> None:
    now = 0.0
    detector = LoopDetector(repeats, longest, window, clock=lambda: now)
    history: list[tuple[str, float]] = []
    for signature, pause in steps:
        now += pause
        history.append((signature, now))
        match = detector.push(signature)
        assert (match.block if match else None) == oracle(history, repeats, longest, window)
        if match:
            assert match.count == len(match.block) * repeats
            assert match.span_seconds == now - history[-match.count][1]


def test_a_reset_forgets_the_run() -> None:
    detector = LoopDetector(3)
    assert detector.push("a") is None
    assert detector.push("a") is None
    detector.reset()
    assert detector.push("a") is None
    assert detector.push("a") is None
    assert detector.push("a") is not None


def test_memory_does_not_grow_with_the_stream() -> None:
    detector = LoopDetector(3, 4)
    before = detector.__sizeof__() + sum(
        getattr(detector, slot).__sizeof__() for slot in ("_last", "_runs", "_times")
    )
    for i in range(10_000):
        detector.push(str(i))
    after = detector.__sizeof__() + sum(
        getattr(detector, slot).__sizeof__() for slot in ("_last", "_runs", "_times")
    )
    assert before == after


@pytest.mark.parametrize(
    "arguments",
    [{"repeats": 1}, {"max_cycle_len": 0}, {"window_seconds": 0}, {"window_seconds": -1}],
)
def test_a_bad_argument_names_itself(arguments: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(arguments))):
        LoopDetector(**arguments)  # type: ignore[arg-type]
