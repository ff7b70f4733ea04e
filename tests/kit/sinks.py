"""A sink that remembers, and a way to wait for another thread."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import cast

from opentelemetry.context import Context
from opentelemetry.trace import get_current_span


class ListSink:
    """Remembers measurements."""

    def __init__(self) -> None:
        self.got: list[tuple[str, float, dict[str, str]]] = []
        self.traces: list[int] = []

    def add(
        self, name: str, value: float, attributes: Mapping[str, str], context: object | None
    ) -> None:
        self.got.append((name, value, dict(attributes)))
        self.traces.append(get_current_span(cast("Context", context)).get_span_context().trace_id)

    def flush(self, timeout: float) -> bool:
        return True

    def total(self, name: str, **attributes: str) -> float:
        return sum(v for n, v, a in list(self.got) if n == name and attributes.items() <= a.items())


def eventually(claim: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait for another thread or process to make ``claim`` true."""
    deadline = time.monotonic() + seconds
    while not claim():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.005)
