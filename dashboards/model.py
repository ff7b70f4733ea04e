"""A dashboard as we think of it: rows of panels, each with queries, a unit and a sentence."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

__all__ = ["COLUMNS", "Board", "Kind", "Panel", "Row", "Target", "Where"]

COLUMNS = 24
"""The width of Grafana's grid."""


class Kind(str, Enum):
    """The kinds of panels in use; all are part of Grafana itself."""

    STAT = "stat"
    TIMESERIES = "timeseries"
    TABLE = "table"
    BARGAUGE = "bargauge"
    TEXT = "text"


@dataclass(frozen=True)
class Target:
    """One query.

    Args:
        expr: PromQL.
        legend: Legend template; for a table the title of the value's column.
        instant: One value at the end of the range, not a line.
        exemplar: Whether to show exemplars, which lead to a trace.
        unit: Unit of a table's column.
    """

    expr: str
    legend: str = "__auto"
    instant: bool = False
    exemplar: bool = False
    unit: str = ""


@dataclass(frozen=True)
class Panel:
    """One panel. ``description`` is one sentence that says what it answers.

    Args:
        kind: How it is drawn.
        title: A few words.
        description: One sentence.
        unit: A Grafana unit.
        targets: The queries.
        width: In columns of the grid.
        stacked: Lines on top of each other, filled.
        bars: Bars instead of lines.
        warn: Value from which it is orange.
        bad: Value from which it is red.
        below: Red below ``bad`` instead of above.
        decimals: Digits after the point.
        to: uid of the dashboard with more about it.
        columns: Table: label to column title, in order; other labels are hidden.
        last: Table: titles of columns that come after all others.
        sort: Table: title of the column by which the largest come first.
        mappings: Table: column title to (text, shown text, colour).
        markdown: The text of a text panel.
        maximum: Upper end of the axis.
    """

    kind: Kind
    title: str
    description: str
    unit: str = "short"
    targets: tuple[Target, ...] = ()
    width: int = 12
    stacked: bool = False
    bars: bool = False
    warn: float | None = None
    bad: float | None = None
    below: bool = False
    decimals: int | None = None
    to: str = ""
    columns: tuple[tuple[str, str], ...] = ()
    last: tuple[str, ...] = ()
    sort: str = ""
    mappings: tuple[tuple[str, tuple[tuple[str, str, str], ...]], ...] = ()
    markdown: str = ""
    maximum: float | None = None


@dataclass(frozen=True)
class Row:
    """Panels side by side, of one height in grid units (38 pixels)."""

    height: int
    panels: tuple[Panel, ...]

    def __post_init__(self) -> None:
        width = sum(p.width for p in self.panels)
        if width != COLUMNS:
            raise ValueError(f"a row is {COLUMNS} columns wide, not {width}")


@dataclass(frozen=True)
class Where:
    """Position and size of a panel in the grid."""

    x: int
    y: int
    w: int
    h: int


@dataclass(frozen=True)
class Board:
    """One dashboard. ``uid`` is a promise: alerts and bookmarks point to it."""

    uid: str
    title: str
    description: str
    rows: tuple[Row, ...]
    extra: dict[str, Any] = field(default_factory=dict)

    def placed(self) -> Iterator[tuple[Panel, Where]]:
        """Panels with their places, left to right and top to bottom."""
        y = 0
        for row in self.rows:
            x = 0
            for panel in row.panels:
                yield panel, Where(x, y, panel.width, row.height)
                x += panel.width
            y += row.height
