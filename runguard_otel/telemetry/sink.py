"""Where measurements go: into instruments of this process, or nowhere."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol, cast

from opentelemetry.context import Context
from opentelemetry.metrics import CallbackOptions, Meter, Observation

from runguard_otel.telemetry.catalogue import METRICS, Kind, Metric
from runguard_otel.telemetry.series import Series

__all__ = ["MeterSink", "NullSink", "Sink"]


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
    """Telemetry is off (``OTEL_SDK_DISABLED``)."""

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


def _recorder(meter: Meter, metric: Metric) -> Callable[..., None]:
    common: dict[str, Any] = {"unit": metric.unit, "description": metric.brief}
    if metric.kind is Kind.COUNTER:
        return meter.create_counter(metric.name, **common).add
    if metric.kind is Kind.UPDOWN:
        return meter.create_up_down_counter(metric.name, **common).add
    return meter.create_histogram(
        metric.name, explicit_bucket_boundaries_advisory=metric.buckets, **common
    ).record
