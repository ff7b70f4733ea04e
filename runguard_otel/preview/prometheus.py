"""The few calls of Prometheus' HTTP API that a page needs. VictoriaMetrics answers them as well."""

from __future__ import annotations

import base64
import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any, Final, TypeVar

from runguard_otel.claims.redact import scrub

__all__ = ["Prometheus", "QueryError", "Sample"]


_T = TypeVar("_T")
MOST_BYTES: Final = 64 * 1024 * 1024
"""Of one answer: a whole dashboard is a few of them."""
_CHUNK: Final = 1 << 16
_NO_ANSWER: Final = (
    OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError, HTTPException
)  # fmt: skip
"""What comes of a server that is none, or of an answer that is not Prometheus'."""


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
        url: Its address, with a path if it is behind one. ``user:password@`` in it is sent as
            basic authentication and never shown.
        timeout: Seconds for one call, however slowly it answers.
    """

    url: str
    timeout: float = 15.0

    def range(self, expr: str, start: float, end: float, step: float) -> list[Sample]:
        """The series of an expression over time.

        Raises:
            QueryError: If there is no answer, or an error.
        """
        arguments = {"query": expr, "start": start, "end": end, "step": step}
        return self._get(
            "query_range", arguments, lambda data: [_sample(r, r["values"]) for r in data["result"]]
        )

    def instant(self, expr: str, at: float) -> list[Sample]:
        """The value of an expression at one time.

        Raises:
            QueryError: If there is no answer, or an error.
        """
        return self._get("query", {"query": expr, "time": at}, _momentary)

    def label_values(self, label: str, series: str, start: float, end: float) -> list[str]:
        """The values a label has in a selector.

        Raises:
            QueryError: If there is no answer, or an error.
        """
        arguments = {"match[]": series, "start": start, "end": end}
        return self._get(f"label/{label}/values", arguments, lambda data: [str(v) for v in data])

    def _get(
        self, path: str, arguments: dict[str, Any], read: Callable[[Any], list[_T]]
    ) -> list[_T]:
        shown = scrub(self.url, self.url)
        if not self.url.startswith(("http://", "https://")):
            raise QueryError(f"{shown} is not an http address")
        try:
            with urllib.request.urlopen(self._request(path, arguments), timeout=self.timeout) as it:
                return read(json.loads(self._body(it))["data"])
        except urllib.error.HTTPError as error:
            if reason := _reason(error):
                raise QueryError(f"{arguments.get('query', path)}: {reason}") from error
            raise QueryError(f"{shown} does not answer as a Prometheus: {error}") from error
        except _NO_ANSWER as error:
            why = scrub(str(error), self.url) or type(error).__name__
            raise QueryError(f"{shown} does not answer as a Prometheus: {why}") from error

    def _request(self, path: str, arguments: dict[str, Any]) -> urllib.request.Request:
        parts = urllib.parse.urlsplit(self.url)
        user, at, host = parts.netloc.rpartition("@")
        base = parts._replace(netloc=host).geturl().rstrip("/")
        query = urllib.parse.urlencode(arguments)
        request = urllib.request.Request(f"{base}/api/v1/{path}?{query}")
        if at:
            credentials = base64.b64encode(urllib.parse.unquote_to_bytes(user)).decode()
            request.add_unredirected_header("Authorization", f"Basic {credentials}")
        return request

    def _body(self, answer: Any) -> bytes:
        """The whole answer, if it is neither endless nor slower than :attr:`timeout` in all."""
        deadline, body = time.monotonic() + self.timeout, bytearray()
        while chunk := answer.read1(_CHUNK):
            body += chunk
            if len(body) > MOST_BYTES:
                raise ValueError(f"an answer of more than {MOST_BYTES >> 20} MiB")
            if time.monotonic() > deadline:
                raise TimeoutError(f"no whole answer within {self.timeout:g} s")
        return bytes(body)


def _reason(error: urllib.error.HTTPError) -> str:
    """What a Prometheus does not like; ``""`` where none answered."""
    try:
        return str(json.loads(error.read(_CHUNK))["error"])
    except _NO_ANSWER:
        return ""


def _momentary(data: Any) -> list[Sample]:
    result = data["result"]
    if result and not isinstance(result[0], dict):  # a scalar is a pair, not a list of series
        return [_sample({"metric": {}}, [result])]
    return [_sample(r, [r["value"]]) for r in result]


def _sample(row: dict[str, Any], values: list[Any]) -> Sample:
    return Sample(dict(row["metric"]), tuple((float(t), float(v)) for t, v in values))
