"""Runs of the demonstration without a stage: the same events, made up."""

from __future__ import annotations

from typing import Any

from runguard_otel.demo.runs import Plan, Run
from runguard_otel.demo.scene import STORMS, Storm
from runguard_otel.demo.usage import Used
from runguard_otel.demo.wire import Event

__all__ = ["PLENTY", "played", "storm", "trip"]

PLENTY = Used(
    llm_calls=8, tts_characters=500, stt_sessions=2, stt_seconds=40.0, connections=3, jobs=2
)
LITTLE = Used(
    llm_calls=3, tts_characters=200, stt_sessions=1, stt_seconds=40.5, connections=1, jobs=1
)


def storm(name: str) -> Storm:
    """The storm of that name."""
    return next(one for one in STORMS if one.name == name)


def trip(guard: str, at: float = 3.0) -> Event:
    """A guard trips, with content that must not break out of the page."""
    data = {
        "guard": guard,
        "signature": guard,
        "key": f"{guard}:<room>",
        "count": 3,
        "window_seconds": 60.0,
        "threshold": 3,
        "mode": "enforce",
        "action": "refuse_connect",
        "evidence": [[guard, 2.0, "<script>"], [guard, 1.0, "<script>"], [guard, 0.0, ""]],
    }
    return Event("trip", at, f"{guard} tripped & said so", data)


def played(
    *names: str, on: Used = LITTLE, off: Used = PLENTY, tripped: bool = True, served: int = 2
) -> Plan:
    """A plan whose runs are over.

    Args:
        *names: Its storms; all by default.
        on: What the runs with guards used.
        off: What the others used.
        tripped: Whether the guards tripped.
        served: How many of the two things a user asked for were understood with guards on.
    """
    plan = Plan(tuple(s for s in STORMS if not names or s.name in names))
    for run in plan.runs:
        play(run, on if run.guards else off, tripped, served if run.guards else 2)
    return plan


def play(run: Run, used: Used, tripped: bool, served: int) -> None:
    """Feed one run from beginning to end."""

    def totals(which: Used) -> dict[str, Any]:
        return {"who": 1, **which.as_dict()}

    run.feed(Event("ready", 2.0))
    run.feed(Event("input", 2.5, 'somebody says "<b>hello</b>"'))
    run.feed(Event("used", 3.0, "", totals(Used(connections=1))))
    if run.guards:
        signature = {"signature": str(run.storm.guard), "outcome": "refused"}
        run.feed(Event("signature", 4.5, f"{run.storm.guard} refused", signature))
        if tripped:
            run.feed(trip(str(run.storm.guard), 5.0))
    run.feed(Event("served", 9.0, "", {"served": served, "of": 2}))
    run.feed(Event("used", 12.0, "", totals(used)))
    run.feed(Event("done", 12.0))
