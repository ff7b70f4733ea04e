"""Exporters that say, once and in our words, that what they send is not taken.

An exporter logs each of its failures by itself, every few seconds and for ever, and nowhere does it
say what that means. And one that is built on the first span would hold the loop of a call for the
second its imports take: this one is built in a thread.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any

from opentelemetry.sdk.metrics.export import MetricExporter, MetricExportResult, MetricsData
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

__all__ = ["Delivery", "LateSpanExporter", "WatchedMetricExporter"]

logger = logging.getLogger("runguard_otel")

REFUSALS = 3
"""So many in a row are no hiccup of a backend that is being restarted."""


class Delivery:
    """Whether one way out takes what is sent.

    Args:
        what: ``metrics`` or ``spans``.
        where: The way, in words.
        refused: Called once, when it has refused often enough; returns what is done about it.
    """

    def __init__(self, what: str, where: str, refused: Callable[[], str] = lambda: "") -> None:
        self._what = what
        self._where = where
        self._refused = refused
        self._row = 0
        self._said = False

    def result(self, taken: bool) -> None:
        """One export is over."""
        self._row = 0 if taken else self._row + 1
        if self._row < REFUSALS or self._said:
            return
        self._said = True
        instead = self._refused()
        logger.warning(
            "%s are lost: %s has not taken them %d times in a row. A backend may take only one "
            "of metrics and spans: set OTEL_EXPORTER_OTLP_%s_ENDPOINT to one that does, or "
            "OTEL_%s_EXPORTER=none%s",
            self._what,
            self._where,
            self._row,
            "METRICS" if self._what == "metrics" else "TRACES",
            "METRICS" if self._what == "metrics" else "TRACES",
            f". {instead}" if instead else "",
        )


class WatchedMetricExporter(MetricExporter):
    """Another exporter's results are watched, and what it was last given is kept.

    Args:
        inner: The exporter.
        where: Its backend, in words.
        refused: Called once, when it has refused often enough; returns what is done about it.
    """

    def __init__(
        self,
        inner: MetricExporter,
        where: str,
        refused: Callable[[WatchedMetricExporter], str] = lambda exporter: "",
    ) -> None:
        super().__init__(
            preferred_temporality=inner._preferred_temporality,
            preferred_aggregation=inner._preferred_aggregation,
        )
        self._inner = inner
        self._delivery = Delivery("metrics", where, lambda: refused(self))
        self.last: MetricsData | None = None

    def export(
        self, metrics_data: MetricsData, timeout_millis: float = 10_000, **more: Any
    ) -> MetricExportResult:
        """Export as the inner one does."""
        self.last = metrics_data
        result = MetricExportResult.FAILURE
        try:
            result = self._inner.export(metrics_data, timeout_millis=timeout_millis, **more)
        finally:
            self._delivery.result(result is MetricExportResult.SUCCESS)
        return result

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        """As the inner one does."""
        return self._inner.force_flush(timeout_millis)

    def shutdown(self, timeout_millis: float = 30_000, **more: Any) -> None:
        """As the inner one does."""
        self._inner.shutdown(timeout_millis=timeout_millis, **more)


class LateSpanExporter(SpanExporter):
    """An exporter that is built in a thread of its own; spans wait for it in their processor.

    Args:
        build: Builds the exporter.
        where: Its backend, in words.
        failed: Says why it cannot be built.
    """

    def __init__(
        self, build: Callable[[], SpanExporter], where: str, failed: Callable[[Exception], None]
    ) -> None:
        self._build = build
        self._failed = failed
        self._delivery = Delivery("spans", where)
        self._inner: SpanExporter | None = None
        self._tried = False
        self._lock = threading.Lock()
        threading.Thread(target=self._get, name="runguard-exporter", daemon=True).start()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Export when there is an exporter; called in the processor's thread."""
        inner = self._get()
        if inner is None:
            return SpanExportResult.FAILURE
        result = SpanExportResult.FAILURE
        try:
            result = inner.export(spans)
        finally:
            self._delivery.result(result is SpanExportResult.SUCCESS)
        return result

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """As the inner one does."""
        return self._inner.force_flush(timeout_millis) if self._inner else True

    def shutdown(self) -> None:
        """As the inner one does."""
        if self._inner is not None:
            self._inner.shutdown()

    def _get(self) -> SpanExporter | None:
        with self._lock:
            if not self._tried:
                self._tried = True
                try:
                    self._inner = self._build()
                except Exception as error:  # noqa: BLE001 - no spans then; the call goes on
                    self._failed(error)
            return self._inner
