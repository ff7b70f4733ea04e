from __future__ import annotations

import pytest

from runguard_otel.core.breaker import Breaker, BreakerState

pytestmark = pytest.mark.unit


def test_one_trip_per_open_period() -> None:
    breaker = Breaker(quiet_seconds=60)
    assert breaker.open(0)
    assert not breaker.open(1)
    assert not breaker.open(59)


def test_quiet_re_arms_it_and_a_bad_event_starts_the_quiet_anew() -> None:
    breaker = Breaker(quiet_seconds=60)
    breaker.open(0)
    breaker.bad(59)
    assert breaker.is_open(118)
    assert not breaker.is_open(119)
    assert breaker.open(120), "a new open period makes a new trip"


def test_time_alone_does_not_close_a_breaker_without_a_quiet_window() -> None:
    breaker = Breaker()
    breaker.open(0)
    assert breaker.is_open(1e9)


def test_proof_of_health_half_opens_then_closes() -> None:
    breaker = Breaker(proofs=3)
    breaker.open(0)
    assert not breaker.healthy(1)
    assert breaker.state(1) is BreakerState.HALF_OPEN
    assert not breaker.healthy(2)
    assert breaker.healthy(3)
    assert breaker.state(3) is BreakerState.CLOSED


def test_a_bad_event_voids_the_proof_gathered_so_far() -> None:
    breaker = Breaker(proofs=2)
    breaker.open(0)
    breaker.healthy(1)
    breaker.bad(2)
    assert breaker.state(2) is BreakerState.OPEN
    assert not breaker.healthy(3)
    assert breaker.healthy(4)


def test_health_of_a_closed_breaker_means_nothing() -> None:
    assert not Breaker().healthy(0)


@pytest.mark.parametrize(("quiet", "proofs"), [(0, 1), (-1, 1), (1, 0)])
def test_a_bad_argument_is_refused(quiet: float, proofs: int) -> None:
    with pytest.raises(ValueError, match="must be"):
        Breaker(quiet, proofs)
