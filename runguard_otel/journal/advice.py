"""Which thresholds? What recorded calls would have seen at each value, and which one to take.

For every threshold that is tried, all calls are replayed. Whether a call was a storm or a healthy
one is not known; but what a trip stopped is: a call in which genuine speech, or another sign of
life, followed soon after the trip was touched while somebody was there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from runguard_otel.core.signatures import GuardName
from runguard_otel.journal.money import Money, saved
from runguard_otel.journal.reading import History
from runguard_otel.journal.replay import Replayed, Tripped, replay
from runguard_otel.settings import Settings

__all__ = ["LEAST_CALLS", "LEAST_TRIPS", "TRIED", "Advice", "Choice", "advise"]

LEAST_CALLS: Final = 50
"""Calls below which nothing is proposed."""
LEAST_TRIPS: Final = 5
"""Calls that trip at some value, below which nothing is proposed: too rare to judge by."""
SOON_SECONDS: Final = 15.0
"""A sign of life within this time after a trip makes it look false; of a trip that would end the
job, at any time."""

TRIED: Final[Mapping[str, tuple[float, ...]]] = {
    "vad_misfire_limit": (3, 4, 5, 6, 8, 10),
    "vad_misfire_min_confidence": (0.3, 0.4, 0.5, 0.6, 0.7),
    "room_reconnect_limit": (2, 3, 4, 5, 8),
    "track_subscribe_limit": (2, 3, 4, 6, 8),
    "session_overrun_left_seconds": (10, 20, 30, 60, 120, 300),
    "session_overrun_silent_seconds": (120, 300, 600, 1200),
    "session_overrun_stt_reconnects": (3, 5, 8, 12),
}
"""Setting: the values that are tried, the most eager one first (of the confidence: the last)."""


@dataclass
class Choice:
    """One value of one threshold, over all calls.

    Args:
        value: The value.
        trips: How often it trips.
        calls: In how many calls.
        touched: In how many of them somebody was there soon after.
        dollars: What acting would have saved in the others.
    """

    value: float
    trips: int = 0
    calls: int = 0
    touched: int = 0
    dollars: float = 0.0


@dataclass
class Advice:
    """What is proposed for one threshold.

    Args:
        setting: Its name.
        now: Its value, in the calls that were recorded.
        proposed: The value to take; ``None``: there is too little to tell by.
        why: In words.
        choices: The trade-off.
        nearest: The calls that come nearest to a false trip at the proposed value: look at them.
    """

    setting: str
    now: float
    proposed: float | None
    why: str
    choices: list[Choice] = field(default_factory=list)
    nearest: list[str] = field(default_factory=list)


def advise(histories: Sequence[History], settings: Sequence[str] = tuple(TRIED)) -> list[Advice]:
    """What to set each threshold to.

    Args:
        histories: Recorded calls, best of a week in observe: a guard that acts changes the rest.
        settings: Which thresholds.
    """
    alive = {id(history): _alive(history) for history in histories}
    bills = {id(history): Money.of(history) for history in histories}
    return [_advise(name, histories, alive, bills) for name in settings]


def _advise(
    name: str,
    histories: Sequence[History],
    alive: Mapping[int, Sequence[float]],
    bills: Mapping[int, Money],
) -> Advice:
    guard = next(str(g) for g in GuardName if name.startswith(str(g)))
    live = histories[0].settings() if histories else Settings()
    now = float(getattr(live, name))
    values = sorted({*TRIED[name], now} - {0.0})
    if len(histories) < LEAST_CALLS:
        why = f"{len(histories)} calls are too few to tell by: {LEAST_CALLS} at least"
        return Advice(name, now, None, why)
    choices, false = [], dict[float, list[str]]()
    for value in values:
        choice = Choice(value)
        for history in histories:
            call = replay(history, {name: _as_set(live, name, value)})
            trips = [trip for trip in call.now if trip.guard == guard]
            if trips:
                _count(choice, call, trips, alive[id(history)], bills[id(history)], false)
        choices.append(choice)
    return _proposal(name, now, choices, false)


def _count(
    choice: Choice,
    call: Replayed,
    trips: Sequence[Tripped],
    alive: Sequence[float],
    bill: Money,
    false: dict[float, list[str]],
) -> None:
    soon = math.inf if trips[0].guard == GuardName.SESSION_OVERRUN else SOON_SECONDS
    choice.trips += len(trips)
    choice.calls += 1
    if any(0 < at - trip.at <= soon for trip in trips for at in alive):
        choice.touched += 1
        false.setdefault(choice.value, []).append(call.history.job)
    else:
        choice.dollars += saved(bill, call.acted, trips).get(trips[0].guard, 0.0)


def _proposal(
    name: str, now: float, choices: list[Choice], false: Mapping[float, list[str]]
) -> Advice:
    most = max((choice.calls for choice in choices), default=0)
    if most < LEAST_TRIPS:
        why = (
            f"at no value more than {most} calls trip: too few to tell by ({LEAST_TRIPS} at least)"
        )
        return Advice(name, now, None, why, choices)
    unhurt = [choice for choice in choices if not choice.touched]
    if not unhurt:
        why = "at every value that was tried somebody was there soon after a trip: stay in observe"
        return Advice(name, now, None, why, choices)
    # Most storms stopped without a caller touched; of equals the one that dollars tell for, then
    # the one that is least eager.
    eager = name == "vad_misfire_min_confidence"
    best = max(unhurt, key=lambda c: (c.calls, round(c.dollars, 6), -c.value if eager else c.value))
    if not best.calls:
        why = (
            "whatever trips touches callers: stay in observe, and look at the calls that are named"
        )
        return Advice(name, now, None, why, choices, _nearest(choices, best.value, false))
    why = f"stops {best.calls} calls, and nobody was there soon after any of its trips"
    return Advice(name, now, best.value, why, choices, _nearest(choices, best.value, false))


def _nearest(choices: list[Choice], value: float, false: Mapping[float, list[str]]) -> list[str]:
    """Calls that a value next to the proposed one would have touched."""
    touching = sorted((c.value for c in choices if c.touched), key=lambda v: abs(v - value))
    return false[touching[0]][:5] if touching else []


def _alive(history: History) -> list[float]:
    """When somebody was certainly there, in seconds since the beginning."""
    began = float(history.header["t"])
    return [
        row["t"] - began
        for row in history.inputs()
        if (row.get("op") == "final" and row.get("kind", "genuine") == "genuine")
        or (row.get("op") == "callers" and row.get("callers"))
        or row.get("op") == "active"
    ]


def _as_set(live: Settings, name: str, value: float) -> Any:
    whole = isinstance(getattr(live, name), int)
    return int(value) if whole else value
