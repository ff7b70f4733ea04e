"""Our own SDK providers and exporters, built from the standard ``OTEL_*`` variables only."""

from __future__ import annotations

import logging
import os
import uuid
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from runguard_otel.telemetry.catalogue import ATTRIBUTES, METRICS

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics import ExemplarFilter, MeterProvider
    from opentelemetry.sdk.metrics.export import MetricReader
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider

__all__ = ["metric_exporters", "meter_provider", "resource", "tracer_provider"]

logger = logging.getLogger("runguard_otel")

_DEFAULT_INTERVAL_MS = 15_000  # as often as a scrape, so that alerts need no longer for OTLP
_INSTANCE = str(uuid.uuid4())
_PID = os.getpid()


def metric_exporters() -> tuple[str, ...]:
    """What the environment asks for: any of ``otlp``, ``prometheus``, ``console``, or nothing.

    ``OTEL_METRICS_EXPORTER`` decides; without it an OTLP endpoint means ``otlp``. An empty answer
    with neither set is the caller's to fill.
    """
    named = os.environ.get("OTEL_METRICS_EXPORTER", "").strip().lower()
    if named:
        return tuple(n for n in (p.strip() for p in named.split(",")) if n and n != "none")
    if os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT") or os.environ.get(
        "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT"
    ):
        return ("otlp",)
    return ()


def nothing_configured() -> bool:
    """Whether the standard variables say nothing at all about metrics."""
    return not metric_exporters() and not os.environ.get("OTEL_METRICS_EXPORTER", "").strip()


def resource() -> Resource:
    """Who exports: the standard variables, plus an instance id that no other process has.

    Two processes with one instance id overwrite each other's counters in a collector.
    """
    from opentelemetry.sdk.resources import Resource

    found = Resource.create()
    missing = {}
    if not found.attributes.get("service.instance.id"):
        missing["service.instance.id"] = _instance_id()
    if str(found.attributes.get("service.name", "")).startswith("unknown_service"):
        missing["service.name"] = "livekit-agents"
    return found.merge(Resource(missing)) if missing else found


def _instance_id() -> str:
    """One id per process: a module value would be shared by forked children."""
    return (
        _INSTANCE
        if os.getpid() == _PID
        else str(uuid.uuid5(uuid.UUID(_INSTANCE), str(os.getpid())))
    )


def meter_provider(readers: Iterable[MetricReader]) -> MeterProvider:
    """A private provider whose views keep only the attributes of the catalogue."""
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.view import View

    views = [
        View(instrument_name=m.name, attribute_keys={ATTRIBUTES[a].key for a in m.attributes})
        for m in METRICS.values()
    ]
    return MeterProvider(
        metric_readers=list(readers),
        resource=resource(),
        views=views,
        shutdown_on_exit=False,
        exemplar_filter=_exemplar_filter(),
    )


def _exemplar_filter() -> ExemplarFilter | None:
    """``None`` lets the SDK read the variable; a value it does not know must not cost all metrics.

    It would raise, and only after the readers have been started.
    """
    from opentelemetry.sdk.metrics import TraceBasedExemplarFilter

    said = os.environ.get("OTEL_METRICS_EXEMPLAR_FILTER", "trace_based").strip().lower()
    if said in ("trace_based", "always_on", "always_off"):
        return None
    logger.warning("OTEL_METRICS_EXEMPLAR_FILTER=%r is ignored, using trace_based", said)
    return TraceBasedExemplarFilter()


def push_readers(exporters: Iterable[str]) -> list[MetricReader]:
    """Periodic readers for ``otlp`` and ``console``; always cumulative."""
    from opentelemetry.sdk.metrics.export import (
        ConsoleMetricExporter,
        MetricExporter,
        PeriodicExportingMetricReader,
    )

    readers: list[MetricReader] = []
    for name in exporters:
        exporter: MetricExporter | None = None
        try:
            if name == "otlp":
                exporter = _otlp("metrics", preferred_temporality=cumulative())
            elif name == "console":
                exporter = ConsoleMetricExporter(preferred_temporality=cumulative())
            else:
                continue
            interval = os.environ.get("OTEL_METRIC_EXPORT_INTERVAL")
            readers.append(
                PeriodicExportingMetricReader(
                    exporter, export_interval_millis=None if interval else _DEFAULT_INTERVAL_MS
                )
            )
        except (ImportError, ValueError) as error:
            logger.warning("no %s export of metrics: %s%s", name, error, _check("METRIC"))
            if exporter is not None:  # the reader was refused: nobody else closes its channel
                exporter.shutdown()
    return readers


def cumulative() -> dict[type, Any]:
    """Cumulative for every instrument: collectors lose delta points of several writers."""
    from opentelemetry.sdk import metrics
    from opentelemetry.sdk.metrics.export import AggregationTemporality

    return dict.fromkeys(
        (
            metrics.Counter,
            metrics.UpDownCounter,
            metrics.Histogram,
            metrics.ObservableCounter,
            metrics.ObservableUpDownCounter,
            metrics.ObservableGauge,
        ),
        AggregationTemporality.CUMULATIVE,
    )


def tracer_provider() -> TracerProvider:
    """Our own provider of spans, for a process where nobody else has one."""
    from opentelemetry.sdk.trace import SpanLimits, TracerProvider
    from opentelemetry.sdk.trace.export import (
        BatchSpanProcessor,
        ConsoleSpanExporter,
        SimpleSpanProcessor,
    )

    try:
        provider = TracerProvider(resource=resource(), shutdown_on_exit=False)
    except ValueError as error:  # it names the variable, one of the limits
        logger.warning("the limits of spans are ignored: %s", error)
        limits = SpanLimits(128, 128, 128, 128, 128, 128, SpanLimits.UNSET, SpanLimits.UNSET)
        provider = TracerProvider(resource=resource(), shutdown_on_exit=False, span_limits=limits)
    names = os.environ.get("OTEL_TRACES_EXPORTER", "").strip().lower() or "otlp"
    for name in (n.strip() for n in names.split(",")):
        if name == "otlp":
            try:
                provider.add_span_processor(BatchSpanProcessor(_otlp("traces")))
            except (ImportError, ValueError) as error:
                logger.warning("no OTLP export of spans: %s%s", error, _check("BSP"))
        elif name == "console":
            provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter()))
        else:
            logger.warning("OTEL_TRACES_EXPORTER=%s is not known to runguard-otel", name)
    return provider


def _check(family: str) -> str:
    """Which variables are set that can be the cause; the SDK's errors seldom name theirs.

    Names only: a header's value is a secret.
    """
    prefixes = (f"OTEL_{family}_", "OTEL_EXPORTER_OTLP_")
    names = sorted(n for n in os.environ if n.startswith(prefixes))
    return f" (check {', '.join(names)})" if names else ""


def _otlp(signal: str, **arguments: Any) -> Any:
    """The OTLP exporter for ``metrics`` or ``traces`` in the protocol the environment names.

    Raises:
        ImportError: If it is not installed.
        ValueError: If the environment says something it cannot do.
    """
    try:
        return _exporter(signal, **arguments)
    except (ImportError, ValueError):
        raise
    except Exception as error:  # each protocol has its own: grpc's, requests', OpenTelemetry's
        raise ValueError(str(error)) from error


def _exporter(signal: str, **arguments: Any) -> Any:
    protocol = (
        os.environ.get(f"OTEL_EXPORTER_OTLP_{signal.upper()}_PROTOCOL")
        or os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL")
        or "grpc"
    )
    if protocol not in ("grpc", "http/protobuf"):
        raise ValueError(f"OTLP protocol {protocol!r} is not known (grpc, http/protobuf)")
    if protocol == "http/protobuf":
        if signal == "metrics":
            from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter

            return OTLPMetricExporter(**arguments)
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        return OTLPSpanExporter(**arguments)
    if signal == "metrics":
        from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import (
            OTLPMetricExporter as GrpcMetricExporter,
        )

        return GrpcMetricExporter(**arguments)
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import (
        OTLPSpanExporter as GrpcSpanExporter,
    )

    return GrpcSpanExporter(**arguments)
