"""What several dashboards show in the same way."""

from __future__ import annotations

from dashboards.model import Kind, Panel, Row, Target
from dashboards.queries import increase, label, legend, now, rate

__all__ = ["STOPPED", "guard_open", "how_to_read", "lines", "number", "trips_of"]

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


def number(title: str, description: str, expr: str, *, width: int = 4, **more: object) -> Panel:
    """One number at the end of the range; 0 where nothing was counted."""
    target = Target(f"{expr} or vector(0)", title, instant=True)
    return Panel(Kind.STAT, title, description, targets=(target,), width=width, **more)  # type: ignore[arg-type]  # passed on as given


def lines(title: str, description: str, *targets: Target, **more: object) -> Panel:
    """Lines over time."""
    return Panel(Kind.TIMESERIES, title, description, targets=targets, **more)  # type: ignore[arg-type]  # passed on as given


def trips_of(guard: str, width: int = 12) -> Panel:
    """Loops of one guard over time, by what was done."""
    return lines(
        "Loops found",
        "Loops this guard found per interval, by signature and by what it did.",
        Target(
            increase("runguard.trips", "signature mode action", "$__rate_interval", guard=guard),
            legend("signature", "mode", "action"),
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
        "Rooms or sessions that this guard holds as looping right now, by agent.",
        Target(now("runguard.guards.open", "agent", guard=guard), legend("agent")),
        width=width,
        decimals=0,
    )


def outcomes(signature: str, title: str, description: str, width: int = 12) -> Panel:
    """Events of some signatures by what was done with them."""
    return lines(
        title,
        description,
        Target(
            rate("runguard.signatures", "signature outcome", signature=signature),
            f"{{{{{label('signature')}}}}} {{{{{label('outcome')}}}}}",
            exemplar=True,
        ),
        unit="eps",
        width=width,
    )
