"""The misfire guard trips on a storm of any mix, once, and never at the cost of a real user."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runguard_otel.core.guards.misfire import (
    MisfireDecision,
    MisfireGuard,
    MisfireKind,
    MisfirePolicy,
)
from runguard_otel.core.verdict import Mode, Subject, Verdict

pytestmark = pytest.mark.unit

EMPTY = ("", None, False)
LOW = ("uh", 0.1, False)
UNSURE = ("maybe so", 0.45, False)
ECHO = ("your table is booked", 0.9, True)
GENUINE = ("a table for two please", 0.9, False)
Result = tuple[str, float | None, bool]


class Storm:
    """A guard and a clock that moves ten seconds per result."""

    def __init__(self, policy: MisfirePolicy | None = None, mode: Mode = Mode.ENFORCE) -> None:
        self.now = 1000.0
        self.guard = MisfireGuard(policy, subject=Subject(room="r"), mode=mode)

    def hear(self, *results: Result, seconds: float = 10.0) -> MisfireDecision:
        for text, confidence, echo in results:
            self.now += seconds
            decision = self.guard.on_final(text, confidence, echo=echo, now=self.now)
        return decision


@pytest.mark.parametrize(
    "mix",
    [
        [EMPTY] * 5,
        [LOW] * 5,
        [UNSURE] * 5,
        [ECHO] * 5,
        [EMPTY, LOW, EMPTY, LOW, EMPTY],
        [UNSURE, EMPTY, ECHO, LOW, ECHO],
    ],
)
def test_five_misfires_of_any_mix_trip_once(mix: list[Result]) -> None:
    storm = Storm()
    decisions = [storm.hear(result) for result in mix + mix]
    assert [d.trip is not None for d in decisions] == [False] * 4 + [True] + [False] * 5
    trip = decisions[4].trip
    assert trip is not None
    assert (trip.count, trip.threshold, trip.window_seconds) == (5, 5, 120)
    assert trip.subject == Subject(room="r")
    assert [e.seconds_before for e in trip.evidence] == [40, 30, 20, 10, 0]
    assert trip.evidence[-1].signature == trip.signature == decisions[4].signature
    assert trip.explain().startswith("vad_misfire tripped: 5 x vad_misfire:")


def test_one_genuine_result_between_starts_the_row_anew() -> None:
    storm = Storm()
    assert not storm.hear(EMPTY, EMPTY, EMPTY, EMPTY, GENUINE, EMPTY, EMPTY, EMPTY, EMPTY).open
    assert storm.hear(EMPTY).trip is not None


def test_five_misfires_over_more_than_the_window_do_not_trip() -> None:
    storm = Storm()
    assert storm.hear(*[EMPTY] * 5, seconds=30.0).trip is not None, "exactly 120 s is inside"
    storm = Storm()
    assert not storm.hear(*[EMPTY] * 12, seconds=30.1).open


def test_blank_results_and_results_below_the_floor_never_pass() -> None:
    for result in (EMPTY, (" \t", 0.9, False), LOW, ("uh", 0.0, False)):
        assert Storm().hear(result).verdict is Verdict.SUPPRESS


def test_the_first_unsure_result_of_a_row_passes_and_counts() -> None:
    storm = Storm()
    first, second = storm.hear(UNSURE), storm.hear(UNSURE)
    assert (first.verdict, second.verdict) == (Verdict.ALLOW, Verdict.SUPPRESS)
    assert first.signature == "vad_misfire:low_confidence"
    assert storm.guard.in_a_row == 2
    storm.hear(GENUINE)
    assert storm.hear(UNSURE).verdict is Verdict.ALLOW, "a new row, a new chance"


def test_an_unsure_result_passes_again_after_a_quiet_window() -> None:
    """A soft-spoken user is not silenced for the rest of a long call."""
    storm = Storm()
    storm.hear(UNSURE)
    assert storm.hear(UNSURE, seconds=120).verdict is Verdict.ALLOW


def test_unsure_results_that_join_words_let_through_pass_and_count_once() -> None:
    """Half a turn is another turn: 'please cancel', and not what."""
    for first in (GENUINE, UNSURE):
        storm = Storm()
        storm.hear(first)
        for _ in range(6):
            storm.now += 1
            joined = storm.guard.on_final(*LOW[:2], joins=True, now=storm.now)
            assert (joined.verdict, joined.open) == (Verdict.ALLOW, False)
            assert joined.signature == "vad_misfire:low_confidence"
        assert storm.guard.in_a_row == 1


def test_one_that_joins_may_trip_and_passes_even_so() -> None:
    storm = Storm()
    storm.hear(GENUINE, EMPTY, EMPTY, EMPTY, EMPTY)
    trips = []
    for _ in range(2):
        joined = storm.guard.on_final(*LOW[:2], joins=True, now=storm.now)
        assert (joined.verdict, joined.open) == (Verdict.ALLOW, True)
        trips.append(joined.trip is not None)
    assert trips == [True, False]
    assert storm.hear(LOW).verdict is Verdict.SUPPRESS, "another turn"


@pytest.mark.parametrize("result", [EMPTY, ECHO])
def test_blanks_and_echoes_join_nothing(result: Result) -> None:
    storm = Storm()
    storm.hear(GENUINE, ECHO)
    text, confidence, echo = result
    joined = storm.guard.on_final(text, confidence, echo=echo, joins=True, now=storm.now)
    assert joined.verdict is Verdict.SUPPRESS


def test_a_user_may_repeat_the_agents_words_once() -> None:
    storm = Storm()
    assert storm.hear(ECHO).verdict is Verdict.ALLOW
    assert storm.hear(ECHO).verdict is Verdict.SUPPRESS


def test_an_echo_below_the_floor_does_not_pass() -> None:
    assert Storm().hear(("your table is booked", 0.2, True)).verdict is Verdict.SUPPRESS


def test_while_open_only_genuine_speech_passes_and_one_such_result_closes() -> None:
    storm = Storm()
    storm.hear(*[EMPTY] * 5)
    assert storm.hear(UNSURE).verdict is Verdict.SUPPRESS
    assert storm.hear(ECHO).verdict is Verdict.SUPPRESS
    closing = storm.hear(GENUINE)
    assert (closing.verdict, closing.closed, closing.open) == (Verdict.ALLOW, True, False)
    assert storm.hear(UNSURE).verdict is Verdict.ALLOW


def test_an_unknown_confidence_is_genuine_unless_it_is_an_echo() -> None:
    storm = Storm()
    assert storm.hear(("yes", None, False)).kind is MisfireKind.GENUINE
    assert storm.hear(("your table is booked", None, True)).kind is MisfireKind.ECHO


def test_a_quiet_window_re_arms_an_open_guard() -> None:
    storm = Storm()
    storm.hear(*[EMPTY] * 5)
    assert storm.guard.is_open(storm.now + 119.9)
    assert not storm.guard.is_open(storm.now + 120)
    storm.now += 120
    assert storm.hear(*[EMPTY] * 5).trip is not None


def test_only_an_echo_storm_asks_to_mute_and_three_clean_turns_end_it() -> None:
    storm = Storm()
    trip = storm.hear(EMPTY, ECHO, ECHO, EMPTY, ECHO).trip
    assert trip is not None
    assert trip.action == "mute_while_speaking"
    for _ in range(2):
        storm.guard.next_turn()
        storm.hear(GENUINE, GENUINE)
        assert storm.guard.mutes(storm.now)
    storm.guard.next_turn()
    storm.hear(GENUINE)
    assert not storm.guard.mutes(storm.now)


def test_an_echo_voids_the_clean_turns_before_it() -> None:
    storm = Storm()
    storm.hear(*[ECHO] * 5, GENUINE)
    storm.guard.next_turn()
    storm.hear(GENUINE, ECHO)
    for n in range(3):
        assert storm.guard.mutes(storm.now), n
        storm.guard.next_turn()
        storm.hear(GENUINE)
    assert not storm.guard.mutes(storm.now)


def test_a_storm_with_a_minority_of_echoes_only_suppresses() -> None:
    storm = Storm()
    trip = storm.hear(EMPTY, ECHO, EMPTY, LOW, ECHO).trip
    assert trip is not None
    assert trip.action == "suppress"
    assert not storm.guard.mutes(storm.now)


def test_in_observe_mode_the_trip_says_that_nothing_was_done() -> None:
    trip = Storm(mode=Mode.OBSERVE).hear(*[EMPTY] * 5).trip
    assert trip is not None
    assert trip.action == "none"
    assert "observed only" in trip.explain()


ANY = st.lists(st.sampled_from([EMPTY, LOW, UNSURE, ECHO, GENUINE]), max_size=40)


@given(results=ANY, gaps=st.lists(st.floats(0, 90), min_size=40, max_size=40))
@settings(max_examples=200)
def test_promises_hold_for_any_sequence(results: list[Result], gaps: list[float]) -> None:
    """Genuine speech always passes; a trip comes on the fifth of a row, once per open period."""
    storm = Storm()
    row: list[float] = []
    was_open = False
    for result, gap in zip(results, gaps, strict=False):
        decision = storm.hear(result, seconds=gap)
        if result is GENUINE:
            assert decision.verdict is Verdict.ALLOW
            assert not decision.open
            row.clear()
        else:
            row.append(storm.now)
            within = len(row) >= 5 and row[-1] - row[-5] <= 120
            assert (decision.trip is not None) == (within and not was_open)
            if was_open:
                assert decision.verdict is Verdict.SUPPRESS
        was_open = decision.open
