"""What each panel shows, fetched: the numbers, lines and rows, without how they look."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from runguard_otel.preview.prometheus import Prometheus, Sample
from runguard_otel.preview.variables import builtin, filled

__all__ = ["Span", "Shown", "shown"]

_LEGEND = re.compile(r"{{\s*(\w+)\s*}}")
_STEP_LEAST = 15
_POINTS = 180


@dataclass(frozen=True)
class Span:
    """The time a page shows, unix seconds."""

    start: float
    end: float

    @property
    def step(self) -> float:
        """Seconds between two points of a line."""
        return max(_STEP_LEAST, math.ceil((self.end - self.start) / _POINTS / 5) * 5)

    @property
    def first(self) -> float:
        """The time of the first point; the last one is at the end."""
        return self.end - int(self.seconds / self.step) * self.step

    @property
    def seconds(self) -> float:
        """Its length."""
        return self.end - self.start


@dataclass
class Shown:
    """A panel with its data, ready to be drawn.

    Args:
        panel: The panel's JSON.
        series: Lines: name and one value per step, ``None`` for a gap; of a stat, one value.
        columns: Table: titles with their units.
        rows: Table: cells.
    """

    panel: Mapping[str, Any]
    series: list[tuple[str, list[float | None]]] = field(default_factory=list)
    columns: list[tuple[str, str]] = field(default_factory=list)
    rows: list[list[str | float | None]] = field(default_factory=list)

    @property
    def empty(self) -> bool:
        """Whether there is nothing to see. A text panel always has something."""
        if self.panel["type"] == "text":
            return False
        values = [v for _, points in self.series for v in points if v is not None]
        return not values and not self.rows


def shown(
    panel: Mapping[str, Any], server: Prometheus, span: Span, values: Mapping[str, str]
) -> Shown:
    """Fetch one panel.

    Raises:
        QueryError: If the server refuses a query.
        UndeclaredVariable: If a query names a variable that its dashboard does not have.
    """
    out = Shown(panel)
    names = {**builtin(span.seconds, span.step), **values}
    answers = []
    for target in panel.get("targets", []):
        expr = filled(target["expr"], names)
        if target["instant"]:
            answers.append((target, server.instant(expr, span.end)))
        else:
            answers.append((target, server.range(expr, span.first, span.end, span.step)))
    if panel["type"] == "table":
        _table(out, answers)
        return out
    for target, samples in answers:
        for sample in samples:
            points = _on_grid(sample, span) if not target["instant"] else [_last(sample)]
            out.series.append((_legend(target["legendFormat"], sample.labels), points))
    out.series.sort(key=lambda s: s[0])
    return out


def _last(sample: Sample) -> float | None:
    value = sample.points[-1][1]
    return value if math.isfinite(value) else None


def _on_grid(sample: Sample, span: Span) -> list[float | None]:
    out: list[float | None] = [None] * (int(span.seconds / span.step) + 1)
    for at, value in sample.points:
        place = round((at - span.first) / span.step)
        if 0 <= place < len(out) and math.isfinite(value):
            out[place] = value
    return out


def _legend(template: str, labels: Mapping[str, str]) -> str:
    if template == "__auto":
        return ", ".join(f"{k}={v}" for k, v in labels.items() if k != "__name__") or "value"
    return " ".join(_LEGEND.sub(lambda m: labels.get(m[1], ""), template).split()) or "value"


def _table(out: Shown, answers: list[tuple[Mapping[str, Any], list[Sample]]]) -> None:
    """Grafana's transformations ``merge`` and ``organize``, as far as our tables use them."""
    options = next(t["options"] for t in out.panel["transformations"] if t["id"] == "organize")
    order: dict[str, int] = options["indexByName"]
    names: dict[str, str] = options["renameByName"]
    merged: dict[tuple[tuple[str, str], ...], dict[str, str | float | None]] = {}
    for target, samples in answers:
        value = f"Value #{target['refId']}" if len(answers) > 1 else "Value"
        for sample in samples:
            key = tuple(sorted(sample.labels.items()))
            merged.setdefault(key, dict(key))[value] = _last(sample)
    fields = sorted((f for f in names if f in order), key=order.__getitem__)
    units = _units(out.panel)
    out.columns = [(names[f], units(names[f])) for f in fields]
    out.rows = [[row.get(f) for f in fields] for row in merged.values()]
    for order_by in reversed(out.panel["options"].get("sortBy", [])):
        place = [title for title, _ in out.columns].index(order_by["displayName"])
        out.rows.sort(key=lambda row: _rank(row[place]), reverse=order_by["desc"])


def _rank(cell: str | float | None) -> tuple[float, str]:
    """Text after numbers, nothing at the end."""
    if cell is None:
        return (-math.inf, "")
    return (0.0, cell) if isinstance(cell, str) else (cell, "")


def _units(panel: Mapping[str, Any]) -> Callable[[str], str]:
    found = {
        o["matcher"]["options"]: p["value"]
        for o in panel["fieldConfig"]["overrides"]
        for p in o["properties"]
        if p["id"] == "unit"
    }
    return lambda column: str(found.get(column, ""))
