"""Switches the guards on, as a user would, and passes on what they say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider

import runguard_otel
from runguard_otel.demo.wire import Report

if TYPE_CHECKING:
    from runguard_otel.instrumentor import RunGuard

__all__ = ["guards_on"]


class _Spans(SpanProcessor):
    """Every signature is a span; this processor reports them."""

    def __init__(self, report: Report) -> None:
        self._report = report

    def on_end(self, span: ReadableSpan) -> None:
        seen = span.attributes or {}
        if "runguard.outcome" in seen:  # a trip and a job are spans as well, and no signatures
            self._report.signature(str(seen["runguard.signature"]), str(seen["runguard.outcome"]))


def guards_on(report: Report, **settings: Any) -> RunGuard:
    """``runguard_otel.instrument()``, with its spans and trips in the report.

    Args:
        report: Where they go.
        **settings: For ``instrument()``.

    Raises:
        RuntimeError: If nothing was installed: a run without guards must not pass for one with.
    """
    spans = TracerProvider(shutdown_on_exit=False)
    spans.add_span_processor(_Spans(report))
    guard = runguard_otel.instrument(tracer_provider=spans, on_trip=report.trip, **settings)
    if not guard.active:
        raise RuntimeError("the guards could not be installed; the log above says why")
    return guard
