"""The reconnect guard alone: no LiveKit, no telemetry, an injected clock."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runguard_otel.core.guards.reconnect import ReconnectPolicy, RoomReconnectGuard
from runguard_otel.core.verdict import Decision, Mode, Subject, Verdict
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


def connect(policy: ReconnectPolicy, mode: Mode = Mode.ENFORCE) -> Decision:
    return policy.on_connect(Subject(room="support-42"), mode, "refuse_connect")


def test_the_published_guard_raises_on_the_third_reconnect_within_the_window(clock: Clock) -> None:
    guard = RoomReconnectGuard("support-42", clock=clock)
    guard.check()
    clock.now += 20
    guard.check()
    clock.now += 20
    with pytest.raises(LoopDetectedError) as error:
        guard.check()
    trip = error.value.trip
    assert trip is not None
    assert trip.signature_with_key == "room_reconnect:support-42"
    assert (trip.count, trip.threshold, trip.window_seconds) == (3, 3, 60)
    assert [round(e.seconds_before) for e in trip.evidence] == [40, 20, 0]
    assert trip.action == "refuse_connect"


def test_three_reconnects_in_ten_hours_are_no_loop(clock: Clock) -> None:
    guard = RoomReconnectGuard("support-42", clock=clock)
    for _ in range(3):
        guard.check()
        clock.now += 12_000


def test_refused_attempts_carry_the_same_trip_and_keep_the_guard_open(clock: Clock) -> None:
    guard = RoomReconnectGuard("support-42", max_reconnects_per_window=2, clock=clock)
    guard.check()
    trips = []
    for gap in (59, 30, 29):
        clock.now += gap
        with pytest.raises(LoopDetectedError) as error:
            guard.check()
        trips.append(error.value.trip)
    assert trips[0] is not None
    assert all(trip is trips[0] for trip in trips)


@pytest.mark.parametrize(("pause", "passed"), [(0.5, 5), (7, 4), (30, 5), (59, 2)])
def test_an_endless_loop_gets_one_attempt_per_window_and_one_trip(
    clock: Clock, pause: float, passed: int
) -> None:
    """Five windows after the trip: whoever retries with a pause comes in when the fault is over."""
    policy = ReconnectPolicy(limit=2, clock=clock)
    connect(policy)
    connect(policy)
    tripped = connect(policy)
    assert tripped.trip is not None
    end, allowed = clock.now + 301, 0
    while clock.now + pause <= end:
        clock.now += pause
        decision = connect(policy)
        assert decision.open
        assert decision.trip is None
        allowed += decision.verdict is Verdict.ALLOW
    assert allowed == passed


def test_an_attempt_that_was_let_through_and_holds_re_arms_the_guard(clock: Clock) -> None:
    policy = ReconnectPolicy(limit=2, clock=clock)
    for _ in range(3):
        connect(policy)
    for _ in range(2):  # the server is away for a minute
        clock.now += 30
        last = connect(policy)
    assert last.verdict is Verdict.ALLOW
    clock.now += 59
    assert policy.open
    clock.now += 1
    assert not policy.open


def test_a_quiet_window_rearms_the_guard_and_the_next_loop_is_a_new_trip(clock: Clock) -> None:
    guard = RoomReconnectGuard("support-42", max_reconnects_per_window=2, clock=clock)
    trips = []
    for _ in range(2):
        guard.check()
        with pytest.raises(LoopDetectedError) as error:
            guard.check()
        trips.append(error.value.trip)
        clock.now += 60
    assert trips[0] is not trips[1]


@pytest.mark.parametrize(("limit", "window"), [(0, 60.0), (3, 0.0), (3, -1.0)])
def test_arguments_out_of_range_are_refused_at_once(limit: int, window: float) -> None:
    with pytest.raises(ValueError, match=r"capacity|window_seconds"):
        RoomReconnectGuard("r", limit, window)


def test_the_first_connect_is_not_a_reconnect(clock: Clock) -> None:
    policy = ReconnectPolicy(clock=clock)
    assert connect(policy).signature == ""
    verdicts = [connect(policy).verdict for _ in range(4)]
    assert verdicts == [Verdict.ALLOW, Verdict.ALLOW, Verdict.REFUSE, Verdict.REFUSE]


def test_a_connect_after_a_quiet_window_is_a_first_connect_again(clock: Clock) -> None:
    policy = ReconnectPolicy(clock=clock)
    for _ in range(20):
        assert connect(policy).signature == ""
        clock.now += 60


def test_a_drop_after_a_long_call_makes_the_next_connect_a_reconnect(clock: Clock) -> None:
    policy = ReconnectPolicy(clock=clock)
    connect(policy)
    clock.now += 3600
    policy.on_disconnect("server_shutdown")
    clock.now += 1
    assert connect(policy).signature == "room_reconnect"


def slow_faults(policy: ReconnectPolicy, clock: Clock, reasons: list[str], gap: float) -> list[str]:
    connect(policy)
    verdicts = []
    for reason in reasons:
        clock.now += gap
        policy.on_disconnect(reason)
        decision = connect(policy)
        verdicts.append(str(decision.verdict))
    return verdicts


@pytest.mark.parametrize("block", ["ab", "abc", "abcd"])
def test_faults_that_trade_off_below_the_limit_trip_on_their_third_round(
    clock: Clock, block: str
) -> None:
    policy = ReconnectPolicy(clock=clock)
    gap = 300 / (len(block) * 3)
    if gap < 30:  # 12 reconnects in five windows are beyond the count's limit anyway
        policy = ReconnectPolicy(limit=4, clock=clock)
    verdicts = slow_faults(policy, clock, list(block * 3), gap)
    assert verdicts == ["allow"] * (len(block) * 3 - 1) + ["refuse"]
    assert policy.trip is not None
    assert (policy.trip.count, policy.trip.window_seconds) == (len(block) * 3, 300)
    assert [e.detail for e in policy.trip.evidence] == list(block * 3)


def test_one_reason_again_and_again_below_the_limit_is_no_cycle(clock: Clock) -> None:
    assert set(slow_faults(ReconnectPolicy(clock=clock), clock, ["a"] * 50, 31)) == {"allow"}


def test_a_slow_cycle_outside_five_windows_is_no_loop(clock: Clock) -> None:
    assert set(slow_faults(ReconnectPolicy(clock=clock), clock, ["a", "b"] * 20, 61)) == {"allow"}


def test_observe_mode_reports_the_same_trip_without_an_action(clock: Clock) -> None:
    policy = ReconnectPolicy(clock=clock)
    decisions = [connect(policy, Mode.OBSERVE) for _ in range(6)]
    trips = [d.trip for d in decisions if d.trip]
    assert [(t.action, t.mode) for t in trips] == [("none", Mode.OBSERVE)]


def test_quiet_left_counts_down_to_the_rearming(clock: Clock) -> None:
    policy = ReconnectPolicy(clock=clock)
    for _ in range(4):
        connect(policy)
    assert (policy.open, policy.quiet_left) == (True, 60)
    clock.now += 59
    assert policy.quiet_left == 1
    clock.now += 1
    assert (policy.open, policy.quiet_left) == (False, 0)


@given(
    gaps=st.lists(st.sampled_from([0, 1, 19, 20, 29, 30, 31, 59, 60, 61, 200]), max_size=40),
    limit=st.integers(1, 5),
)
def test_check_agrees_with_a_recount_of_all_times(gaps: list[int], limit: int) -> None:
    clock = Clock()
    guard = RoomReconnectGuard("r", limit, 60, clock=clock)
    counted: list[float] = []
    last, passed, is_open = -1e9, -1e9, False
    for gap in gaps:
        clock.now += gap
        if is_open and clock.now - last >= 60:
            is_open, counted = False, []
        was_open = is_open
        if not is_open:
            counted.append(clock.now)
            is_open = sum(clock.now - t < 60 for t in counted) >= limit
        last = clock.now
        if not was_open:
            passed = clock.now
        probes = was_open and clock.now - passed >= 60
        if probes:
            passed = clock.now
        if is_open and not probes:
            with pytest.raises(LoopDetectedError):
                guard.check()
        else:
            guard.check()


def leave_and_dial(policy: ReconnectPolicy, clock: Clock, pause: float) -> Decision:
    policy.on_leave()
    clock.now += pause
    return connect(policy)


def test_busy_colleagues_dialled_one_after_the_other_are_no_loop(clock: Clock) -> None:
    """Rings of 5 to 25 s, 2 s between. Mutant: a redial counts as a reconnect."""
    policy = ReconnectPolicy(clock=clock)
    connect(policy)
    for ring in (5, 9, 25, 5, 5, 14, 5, 5, 5):
        clock.now += ring
        decision = leave_and_dial(policy, clock, 2)
        assert (decision.signature, decision.trip) == ("room_reconnect:redial", None)


def test_the_applications_own_tight_loop_trips_at_the_tenth_redial(clock: Clock) -> None:
    policy = ReconnectPolicy(clock=clock)
    connect(policy)
    trips = []
    for number in range(1, 15):
        trip = leave_and_dial(policy, clock, 1).trip
        trips += [(number, trip)] if trip else []
    ((number, trip),) = trips
    assert number == 10
    assert (trip.signature, trip.count, trip.threshold, trip.window_seconds) == (
        "room_reconnect:redial",
        10,
        10,
        60,
    )
    assert "stay connected" in trip.reason


def test_ten_redials_in_more_than_the_window_are_no_loop(clock: Clock) -> None:
    policy = ReconnectPolicy(clock=clock)
    connect(policy)
    for _ in range(50):
        assert leave_and_dial(policy, clock, 7).trip is None


def test_redials_between_them_do_not_hide_three_reconnects(clock: Clock) -> None:
    policy = ReconnectPolicy(clock=clock)
    connect(policy)
    for _ in range(2):
        policy.on_disconnect("duplicate_identity")
        assert connect(policy).signature == "room_reconnect"
        assert leave_and_dial(policy, clock, 1).signature == "room_reconnect:redial"
    policy.on_disconnect("duplicate_identity")
    trip = connect(policy).trip
    assert trip is not None
    assert [e.detail for e in trip.evidence] == ["duplicate_identity"] * 3
    assert "identity" in trip.reason


def test_an_attempt_that_was_refused_ends_no_connection(clock: Clock) -> None:
    """What comes after it is due to what it was due to."""
    policy = ReconnectPolicy(redial_limit=2, clock=clock)
    connect(policy)
    leave_and_dial(policy, clock, 1)
    assert leave_and_dial(policy, clock, 1).verdict is Verdict.REFUSE
    for _ in range(3):
        decision = connect(policy)
        assert (decision.verdict, decision.signature) == (
            Verdict.REFUSE,
            "room_reconnect:redial",
        )


@pytest.mark.parametrize(
    ("reason", "word"),
    [
        ("duplicate_identity", "identity"),
        ("join_failure", "token"),
        ("room_deleted", "leave the room"),
        ("signal_close", "lost"),
        ("connection_timeout", "lost"),
        ("a_newer_one", "lost"),
    ],
)
def test_a_trip_says_why_and_what_to_do(clock: Clock, reason: str, word: str) -> None:
    policy = ReconnectPolicy(clock=clock)
    connect(policy)
    trip = None
    for _ in range(3):
        policy.on_disconnect(reason)
        trip = connect(policy).trip
    assert trip is not None
    assert word in trip.reason
    assert trip.reason in trip.explain()
