"""Grafana's variables in an expression, replaced as Grafana would."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from runguard_otel.preview.prometheus import Prometheus, QueryError

__all__ = ["UndeclaredVariable", "builtin", "chosen", "filled"]

_VARIABLE = re.compile(r"\$\{(\w+)(?::\w+)?\}|\$(\w+)")
_LABEL_VALUES = re.compile(r"label_values\((?:(.+),\s*)?(\w+)\)")
_SCRAPE_SECONDS = 15


class UndeclaredVariable(Exception):
    """An expression names a variable that its dashboard does not have."""


def builtin(seconds: float, step: float) -> dict[str, str]:
    """Grafana's own variables for a range and a step, both in seconds."""
    rate = max(step + _SCRAPE_SECONDS, 4 * _SCRAPE_SECONDS)
    return {
        "__interval": f"{step:.0f}s",
        "__rate_interval": f"{rate:.0f}s",
        "__range": f"{seconds:.0f}s",
        "__range_s": f"{seconds:.0f}",
    }


def filled(expr: str, values: Mapping[str, str]) -> str:
    """The expression with its variables replaced.

    Raises:
        UndeclaredVariable: If it names one that is not in ``values``.
    """

    def value(found: re.Match[str]) -> str:
        name = found[1] or found[2]
        if name not in values:
            raise UndeclaredVariable(f"${name} in {expr}")
        return values[name]

    return _VARIABLE.sub(value, expr)


def _quoted(value: str) -> str:
    """A value as a regular expression inside a PromQL string."""
    return re.sub(r"([\\.*+?()\[\]{}|^$])", r"\\\\\1", value).replace('"', '\\"')


def chosen(
    board: Mapping[str, Any],
    server: Prometheus,
    span: tuple[float, float],
    wanted: Mapping[str, str],
) -> dict[str, tuple[str, list[str]]]:
    """Each variable of a dashboard: its value, and the values it could have.

    Args:
        board: The dashboard's JSON.
        server: Answers what there is.
        span: Start and end, unix seconds.
        wanted: Values that the user chose; ``All`` for the rest.

    Raises:
        QueryError: If the server refuses.
        UndeclaredVariable: If a variable's query names one that comes after it.
    """
    out: dict[str, tuple[str, list[str]]] = {}
    for variable in board["templating"]["list"]:
        name = variable["name"]
        if variable["type"] == "datasource":
            out[name] = ("prometheus", [])
            continue
        query = filled(variable["query"]["query"], {k: v[0] for k, v in out.items()})
        parts = _LABEL_VALUES.fullmatch(query)
        if parts is None:
            raise QueryError(f"variable {name}: {query} is not label_values(series, label)")
        there = server.label_values(parts[2], parts[1] or "{__name__=~'.+'}", *span)
        out[name] = (_quoted(wanted.get(name, "")) or variable["allValue"], there)
    return out
