"""Where measurements go: into instruments of this process, or nowhere."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol, cast

from opentelemetry.context import Context
from opentelemetry.metrics import CallbackOptions, Meter, Observation

from runguard_otel.telemetry.catalogue import METRICS, Kind, Metric
from runguard_otel.telemetry.series import Series

__all__ = ["LazySink", "MeterSink", "NullSink", "Sink"]


class Sink(Protocol):
    """Takes measurements. May raise; the recorder in front of it never does."""

    def add(
        self, name: str, value: float, attributes: Mapping[str, str], context: object | None
    ) -> None:
        """One measurement of a catalogue metric.

        Args:
            name: A key of ``catalogue.METRICS``; its kind decides whether ``value`` is added or
                recorded.
            value: In the metric's unit.
            attributes: Short attribute names.
            context: The OpenTelemetry context whose span becomes the exemplar.
        """

    def flush(self, timeout: float) -> bool:
        """Hand over what still waits, within ``timeout`` seconds; true if nothing is left."""


class NullSink:
    """Telemetry is off (``OTEL_SDK_DISABLED``), or nothing here would ever export it."""

    def add(
        self, name: str, value: float, attributes: Mapping[str, str], context: object | None
    ) -> None:
        """Nothing."""

    def flush(self, timeout: float) -> bool:
        """Nothing to hand over."""
        return True


class MeterSink:
    """Counts into the instruments of one meter, all of them made from the catalogue.

    Args:
        meter: Of a provider that lives as long as this process.
        series: Bounds the attributes.
        flush: Pushes what the provider holds; gets seconds.
    """

    def __init__(
        self, meter: Meter, series: Series, flush: Callable[[float], bool] | None = None
    ) -> None:
        self._meter = meter
        self._series = series
        self._flush = flush
        self._record: dict[str, Callable[..., None]] = {
            m.name: _recorder(meter, m) for m in METRICS.values() if m.kind is not Kind.GAUGE
        }

    def add(
        self, name: str, value: float, attributes: Mapping[str, str], context: object | None
    ) -> None:
        """Count or record one measurement.

        Raises:
            KeyError: If the catalogue has no such metric.
        """
        self._record[name](
            value, self._series.labels(name, attributes), cast("Context | None", context)
        )

    def heartbeat(self, last_beat: Callable[[], float]) -> None:
        """Export ``last_beat()``, unix seconds, as ``runguard.worker.heartbeat``."""
        metric = METRICS["runguard.worker.heartbeat"]

        def observe(_: CallbackOptions) -> Iterable[Observation]:
            return [Observation(last_beat())]

        self._meter.create_observable_gauge(
            metric.name, callbacks=[observe], unit=metric.unit, description=metric.brief
        )

    def flush(self, timeout: float) -> bool:
        """Push, if this sink knows how."""
        return self._flush(timeout) if self._flush else True


class LazySink:
    """A sink that is made at the first measurement, in the process that measures.

    Nothing may be opened at import or in the forkserver, and a job process learns where to send
    its measurements only after ``instrument()``.
    """

    def __init__(self, make: Callable[[], Sink]) -> None:
        self._make = make
        self._target: Sink | None = None
        self._lock = threading.Lock()

    @property
    def current(self) -> Sink | None:
        """The sink in use, if there is one yet."""
        return self._target

    @property
    def target(self) -> Sink:
        """The sink in use, made now if there is none."""
        if self._target is None:
            with self._lock:
                if self._target is None:
                    try:
                        self._target = self._make()
                    except BaseException:
                        # Once is enough: each attempt may leave a thread behind.
                        self._target = NullSink()
                        raise
        return self._target

    def use(self, target: Sink | None) -> Sink | None:
        """Send everything to ``target`` from now on (``None``: make one); returns the former."""
        former, self._target = self._target, target
        return former

    def add(
        self, name: str, value: float, attributes: Mapping[str, str], context: object | None
    ) -> None:
        """Pass one measurement on."""
        self.target.add(name, value, attributes, context)

    def flush(self, timeout: float) -> bool:
        """Flush the sink in use, if any."""
        return self._target.flush(timeout) if self._target else True


def _recorder(meter: Meter, metric: Metric) -> Callable[..., None]:
    common: dict[str, Any] = {"unit": metric.unit, "description": metric.brief}
    if metric.kind is Kind.COUNTER:
        return meter.create_counter(metric.name, **common).add
    if metric.kind is Kind.UPDOWN:
        return meter.create_up_down_counter(metric.name, **common).add
    return meter.create_histogram(
        metric.name, explicit_bucket_boundaries_advisory=metric.buckets, **common
    ).record
