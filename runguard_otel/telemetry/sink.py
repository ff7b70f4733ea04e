"""Where measurements go: into instruments of this process, or nowhere (a job's way: ``hub``)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol, cast

from opentelemetry.context import Context
from opentelemetry.metrics import CallbackOptions, Meter, Observation

from runguard_otel.telemetry.catalogue import ATTRIBUTES, METRICS, Kind, Metric
from runguard_otel.telemetry.series import Series

__all__ = ["CountWatcher", "Counted", "MeterSink", "NullSink", "Put", "Sink"]

_SHORT = {attribute.key: name for name, attribute in ATTRIBUTES.items()}

Put = Callable[[float, "object | None"], None]
"""``put(value, context)``: one measurement of one series, with the context of its exemplar."""


class Counted:
    """One series of this process.

    Args:
        metric: Its row of the catalogue.
        attributes: Short names and values, of the closed sets.
    """

    __slots__ = ("attributes", "metric", "put", "total", "touched")

    def __init__(self, metric: Metric, attributes: dict[str, str]) -> None:
        self.metric = metric
        self.attributes = attributes
        self.total = 0.0
        """What was counted; of a histogram, how often."""
        self.touched = False
        self.put: Put = _nothing

    def tallied(self, record: Put, lock: threading.RLock) -> Put:
        """A function that adds to ``total`` and passes the measurement on to ``record``."""
        once = self.metric.kind is Kind.HISTOGRAM

        def put(value: float, context: object | None) -> None:
            with lock:
                self.total += 1 if once else value
            record(value, context)

        return put


class Sink(Protocol):
    """Takes measurements. May raise; the recorder in front of it never does."""

    def bind(self, series: Counted, lock: threading.RLock) -> Put:
        """The function that counts one series from now on.

        Args:
            series: Its ``total`` is kept by the function as well.
            lock: Held while ``total`` is changed.
        """

    def flush(self, timeout: float) -> bool:
        """Hand over what still waits, within ``timeout`` seconds; true if nothing is left."""

    def hurry(self) -> None:
        """What was just counted should be seen at once: a guard tripped. Returns at once."""


class CountWatcher(Protocol):
    """Hears of some of what a worker counts, for as long as the worker runs."""

    @property
    def metrics(self) -> frozenset[str]:
        """The names it wants to hear of."""

    @property
    def destination(self) -> str:
        """Where what it makes of them goes, in words."""

    def counted(self, metric: str, attributes: Mapping[str, str], value: float) -> None:
        """Something was counted, with short attribute names; returns at once, raises nothing."""

    def start(self, service: str, cluster: str) -> None:
        """The worker runs."""

    def stop(self, timeout: float) -> None:
        """It ends; blocks for at most ``timeout`` seconds."""


class NullSink:
    """Telemetry is off (``OTEL_SDK_DISABLED``), or nothing here would ever export it."""

    def bind(self, series: Counted, lock: threading.RLock) -> Put:
        """Only the total is kept."""
        return series.tallied(_nothing, lock)

    def flush(self, timeout: float) -> bool:
        """Nothing to hand over."""
        return True

    def hurry(self) -> None:
        """There is no one to look."""


class MeterSink:
    """Counts into the instruments of one meter, all of them made from the catalogue.

    Args:
        meter: Of a provider that lives as long as this process.
        series: Bounds the attributes.
        flush: Pushes what the provider holds; gets seconds.
        watcher: Told of what is counted.
    """

    def __init__(
        self,
        meter: Meter,
        series: Series,
        flush: Callable[[float], bool] | None = None,
        watcher: CountWatcher | None = None,
    ) -> None:
        self._meter = meter
        self._series = series
        self._flush = flush
        self._watcher = watcher
        self._record: dict[str, Callable[..., None]] = {
            m.name: _recorder(meter, m) for m in METRICS.values() if m.kind is not Kind.GAUGE
        }

    def bind(self, series: Counted, lock: threading.RLock) -> Put:
        """Count into the series' instrument."""
        return series.tallied(self.instrument(series.metric.name, series.attributes), lock)

    def instrument(self, name: str, attributes: Mapping[str, str]) -> Put:
        """A function that counts or records one measurement of a series.

        Args:
            name: A key of ``catalogue.METRICS``.
            attributes: Short attribute names.

        Raises:
            KeyError: If the catalogue has no such metric, or it is a gauge.
        """
        record, labels = self._record[name], self._series.labels(name, attributes)

        def put(value: float, context: object | None) -> None:
            record(value, labels, cast("Context | None", context))

        watcher = self._watcher
        if watcher is None or name not in watcher.metrics:
            return put
        short = {_SHORT[key]: text for key, text in labels.items()}

        def watched(value: float, context: object | None) -> None:
            put(value, context)
            watcher.counted(name, short, value)

        return watched

    def begin_at_zero(self, points: Iterable[tuple[str, Mapping[str, str]]]) -> None:
        """Export these series as 0 before anything happens; see ``series.zero_points``."""
        for name, attributes in points:
            self.instrument(name, attributes)(0, None)

    def gauge(self, name: str, read: Callable[[], float]) -> None:
        """Export ``read()``, asked at every collection, by whichever reader.

        Args:
            name: A gauge of ``catalogue.METRICS``. Gauges are asked in the order they are added,
                and before anything else is collected.
            read: Its value, in the metric's unit.
        """
        self.gauges(name, lambda: [(read(), {})])

    def gauges(
        self, name: str, read: Callable[[], Iterable[tuple[float, Mapping[str, str]]]]
    ) -> None:
        """As :meth:`gauge`, of several series: ``read()`` gives each value with its attributes."""
        metric = METRICS[name]

        def observe(_: CallbackOptions) -> Iterable[Observation]:
            return [
                Observation(value, {ATTRIBUTES[a].key: text for a, text in labels.items()})
                for value, labels in read()
            ]

        self._meter.create_observable_gauge(
            metric.name, callbacks=[observe], unit=metric.unit, description=metric.brief
        )

    def flush(self, timeout: float) -> bool:
        """Push, if this sink knows how."""
        return self._flush(timeout) if self._flush else True

    def hurry(self) -> None:
        """It is in the instruments already."""


def _nothing(value: float, context: object | None) -> None:
    return None


def _recorder(meter: Meter, metric: Metric) -> Callable[..., None]:
    common: dict[str, Any] = {"unit": metric.unit, "description": metric.brief}
    if metric.kind is Kind.COUNTER:
        return meter.create_counter(metric.name, **common).add
    if metric.kind is Kind.UPDOWN:
        return meter.create_up_down_counter(metric.name, **common).add
    return meter.create_histogram(
        metric.name, explicit_bucket_boundaries_advisory=metric.buckets, **common
    ).record
