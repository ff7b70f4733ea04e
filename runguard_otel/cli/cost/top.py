"""``runguard-otel cost top``: what costs most today, next to the usual day."""

from __future__ import annotations

import time
from typing import Final, NamedTuple, Protocol

from rich.markup import escape
from rich.table import Table

from runguard_otel.preview.prometheus import Sample
from runguard_otel.telemetry.catalogue import METRICS, prometheus_label, prometheus_name

__all__ = ["QUESTIONS", "Question", "Row", "ask", "table"]

DAYS: Final = 7


class Server(Protocol):
    """What answers: ``preview.prometheus.Prometheus``."""

    def instant(self, expr: str, at: float) -> list[Sample]:
        """The value of an expression at one time."""


class Question(NamedTuple):
    """One table.

    Args:
        title: Its heading.
        metric: A counter of the catalogue.
        labels: What its rows are told apart by, as Prometheus names it.
        unit: ``$`` for money, else what is counted.
    """

    title: str
    metric: str
    labels: tuple[str, ...]
    unit: str


_COMPONENT, _PROVIDER, _MODEL, _SIGNATURE, _AGENT, _GUARD = map(
    prometheus_label, ("component", "provider", "model", "signature", "agent", "guard")
)

QUESTIONS: Final = (
    Question("Which service", "runguard.cost.estimated", ("service_name",), "$"),
    Question("Which component", "runguard.cost.estimated", (_COMPONENT, _PROVIDER, _MODEL), "$"),
    Question("Which loop wastes", "runguard.cost.wasted", (_GUARD, _COMPONENT), "$"),
    Question("Which agent, which signature", "runguard.trips", (_AGENT, _SIGNATURE), "trips"),
)


class Row(NamedTuple):
    """One line: what, today, and on the usual day."""

    names: tuple[str, ...]
    today: float
    usual: float


def ask(
    server: Server, question: Question, *, at: float | None = None, rows: int = 10
) -> list[Row]:
    """The lines of one table, dearest first.

    Args:
        server: Where the metrics are.
        question: What to ask.
        at: Unix seconds of the end of today's 24 hours; now by default.
        rows: How many lines at most.

    Raises:
        QueryError: If the server does not answer.
    """
    end, by = time.time() if at is None else at, ", ".join(question.labels)
    name = prometheus_name(question.metric)
    if "vantage" in METRICS[question.metric].attributes:
        name += f'{{{prometheus_label("vantage")}=""}}'  # a server shows the same once more
    today = f"sum by ({by}) (increase({name}[1d]))"
    # Of the days that there are: a week divided by seven is too little in the first week.
    usual = f"avg_over_time(({today})[{DAYS}d:1d] offset 1d)"
    found: dict[tuple[str, ...], list[float]] = {}
    for column, expr in enumerate((today, usual)):
        for sample in server.instant(expr, end):
            names = tuple(sample.labels.get(label, "") for label in question.labels)
            value = sample.points[-1][1] if sample.points else 0.0
            found.setdefault(names, [0.0, 0.0])[column] = value if value == value else 0.0
    lines = [Row(names, *values) for names, values in found.items() if any(values)]
    return sorted(lines, key=lambda row: (-row.today, row.names))[:rows]


def table(question: Question, rows: list[Row]) -> Table:
    """The lines for a terminal."""
    shown = Table(title=question.title, title_justify="left")
    for label in question.labels:
        shown.add_column(label.removeprefix("runguard_").removeprefix("gen_ai_"))
    for heading in ("today", "usual day", "change"):
        shown.add_column(heading, justify="right")
    for row in rows:
        change = f"{row.today / row.usual:.1f} x" if row.usual else "new"
        money = [_figure(value, question.unit) for value in (row.today, row.usual)]
        shown.add_row(*(escape(name or "-") for name in row.names), *money, change)
    return shown


def _figure(value: float, unit: str) -> str:
    return f"${value:,.2f}" if unit == "$" else f"{value:,.0f}"
