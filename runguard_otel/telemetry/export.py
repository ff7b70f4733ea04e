"""Our own SDK providers and exporters, built from the standard ``OTEL_*`` variables only."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import uuid
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from runguard_otel.telemetry.catalogue import ATTRIBUTES, METRICS

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics import ExemplarFilter, MeterProvider
    from opentelemetry.sdk.metrics.export import MetricExporter, MetricReader
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider

    from runguard_otel.telemetry.delivery import WatchedMetricExporter

__all__ = [
    "DEFAULT_PORT",
    "destination",
    "export_spans",
    "metric_exporters",
    "meter_provider",
    "owner",
    "refusal",
    "resource",
    "scrape_address",
    "serves_metrics",
    "tracer_provider",
]

logger = logging.getLogger("runguard_otel")

_DEFAULT_INTERVAL_MS = 15_000  # as often as a scrape, so that alerts need no longer for OTLP
DEFAULT_PORT = 9464  # OpenTelemetry's for Prometheus
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


def serves_metrics(metrics_port: int | None) -> bool:
    """Whether a worker serves ``/metrics``.

    Args:
        metrics_port: The setting; 0 never serves, a number does beside other exporters as well.
    """
    wanted = "prometheus" in metric_exporters() or nothing_configured()
    return metrics_port != 0 and (wanted or bool(metrics_port))


def scrape_address(metrics_port: int | None) -> tuple[str, int]:
    """Host and port of ``/metrics``; a worker that finds the port taken has a later one."""
    said = os.environ.get("OTEL_EXPORTER_PROMETHEUS_PORT", "")
    port = int(said) if said.isdigit() and int(said) < 65536 else DEFAULT_PORT
    return os.environ.get("OTEL_EXPORTER_PROMETHEUS_HOST") or "127.0.0.1", metrics_port or port


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


def owner() -> tuple[str, str]:
    """Whose worker it is: service and cluster, the latter empty if nothing names it."""
    attributes = resource().attributes
    return str(attributes["service.name"]), str(attributes.get("k8s.cluster.name", ""))


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


def push_readers(
    exporters: Iterable[str],
    refused: Callable[[WatchedMetricExporter], str] = lambda exporter: "",
) -> list[MetricReader]:
    """Periodic readers for ``otlp`` and ``console``; always cumulative.

    Args:
        exporters: From :func:`metric_exporters`.
        refused: Called once if OTLP refuses again and again; returns what is done about it.
    """
    from opentelemetry.sdk.metrics.export import (
        ConsoleMetricExporter,
        PeriodicExportingMetricReader,
    )

    readers: list[MetricReader] = []
    for name in exporters:
        exporter: MetricExporter | None = None
        try:
            if name == "otlp":
                exporter = _watched(_otlp("metrics", preferred_temporality=cumulative()), refused)
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
            if exporter is not None:  # the reader was refused: no one else closes its channel
                exporter.shutdown()
    return readers


def _watched(
    inner: MetricExporter, refused: Callable[[WatchedMetricExporter], str]
) -> WatchedMetricExporter:
    from runguard_otel.telemetry.delivery import WatchedMetricExporter

    return WatchedMetricExporter(inner, destination("metrics"), refused)


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
    """Our own provider of spans, for a process that has no other; its spans go nowhere yet."""
    from opentelemetry.sdk.trace import SpanLimits, TracerProvider

    who = resource()
    try:
        return TracerProvider(resource=who, shutdown_on_exit=False)
    except ValueError as error:  # it names the variable, one of the limits
        logger.warning("the limits of spans are ignored: %s", error)
        limits = SpanLimits(128, 128, 128, 128, 128, 128, SpanLimits.UNSET, SpanLimits.UNSET)
        return TracerProvider(resource=who, shutdown_on_exit=False, span_limits=limits)


def export_spans(provider: TracerProvider) -> None:
    """Export what ``provider`` makes as the standard variables say: the threads are started."""
    from opentelemetry.sdk.trace.export import (
        BatchSpanProcessor,
        ConsoleSpanExporter,
        SimpleSpanProcessor,
    )

    from runguard_otel.telemetry.delivery import LateSpanExporter

    names = os.environ.get("OTEL_TRACES_EXPORTER", "").strip().lower() or "otlp"
    for name in (n.strip() for n in names.split(",")):
        if name == "otlp":
            try:
                exporter = LateSpanExporter(
                    lambda: _otlp("traces"), destination("traces"), _no_spans
                )
                provider.add_span_processor(BatchSpanProcessor(exporter))
            except ValueError as error:
                _no_spans(error)
        elif name == "console":
            provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter()))
        else:
            logger.warning("OTEL_TRACES_EXPORTER=%s is not known to runguard-otel", name)


def load_span_exporter() -> None:
    """Import what exporting spans needs, where the environment asks for it: ahead of a call.

    In a thread beside the call's loop it would still hold that loop, library by library.
    """
    names = os.environ.get("OTEL_TRACES_EXPORTER", "").strip().lower() or "otlp"
    if "otlp" in names.split(","):
        importlib.import_module("runguard_otel.telemetry.delivery")
        with contextlib.suppress(ImportError, ValueError):  # said when the exporter is built
            _exporter_class("traces")


def destination(signal: str) -> str:
    """Where ``metrics`` or ``traces`` go by OTLP, in words that show no secret."""
    own = os.environ.get(f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT")
    url = own or os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT") or "localhost"
    scheme, mark, rest = url.partition("://")
    host = (rest if mark else scheme).partition("/")[0].rpartition("@")[2]
    return f"OTLP to {scheme}://{host}" if mark else f"OTLP to {host}"


def refusal(signal: str) -> str:
    """Why the backend does not take ``metrics`` or ``traces``; empty if it does.

    Sends an export with nothing in it, and waits for at most two seconds.
    """
    from opentelemetry.sdk.metrics.export import MetricExportResult, MetricsData
    from opentelemetry.sdk.trace.export import SpanExportResult

    said: list[str] = []
    listener = logging.Handler()
    listener.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    loud = logging.getLogger("opentelemetry.exporter")
    propagate, loud.propagate = loud.propagate, False
    loud.addHandler(listener)
    try:
        exporter = _otlp(signal, timeout=2)
        nothing: Any = MetricsData([]) if signal == "metrics" else []
        result = exporter.export(nothing)
        exporter.shutdown()
    except (ImportError, ValueError) as error:
        return str(error)
    finally:
        loud.removeHandler(listener)
        loud.propagate = propagate
    taken = result in (MetricExportResult.SUCCESS, SpanExportResult.SUCCESS)
    return "" if taken else (said[-1] if said else "no answer")


def _no_spans(error: Exception) -> None:
    logger.warning("no OTLP export of spans: %s%s", error, _check("BSP"))


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
    return _exporter_class(signal)(**arguments)


def _exporter_class(signal: str) -> Any:
    protocol = (
        os.environ.get(f"OTEL_EXPORTER_OTLP_{signal.upper()}_PROTOCOL")
        or os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL")
        or "grpc"
    )
    if protocol not in ("grpc", "http/protobuf"):
        raise ValueError(f"OTLP protocol {protocol!r} is not known (grpc, http/protobuf)")
    way = "http" if protocol == "http/protobuf" else "grpc"
    kind, name = {
        "metrics": ("metric_exporter", "OTLPMetricExporter"),
        "traces": ("trace_exporter", "OTLPSpanExporter"),
    }[signal]
    module = importlib.import_module(f"opentelemetry.exporter.otlp.proto.{way}.{kind}")
    return getattr(module, name)
