"""The oldest open call, from what jobs show their worker, without names."""

from __future__ import annotations

import time

import pytest

from runguard_otel.telemetry.ages import Ages
from runguard_otel.telemetry.hub.reader import Period

pytestmark = pytest.mark.unit


def test_what_is_open_by_age_and_how_old_the_oldest_is() -> None:
    """Fails if what has ended is still counted, or if a period counts at each look again."""
    ages, now = Ages(), time.monotonic()
    young, old = Period("job", {}, now - 10), Period("job", {}, now - 4000)
    session = Period("session", {}, now - 700)
    for _ in range(2):
        ages([young, old, session, Period("connection", {}, now - 9000)], now)
    found = {(a["period"], a["age"]): n for n, a in ages.by_age()}
    assert found[("job", "under_1m")] == found[("job", "older")] == 1
    assert found[("session", "under_1h")] == 1
    assert sum(found.values()) == 3
    oldest = {a["period"]: n for n, a in ages.oldest()}
    assert oldest == {"job": pytest.approx(4000, abs=5), "session": pytest.approx(700, abs=5)}
    old.ended = now
    ages([young, old, session], now)
    oldest = {a["period"]: n for n, a in ages.oldest()}
    assert oldest["job"] == pytest.approx(10, abs=5)
