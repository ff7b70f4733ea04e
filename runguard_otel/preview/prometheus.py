"""The few calls of Prometheus' HTTP API that a page needs. VictoriaMetrics answers them as well."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from typing import Any

__all__ = ["Prometheus", "QueryError", "Sample"]


class QueryError(Exception):
    """The server refused a query, or did not answer. The message says which and why."""


@dataclass(frozen=True)
class Sample:
    """One series of an answer.

    Args:
        labels: Its labels, ``__name__`` included.
        points: Unix seconds and values; values may be NaN.
    """

    labels: dict[str, str]
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Prometheus:
    """A server.

    Args:
        url: Its address, with a path if it is behind one.
        timeout: Seconds for one call.
    """

    url: str
    timeout: float = 15.0

    def range(self, expr: str, start: float, end: float, step: float) -> list[Sample]:
        """The series of an expression over time.

        Raises:
            QueryError: If there is no answer, or an error.
        """
        arguments = {"query": expr, "start": start, "end": end, "step": step}
        return [_sample(r, r["values"]) for r in self._result("query_range", arguments)]

    def instant(self, expr: str, at: float) -> list[Sample]:
        """The value of an expression at one time.

        Raises:
            QueryError: If there is no answer, or an error.
        """
        result = self._result("query", {"query": expr, "time": at})
        if result and not isinstance(result[0], dict):  # a scalar is a pair, not a list of series
            return [_sample({"metric": {}}, [result])]
        return [_sample(r, [r["value"]]) for r in result]

    def label_values(self, label: str, series: str, start: float, end: float) -> list[str]:
        """The values a label has in a selector.

        Raises:
            QueryError: If there is no answer, or an error.
        """
        arguments = {"match[]": series, "start": start, "end": end}
        found: list[str] = self._get(f"label/{label}/values", arguments)
        return found

    def _result(self, path: str, arguments: dict[str, Any]) -> Any:
        return self._get(path, arguments)["result"]

    def _get(self, path: str, arguments: dict[str, Any]) -> Any:
        url = f"{self.url.rstrip('/')}/api/v1/{path}?{urllib.parse.urlencode(arguments)}"
        if not url.startswith(("http://", "https://")):
            raise QueryError(f"{self.url} is not an http address")
        try:
            with urllib.request.urlopen(url, timeout=self.timeout) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            if reason := _reason(error):
                raise QueryError(f"{arguments.get('query', path)}: {reason}") from error
            raise QueryError(f"{self.url} does not answer as a Prometheus: {error}") from error
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise QueryError(f"{self.url} does not answer as a Prometheus: {error}") from error


def _reason(error: urllib.error.HTTPError) -> str:
    """What a Prometheus does not like; ``""`` where none answered."""
    try:
        return str(json.load(error)["error"])
    except (ValueError, LookupError, TypeError):
        return ""


def _sample(row: dict[str, Any], values: list[Any]) -> Sample:
    return Sample(dict(row["metric"]), tuple((float(t), float(v)) for t, v in values))
