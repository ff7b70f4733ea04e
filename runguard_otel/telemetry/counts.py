"""What this process has counted: one object per series, kept here and handed on to a sink.

A count is the hottest thing this package does, so it is one look-up and one call: the first
measurement of a series asks the sink for a function (:data:`~runguard_otel.telemetry.sink.Put`),
and every later one calls it.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from runguard_otel.core.verdict import Trip
from runguard_otel.telemetry.catalogue import METRICS, Kind
from runguard_otel.telemetry.series import allowed
from runguard_otel.telemetry.sink import Counted, NullSink, Sink

__all__ = ["Counts"]

_MAX_SERIES = 4096
_MAX_TRIPS = 50

Key = tuple[object, ...]

_all: weakref.WeakSet[Counts] = weakref.WeakSet()


class Counts:
    """Sums per series, bounded. Counts the same whether or not any exporter exists.

    The sink is made at the first measurement, in the process that measures: nothing may be opened
    at import or in the forkserver, and a job process learns only after ``instrument()`` where to
    send what it counts.

    Args:
        make: Makes the sink if none was set by then.
    """

    def __init__(self, make: Callable[[], Sink]) -> None:
        self._make = make
        self._sink: Sink | None = None
        self.given: dict[Key, Counted] = {}
        """Series by metric and attributes as they were given, for who counts often."""
        self._counted: dict[Key, Counted] = {}  # by the attributes as counted
        self._trips: deque[dict[str, Any]] = deque(maxlen=_MAX_TRIPS)
        self._lock = threading.RLock()
        self.lock = threading.RLock()
        """Held while one sum is changed; by every series, because it is held so shortly."""
        _all.add(self)

    def add(
        self, metric: str, value: float, attributes: Mapping[str, str], context: object | None
    ) -> None:
        """One measurement.

        Args:
            metric: A key of ``catalogue.METRICS``; its kind decides whether ``value`` is added or
                recorded.
            value: In the metric's unit.
            attributes: Short attribute names.
            context: The OpenTelemetry context whose span becomes the exemplar; ``None``: the
                current one.

        Raises:
            KeyError: If the catalogue has no such metric.
        """
        self.series(metric, attributes).put(value, context)

    def series(self, metric: str, attributes: Mapping[str, str]) -> Counted:
        """The series of these attributes, to measure by its ``put``; made if there is none.

        Args:
            metric: A key of ``catalogue.METRICS``.
            attributes: Short attribute names.

        Raises:
            KeyError: If the catalogue has no such metric.
        """
        return self.given.get((metric, *attributes.items())) or self._of(metric, attributes)

    # Where measurements go

    @property
    def sink(self) -> Sink:
        """The sink in use, made now if there is none."""
        if self._sink is None:
            with self._lock:
                if self._sink is None:
                    try:
                        self._sink = self._make()
                    except BaseException:
                        # Once is enough: each attempt may leave a thread behind.
                        self._sink = NullSink()
                        raise
        return self._sink

    @property
    def current(self) -> Sink | None:
        """The sink in use, if there is one yet."""
        return self._sink

    def use(self, sink: Sink | None) -> Sink | None:
        """Send everything to ``sink`` from now on (``None``: make one); returns the former."""
        with self._lock:
            former, self._sink = self._sink, sink
            for series in self._counted.values():
                series.put = self._first_put(series)
        return former

    def forget(self) -> None:
        """After a fork, in the child: it has counted nothing, and may not wait for a lost lock."""
        self._lock, self.lock = threading.RLock(), threading.RLock()
        for series in self._counted.values():  # kept, for there are functions bound to them
            series.total, series.touched, series.put = 0.0, False, self._first_put(series)
        self._trips.clear()

    # What people ask

    def trip(self, trip: Trip) -> None:
        """Remember a trip, without names."""
        self._trips.append(
            {
                "guard": str(trip.guard),
                "signature": trip.signature,
                "count": trip.count,
                "window_seconds": trip.window_seconds,
                "threshold": trip.threshold,
                "mode": str(trip.mode),
                "action": trip.action,
                "at": trip.at,
                "explanation": trip.explain(),
            }
        )

    def sums(self) -> Iterator[tuple[str, dict[str, str], float]]:
        """Every counter and up-down counter series: name, attributes, sum."""
        for series in self._series():
            if series.metric.kind is not Kind.HISTOGRAM:
                yield series.metric.name, dict(series.attributes), series.total

    def snapshot(self) -> dict[str, Any]:
        """Plain data: what happened, what tripped, what is open, and every metric."""
        signatures: dict[str, dict[str, float]] = {}
        guards_open: dict[str, float] = {}
        metrics: dict[str, list[dict[str, Any]]] = {}
        trips = 0.0
        for series in self._series():
            name, labels, value = series.metric.name, series.attributes, series.total
            metrics.setdefault(name, []).append({"attributes": dict(labels), "value": value})
            if name == "runguard.signatures":
                by_outcome = signatures.setdefault(labels["signature"], {})
                by_outcome[labels["outcome"]] = by_outcome.get(labels["outcome"], 0) + value
            elif name == "runguard.guards.open":
                guards_open[labels["guard"]] = guards_open.get(labels["guard"], 0) + value
            elif name == "runguard.trips":
                trips += value
        return {
            "signatures": signatures,
            "trips": trips,
            "recent_trips": list(self._trips),
            "guards_open": guards_open,
            "metrics": metrics,
        }

    # Inside

    def _series(self) -> list[Counted]:
        with self._lock:
            found = sorted(self._counted.items())
        return [series for _, series in found if series.touched]

    def _of(self, metric: str, attributes: Mapping[str, str]) -> Counted:
        """The series of these attributes; made at its first measurement."""
        counted = dict(allowed(metric, attributes))
        key = (metric, *counted.items())
        with self._lock:
            series = self._counted.get(key)
            if series is None:
                series = Counted(METRICS[metric], counted)
                series.put = self._first_put(series)
                if len(self._counted) < _MAX_SERIES:
                    self._counted[key] = series
            if len(self.given) < _MAX_SERIES:
                given = (metric, *attributes.items())
                self.given[given] = series
        return series

    def _first_put(self, series: Counted) -> Callable[[float, object | None], None]:
        """Binds the series to the sink when it is first measured, which is when one is made."""

        def put(value: float, context: object | None) -> None:
            series.touched = True
            try:
                bound = self.sink.bind(series, self.lock)
            except BaseException:
                NullSink().bind(series, self.lock)(value, context)  # at least here it is counted
                raise
            with self._lock:
                if series.put is put:  # no other thread was quicker
                    series.put = bound
                bound = series.put
            bound(value, context)

        return put


def _after_fork() -> None:
    for counts in list(_all):
        counts.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
