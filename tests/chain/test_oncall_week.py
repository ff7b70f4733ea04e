"""A week of a healthy fleet wakes nobody; a week with one of each trouble tells of each once.

The shipped rules, evaluated each minute by ``promtool`` over what a fleet exports. A few hours of
five workers here; ``SOAK_WEEK=1`` (``make soak``) makes it a week of fifty.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from tests.kit.began import began, memory
from tests.kit.fleet import AGENT, DAY, Fleet, Labels, Trouble
from tests.kit.stories import only

LONG = bool(os.environ.get("SOAK_WEEK"))
pytestmark = [pytest.mark.chain, pytest.mark.timeout(2 * 3600 if LONG else 560)]

DAYS, WORKERS, CALLS = (7.0, 50, 10_000) if LONG else (0.25, 5, 1_000)
REDIS = {"operation": "acquire", "backend": "redis"}


def labels(**found: str) -> Labels:
    return tuple(found.items())


def loop(guard: str, signature: str, mode: str) -> dict[str, str]:
    return {"agent": AGENT, "guard": guard, "signature": signature, "mode": mode}


def unstopped(guard: str, signature: str, start: int, lasts: int, rooms: int) -> Trouble:
    """Loops that trip at once and go on."""
    who = loop(guard, signature, "observe")
    trips = ("runguard.trips", "", labels(**who, action="none"))
    return Trouble(
        start,
        start + lasts,
        {trips: rooms / lasts},
        {("runguard.guards.open", labels(**who)): rooms},
    )


def stopped(guard: str, signature: str, action: str, start: int, lasts: int) -> Trouble:
    """One loop every other minute, each stopped."""
    who = labels(**loop(guard, signature, "enforce"), action=action)
    return Trouble(start, start + lasts, {("runguard.trips", "", who): 0.5})


def counted(start: int, lasts: int, a_minute: float, metric: str, suffix: str = "",
            **found: str) -> Trouble:  # fmt: skip
    return Trouble(start, start + lasts, {(metric, suffix, labels(**found)): a_minute})


def troubles(first: int, apart: int) -> dict[str, tuple[Trouble, tuple[str, ...]]]:
    """One of each class, one after the other: what it is to what is told of it, tickets first."""
    at = iter(range(first, first + 20 * apart, apart))
    cascade, echo = "track_subscribe", "vad_misfire:echo"
    return {
        "a reconnect loop that nobody stops": (
            unstopped("room_reconnect", "room_reconnect", next(at), 40, 1),
            ("page RunguardReconnectLoop room_reconnect",),
        ),
        "misfires that are stopped": (
            stopped("vad_misfire", echo, "mute_while_speaking", next(at), 30),
            ("ticket RunguardMisfireStorm vad_misfire:echo",),
        ),
        "everything is dispatched twice": (
            stopped("job_dispatch", "job_claim:refused", "refuse_job", next(at), 30),
            ("ticket RunguardDuplicateDispatch job_claim:refused",),
        ),
        "a cascade that nobody stops for half an hour": (
            unstopped(cascade, cascade, next(at), 30, 20),
            (
                f"ticket RunguardSubscriptionCascade {cascade}",
                f"page RunguardStormNotStopped {cascade}",
            ),
        ),
        "agents alone, for eight minutes": (
            unstopped("session_overrun", "session_overrun:agent_alone", next(at), 8, 20),
            ("ticket RunguardSessionOverrun session_overrun:agent_alone",),
        ),
        "the registry is away for ten minutes": (
            counted(next(at), 10, 20, "runguard.job.claim.duration", "_count", **REDIS,
                    result="error"),
            ("page RunguardClaimRegistryUnreachable",),
        ),
        "a job loses its room": (
            counted(next(at), 1, 3, "runguard.signatures", agent=AGENT, outcome="allowed",
                    signature="job_claim:lost"),
            ("page RunguardClaimLost job_claim:lost",),
        ),
        "20 USD go into loops within an hour": (
            counted(next(at), 60, 1 / 3, "runguard.cost.wasted", agent=AGENT, component="llm",
                    guard="vad_misfire"),
            ("page RunguardWasteBurnFast",),
        ),
        "a fault of ours": (
            counted(next(at), 1, 1, "runguard.internal_errors", where="Room.connect"),
            ("ticket RunguardInternalErrors",),
        ),
        "two workers of five die": (
            Trouble(at_ := next(at), at_ + 20, dead=0.4),
            ("ticket RunguardWorkersDown",),
        ),
        "all die": (
            Trouble(at_ := next(at), at_ + 20, dead=1),
            ("page RunguardTelemetryAbsent",),
        ),
    }  # fmt: skip


def test_a_healthy_fleet_wakes_nobody_and_makes_one_ticket_a_day_at_most(tmp_path: Path) -> None:
    """Mutant: without shares the noisy callers of a busy hour are a ticket in every one."""
    deploys = (1 * DAY + 600, 4 * DAY + 900) if LONG else (120,)
    days = began(tmp_path, Fleet(DAYS, WORKERS, CALLS, deploys=deploys))
    print(*days, sep="\n")
    for day in days:
        assert sum(day.values()) <= 1, days
        assert not any(alert.startswith("page") for alert in day), days


def test_one_trouble_of_each_class_is_told_once(tmp_path: Path) -> None:
    first, apart = (600, 13 * 60) if LONG else (30, 45)
    happened = troubles(first, apart)
    fleet = Fleet(
        DAYS if LONG else (first + apart * len(happened) + 60) / DAY, WORKERS, CALLS,
        troubles=tuple(trouble for trouble, _ in happened.values()),
    )  # fmt: skip
    days = began(tmp_path, fleet)
    print(*days, sep="\n")
    told = sum(days, Counter[str]())
    assert told == {alert: 1 for _, alerts in happened.values() for alert in alerts}


def test_the_week_notices_a_rule_that_forgets_shares(tmp_path: Path) -> None:
    """Two in a hundred is told, one in two hundred is not, however many they are."""
    busy = Fleet(0.15, 2, 80_000)
    slim = only(["RunguardMisfireStorm"])
    (tmp_path / "right").mkdir()
    assert began(tmp_path / "right", busy, {"rules.yml": slim}) == [Counter()]
    assert "(0.02 *" in slim
    wrong = {"rules.yml": slim.replace("(0.02 *", "(0 *")}
    assert (
        "ticket RunguardMisfireStorm vad_misfire:empty_transcript"
        in began(tmp_path, busy, wrong)[0]
    )


def test_days_in_parts_are_told_of_as_the_whole_is(tmp_path: Path) -> None:
    """A loop goes on, and workers are missed, where one part ends and the next begins."""
    cut, lasts = 480, 40
    who = (
        unstopped("track_subscribe", "track_subscribe", cut - 20, lasts, 20),
        Trouble(cut - 30, cut + 30, dead=0.5),
        Trouble(30, 60, dead=0.5),
    )
    fleet = Fleet((cut + 90) / DAY, 2, 1_000, troubles=who)
    alerts = ["RunguardSubscriptionCascade", "RunguardStormNotStopped", "RunguardWorkersDown"]
    rules = {"rules.yml": only(alerts)}
    assert 360 < memory(rules) < cut, "the second part begins after the first"
    (tmp_path / "whole").mkdir()
    (whole,) = began(tmp_path / "whole", fleet, rules)
    parts = began(tmp_path, fleet, rules, cut)
    assert whole == {
        "ticket RunguardSubscriptionCascade track_subscribe": 1,
        "page RunguardStormNotStopped track_subscribe": 1,
        "ticket RunguardWorkersDown": 2,
    }
    assert len(parts) == 2
    assert sum(parts, Counter[str]()) == whole
