"""The guard of recognisers that connect again and again, alone: an injected clock.

First what must never trip, then what must, each named with the change it fails for.
"""

from __future__ import annotations

import pytest

from runguard_otel.core.guards.recogniser import STT_RECONNECT, StreamPolicy
from runguard_otel.core.verdict import Mode, Subject, Verdict

pytestmark = pytest.mark.unit


class Stream:
    """One recogniser stream, its clock, and when it tripped."""

    def __init__(self, **counts: int) -> None:
        self.now = 0.0
        self.trips: list[float] = []
        self.policy = StreamPolicy(Mode.ENFORCE, clock=lambda: self.now, **counts)

    def connect(self, times: int, every: float) -> list[Verdict]:
        verdicts = []
        for _ in range(times):
            decision = self.policy.connected(Subject(room="lobby"))
            verdicts.append(decision.verdict)
            if decision.trip is not None:
                self.trips.append(self.now)
                assert decision.trip.signature == STT_RECONNECT
            self.now += every
        return verdicts


@pytest.mark.parametrize("every", [60, 120, 300])
def test_routine_idle_reconnects_of_a_recogniser(every: float) -> None:
    assert Stream().connect(100, every) == [Verdict.ALLOW] * 100


def test_a_network_that_recovers_after_four_attempts() -> None:
    stream = Stream()
    stream.connect(4, every=5)
    stream.now += 600
    stream.connect(4, every=5)
    assert stream.trips == []


def test_the_first_connection_is_no_event_and_the_next_one_is() -> None:
    stream = Stream()
    assert stream.policy.connected(Subject()).signature == ""
    assert stream.policy.connected(Subject()).signature == STT_RECONNECT


def test_a_provider_that_closes_every_twelve_seconds() -> None:
    """Fails if the count starts over whenever an attempt lived, as LiveKit's own does."""
    stream = Stream()
    verdicts = stream.connect(50, every=12)
    assert stream.trips == [48]
    assert verdicts[:5] == [*[Verdict.ALLOW] * 4, Verdict.REFUSE]
    assert set(verdicts[5:]) == {Verdict.REFUSE}


def test_genuine_speech_between_makes_them_worth_it_until_there_are_thirty() -> None:
    """Fails if speech clears nothing."""
    stream = Stream()
    for _ in range(100):
        stream.connect(1, every=21)  # 29 in ten minutes
        stream.policy.genuine()
    assert stream.trips == []


def test_thirty_in_ten_minutes_are_too_many_even_if_something_was_heard() -> None:
    """Fails if speech clears both counts."""
    stream = Stream()
    for _ in range(30):
        stream.connect(1, every=10)
        stream.policy.genuine()
    assert stream.trips == [290]


def test_genuine_speech_closes_an_open_guard() -> None:
    stream = Stream()
    assert stream.connect(6, every=1)[-1] is Verdict.REFUSE
    stream.policy.genuine()
    assert stream.connect(4, every=1) == [Verdict.ALLOW] * 4


def test_quiet_rearms() -> None:
    stream = Stream()
    stream.connect(5, every=1)
    assert stream.policy.quiet_left > 0
    stream.now += 121
    assert stream.policy.quiet_left == 0
    stream.connect(5, every=1)
    assert len(stream.trips) == 2


def test_streams_whose_rules_are_off() -> None:
    stream = Stream(reconnects=0, reconnects_at_all=0)
    stream.connect(1000, every=0.1)
    assert stream.trips == []
