"""What several dashboards show in the same way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dashboards.model import Kind, Panel, Row, Target
from dashboards.queries import heard, increase, legend, now, owner, quantile, rate

__all__ = [
    "STOPPED", "each", "guard_open", "how_to_read", "lines", "number", "outcomes", "times",
    "trips_of"
]  # fmt: skip

STOPPED = (
    ("enforce", "stopped", "green"),
    ("observe", "NOT stopped", "red"),
)
"""What a guard's mode means to the reader."""


def how_to_read(text: str, height: int = 4) -> Row:
    """The text panel of a dashboard."""
    return Row(
        height,
        (
            Panel(
                Kind.TEXT,
                "How to read this",
                "What this dashboard answers and where to go next.",
                width=24,
                markdown=text,
            ),
        ),
    )


def number(
    title: str, description: str, expr: str, *, width: int = 4, zero: bool = True, **more: Any
) -> Panel:
    """One number at the end of the range.

    Args:
        title: A few words.
        description: One sentence.
        expr: The query.
        width: In columns of the grid.
        zero: Whether nothing means 0 where workers are heard of; else it means that nobody knows.
        **more: Further fields of the panel.
    """
    target = Target(f"{expr} or {heard()}" if zero else expr, title, instant=True)
    return Panel(Kind.STAT, title, description, targets=(target,), width=width, **more)


def lines(title: str, description: str, *targets: Target, **more: Any) -> Panel:
    """Lines over time."""
    return Panel(Kind.TIMESERIES, title, description, targets=targets, **more)


def each(
    of: Callable[..., str],
    metric: str,
    by: str = "",
    *args: str,
    words: str = "",
    exemplar: bool = False,
    **matchers: str,
) -> Target:
    """A line for every owner: cluster, service, and agent where the metric has one.

    Args:
        of: :func:`rate`, :func:`now` and the like.
        metric: A key of the catalogue.
        by: What else tells lines apart.
        *args: More for ``of``.
        words: Stand before the names in the legend.
        exemplar: Whether to show exemplars.
        **matchers: Attributes and their values.
    """
    names = owner(metric, by=by)
    text = f"{words} {legend(*names.split())}".strip()
    return Target(of(metric, names, *args, **matchers), text, exemplar=exemplar)


def times(metric: str, q: float, by: str = "", *, words: str = "") -> Target:
    """A quantile of a histogram for every owner; what goes wrong shows in the upper ones."""
    names = owner(metric, by=by)
    text = f"p{100 * q:.0f} {words} {legend(*names.split())}"
    return Target(quantile(q, metric, names), " ".join(text.split()), exemplar=q > 0.95)


def trips_of(guard: str, width: int = 12) -> Panel:
    """Loops of one guard over time, by what was done."""
    return lines(
        "Loops found",
        "Loops this guard found per interval, by signature and by what it did.",
        each(
            increase,
            "runguard.trips",
            "signature mode action",
            "$__rate_interval",
            guard=guard,
            exemplar=True,
        ),
        width=width,
        bars=True,
        stacked=True,
        decimals=0,
    )


def guard_open(guard: str, width: int = 12) -> Panel:
    """Guards of one kind that are open."""
    return lines(
        "Guards open",
        "Rooms or sessions that this guard holds as looping right now, by owner and mode.",
        each(now, "runguard.guards.open", "mode", guard=guard),
        width=width,
        decimals=0,
    )


def outcomes(signature: str, title: str, description: str, width: int = 12) -> Panel:
    """Events of some signatures by what was done with them."""
    return lines(
        title,
        description,
        each(rate, "runguard.signatures", "signature outcome", signature=signature, exemplar=True),
        unit="eps",
        width=width,
    )
