"""``runguard-otel cost top`` without a Prometheus: the same questions, asked of journals."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from runguard_otel.cli.cost.top import DAYS, QUESTIONS, Question, Row
from runguard_otel.journal.reading import History
from runguard_otel.telemetry.catalogue import prometheus_label

__all__ = ["ANSWERED", "answer"]

_DAY: Final = 86_400.0
_SHORT: Final = {
    prometheus_label(name): name
    for name in ("component", "provider", "model", "signature", "agent", "guard")
}
ANSWERED: Final = tuple(q for q in QUESTIONS if set(q.labels) <= set(_SHORT))
"""Questions that a journal can answer: it does not say which service its worker belongs to."""


def answer(
    histories: Iterable[History], question: Question, *, at: float, rows: int = 10
) -> list[Row]:
    """The lines of one table, dearest first.

    Args:
        histories: Recorded calls.
        question: What to ask.
        at: Unix seconds of the end of today's 24 hours.
        rows: How many lines at most.
    """
    found: dict[tuple[str, ...], list[float]] = {}
    for history in histories:
        agent = str(history.header.get("agent", ""))
        for row in history.rows():
            trip = row["e"] == "trip" and question.metric == "runguard.trips"
            if not trip and row.get("metric") != question.metric:
                continue
            age = at - history.wall(float(row["t"]))
            if not 0 <= age < (DAYS + 1) * _DAY:
                continue
            facts = {"agent": agent, **row}
            names = tuple(str(facts.get(_SHORT[label], "")) for label in question.labels)
            sums = found.setdefault(names, [0.0, 0.0])
            sums[age >= _DAY] += 1.0 if trip else float(row["amount"])
    lines = [Row(names, today, before / DAYS) for names, (today, before) in found.items()]
    return sorted(lines, key=lambda row: (-row.today, row.names))[:rows]
