"""What this process has counted so far, for people (``RunGuard.snapshot()``) and for replay."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

from runguard_otel.core.verdict import Trip
from runguard_otel.telemetry.catalogue import METRICS, Kind
from runguard_otel.telemetry.series import allowed

__all__ = ["Tally"]

Key = tuple[str, tuple[tuple[str, str], ...]]

_MAX_SERIES = 4096
_MAX_TRIPS = 50


class Tally:
    """Sums per series, bounded. Counts the same whether or not any exporter exists."""

    def __init__(self) -> None:
        self._sums: dict[Key, float] = {}
        self._keys: dict[Key, Key] = {}  # as given -> as counted
        self._trips: deque[dict[str, Any]] = deque(maxlen=_MAX_TRIPS)
        self._lock = threading.Lock()  # held for one dictionary operation

    def add(self, name: str, value: float, attributes: Mapping[str, str]) -> None:
        """Add to one series; histograms count their observations."""
        if METRICS[name].kind is Kind.HISTOGRAM:
            value = 1
        given = (name, tuple(attributes.items()))
        key = self._keys.get(given)
        if key is None:
            key = (name, tuple(allowed(name, attributes)))
            if len(self._keys) < _MAX_SERIES:
                self._keys[given] = key
        with self._lock:
            if key in self._sums or len(self._sums) < _MAX_SERIES:
                self._sums[key] = self._sums.get(key, 0) + value

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
        with self._lock:
            items = list(self._sums.items())
        for (name, labels), value in items:
            if METRICS[name].kind is not Kind.HISTOGRAM:
                yield name, dict(labels), value

    def snapshot(self) -> dict[str, Any]:
        """Plain data: what happened, what tripped, what is open, and every metric."""
        signatures: dict[str, dict[str, float]] = {}
        guards_open: dict[str, float] = {}
        metrics: dict[str, list[dict[str, Any]]] = {}
        trips = 0.0
        with self._lock:
            items = sorted(self._sums.items())
        for (name, labels), value in items:
            named = dict(labels)
            metrics.setdefault(name, []).append({"attributes": named, "value": value})
            if name == "runguard.signatures":
                by_outcome = signatures.setdefault(named["signature"], {})
                by_outcome[named["outcome"]] = by_outcome.get(named["outcome"], 0) + value
            elif name == "runguard.guards.open":
                guards_open[named["guard"]] = guards_open.get(named["guard"], 0) + value
            elif name == "runguard.trips":
                trips += value
        return {
            "signatures": signatures,
            "trips": trips,
            "recent_trips": list(self._trips),
            "guards_open": guards_open,
            "metrics": metrics,
        }
