"""Where counts of the tests go: a list instead of instruments; and a way to wait for a thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import cast

from opentelemetry.context import Context
from opentelemetry.trace import get_current_span

from runguard_otel.telemetry.counts import Counts
from runguard_otel.telemetry.hub.client import HubSink
from runguard_otel.telemetry.sink import Put


class ListSink:
    """Remembers what was handed on; ``instrument`` is what a hub binds to."""

    def __init__(self) -> None:
        self.got: list[tuple[str, float, dict[str, str]]] = []
        self.traces: list[int] = []

    def instrument(self, name: str, attributes: dict[str, str]) -> Put:
        def put(value: float, context: object | None) -> None:
            self.got.append((name, value, dict(attributes)))
            span = get_current_span(cast("Context", context)).get_span_context()
            self.traces.append(span.trace_id)

        return put

    def total(self, name: str, **attributes: str) -> float:
        return sum(v for n, v, a in list(self.got) if n == name and attributes.items() <= a.items())


class Job:
    """A job's counts, as its recorder makes them, on their way to a hub.

    Args:
        sink: The way: a block or records.
    """

    def __init__(self, sink: HubSink) -> None:
        self.sink = sink
        self.counts = Counts(lambda: sink)

    def add(self, metric: str, value: float = 1, /, **attributes: str) -> None:
        self.counts.add(metric, value, attributes, None)

    def many(self, number: int) -> None:
        for _ in range(number):
            self.add("runguard.signatures", 1, signature="room_reconnect")

    def in_threads(self, threads: int, each: int) -> None:
        running = [threading.Thread(target=self.many, args=(each,)) for _ in range(threads)]
        for thread in running:
            thread.start()
        for thread in running:
            thread.join()


def eventually(claim: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait for another thread or process to make ``claim`` true."""
    deadline = time.monotonic() + seconds
    while not claim():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.005)
