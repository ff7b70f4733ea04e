"""The subscription guard alone: no LiveKit, no telemetry, an injected clock."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runguard_otel.core.guards.subscription import SubscriptionPolicy, TrackSubscriptionGuard
from runguard_otel.core.verdict import Mode, Subject
from runguard_otel.errors import LoopDetectedError

pytestmark = pytest.mark.unit


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_first_true_second_false_third_raises_then_false(clock: Clock) -> None:
    guard = TrackSubscriptionGuard(clock=clock)
    assert guard.on_subscribe("PA_1") is True
    guard.on_unsubscribe("PA_1")
    assert guard.on_subscribe("PA_1") is False
    guard.on_unsubscribe("PA_1")
    with pytest.raises(LoopDetectedError) as error:
        guard.on_subscribe("PA_1")
    trip = error.value.trip
    assert trip is not None
    assert trip.signature_with_key == "track_subscribe:PA_1"
    assert (trip.count, trip.threshold, trip.window_seconds) == (3, 3, 30)
    assert [guard.on_subscribe("PA_1") for _ in range(5)] == [False] * 5


def test_participants_do_not_count_for_each_other(clock: Clock) -> None:
    guard = TrackSubscriptionGuard(clock=clock)
    assert [guard.on_subscribe(f"PA_{i}") for i in range(50)] == [True] * 50


def test_one_subscription_every_half_minute_is_never_a_cascade(clock: Clock) -> None:
    guard = TrackSubscriptionGuard(clock=clock)
    for _ in range(20):
        assert guard.on_subscribe("PA_1") is True
        clock.now += 30


def test_a_quiet_window_rearms_and_the_next_cascade_raises_again(clock: Clock) -> None:
    guard = TrackSubscriptionGuard(clock=clock)
    for _ in range(2):
        assert guard.on_subscribe("PA_1") is True
        assert guard.on_subscribe("PA_1") is False
        with pytest.raises(LoopDetectedError):
            guard.on_subscribe("PA_1")
        clock.now += 30


def test_memory_is_bounded_by_forgetting_the_oldest_participant(clock: Clock) -> None:
    guard = TrackSubscriptionGuard(max_participants=2, clock=clock)
    assert guard.on_subscribe("PA_1") is True
    guard.on_subscribe("PA_2")
    guard.on_subscribe("PA_3")
    assert guard.on_subscribe("PA_1") is True
    assert len(guard._policies) == 2


def test_a_bad_window_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="window_seconds"):
        TrackSubscriptionGuard(0)


def test_observe_mode_trips_without_an_action(clock: Clock) -> None:
    policy = SubscriptionPolicy(clock=clock)
    subject = Subject(participant="PA_1", track_source="microphone")
    decisions = [policy.on_subscribe(subject, Mode.OBSERVE, "reuse_stream") for _ in range(6)]
    assert [(d.trip.action, d.trip.subject) for d in decisions if d.trip] == [("none", subject)]
    assert policy.quiet_left == 30
    clock.now += 30
    assert (policy.open, policy.quiet_left) == (False, 0)


@given(gaps=st.lists(st.sampled_from([0, 1, 9, 10, 14, 15, 16, 29, 30, 31, 90]), max_size=40))
def test_answers_agree_with_a_recount_of_all_times(gaps: list[int]) -> None:
    clock = Clock()
    guard = TrackSubscriptionGuard(clock=clock)
    times: list[float] = []
    is_open = False
    for gap in gaps:
        clock.now += gap
        if times and clock.now - times[-1] >= 30:
            is_open = False
        times.append(clock.now)
        count = sum(clock.now - t < 30 for t in times)
        if is_open:
            assert guard.on_subscribe("PA") is False
        elif count >= 3:
            is_open = True
            with pytest.raises(LoopDetectedError):
                guard.on_subscribe("PA")
        else:
            assert guard.on_subscribe("PA") is (count == 1)
