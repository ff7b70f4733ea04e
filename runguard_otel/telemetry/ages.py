"""How old what is open is: jobs and sessions of this worker, from their beginnings."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence

from runguard_otel.telemetry.catalogue import AGES
from runguard_otel.telemetry.hub.reader import Period

__all__ = ["Ages"]

SHOWN = ("job", "session")
_BOUNDS = (60.0, 600.0, 3600.0)


class Ages:
    """A watcher of the hub's periods that answers for two gauges."""

    def __init__(self) -> None:
        self._open: dict[int, Period] = {}
        self._lock = threading.Lock()

    def __call__(self, periods: Sequence[Period], now: float) -> None:
        """Remember what is open."""
        with self._lock:
            for period in periods:
                if period.ended is not None:
                    self._open.pop(id(period), None)
                elif period.kind in SHOWN:
                    self._open[id(period)] = period

    def by_age(self) -> Iterator[tuple[float, dict[str, str]]]:
        """How many are open, by kind and age; 0 where there is none."""
        ages = self._ages()
        for kind in SHOWN:
            counts = dict.fromkeys(AGES, 0)
            for age in ages[kind]:
                counts[AGES[sum(age >= bound for bound in _BOUNDS)]] += 1
            for name, count in counts.items():
                yield count, {"period": kind, "age": name}

    def oldest(self) -> Iterator[tuple[float, dict[str, str]]]:
        """The age of the oldest, by kind, in seconds."""
        for kind, ages in self._ages().items():
            yield max(ages, default=0.0), {"period": kind}

    def _ages(self) -> dict[str, list[float]]:
        now = time.monotonic()
        with self._lock:
            found = list(self._open.values())
        return {kind: [p.seconds(now) for p in found if p.kind == kind] for kind in SHOWN}
