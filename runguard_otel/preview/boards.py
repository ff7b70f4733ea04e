"""Whole dashboards, fetched: panels, chosen variables and the alerts that fired."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runguard_otel.preview.panels import Shown, Span, shown
from runguard_otel.preview.prometheus import Prometheus
from runguard_otel.preview.variables import builtin, chosen, filled

__all__ = ["Fetched", "fetch", "shipped"]

_AT_ONCE = 4
_FIRST = "runguard-overview"


@dataclass(frozen=True)
class Fetched:
    """A dashboard with its data.

    Args:
        board: The dashboard's JSON.
        panels: In its order.
        variables: Name to chosen value and possible values.
        alerts: Title, start and end of what fired, unix seconds.
    """

    board: Mapping[str, Any]
    panels: tuple[Shown, ...]
    variables: Mapping[str, tuple[str, list[str]]]
    alerts: tuple[tuple[str, float, float], ...]


def shipped(folder: Path) -> list[dict[str, Any]]:
    """The dashboards that ship with this package, the overview first."""
    found = [json.loads(p.read_text(encoding="utf-8")) for p in sorted(folder.glob("*.json"))]
    return sorted(found, key=lambda b: (b["uid"] != _FIRST, b["title"]))


def fetch(
    board: Mapping[str, Any], server: Prometheus, span: Span, wanted: Mapping[str, str]
) -> Fetched:
    """Ask the server for everything a dashboard shows.

    Raises:
        QueryError: If the server refuses a query or does not answer.
        UndeclaredVariable: If an expression names a variable that the dashboard does not have.
    """
    variables = chosen(board, server, (span.start, span.end), wanted)
    values = {name: value for name, (value, _) in variables.items()}
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        panels = tuple(pool.map(lambda p: shown(p, server, span, values), board["panels"]))
    return Fetched(board, panels, variables, tuple(_alerts(board, server, span, values)))


def _alerts(
    board: Mapping[str, Any], server: Prometheus, span: Span, values: Mapping[str, str]
) -> Iterator[tuple[str, float, float]]:
    for annotation in board["annotations"]["list"]:
        expr = filled(annotation["expr"], {**builtin(span.seconds, span.step), **values})
        for sample in server.range(expr, span.first, span.end, span.step):
            times = [at for at, _ in sample.points]
            yield sample.labels.get("alertname", annotation["name"]), min(times), max(times)
