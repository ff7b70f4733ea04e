"""One tool for telemetry and runguard in one process, set up as each says: what arrives where.

``python -m tools.combination_probe NAME`` runs in the environment of that tool and prints one line
of JSON. A server on loopback plays every backend. What is played is a storm of noise in a real
session: six misfires and one trip, so that is what each way out must have, once.
"""

from __future__ import annotations

import asyncio
import gzip
import importlib
import json
import logging
import os
import sys
import threading
import zlib
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import metadata
from typing import Any, Final

MISFIRES: Final = 6
OURS: Final = "/ours"
"""Path under which ``OTEL_EXPORTER_OTLP_ENDPOINT`` points to the backend."""
FOREIGN: Final = ("OTEL_", "RUNGUARD_", "LANGFUSE_", "LOGFIRE_", "SENTRY_", "DD_")


class Backend:
    """Everything that a tool may send to, on one port; it keeps what it got."""

    def __init__(self) -> None:
        self.got: list[tuple[str, bytes]] = []
        backend = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                packed = self.headers.get("Content-Encoding", "")
                if packed == "gzip":
                    body = gzip.decompress(body)
                elif packed == "deflate":
                    body = zlib.decompress(body)
                backend.got.append((self.path, body))
                # What Logfire asks for its token; nobody else reads an answer.
                said = json.dumps({"project_name": "p", "project_url": backend.url}).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(said)))
                self.end_headers()
                self.wfile.write(said)

            do_GET = do_POST = do_PUT = _answer

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_port
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def otlp_spans(self, *, ours: bool = False) -> Counter[str]:
        """Names of the spans that came by OTLP: to the tool, or where the variables point."""
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
            ExportTraceServiceRequest,
        )

        return Counter(
            span.name
            for path, body in self.got
            if path.startswith(OURS) is ours
            and path.strip("/").endswith("traces")
            and "/v0." not in path
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        )

    def trips_counted(self) -> list[float]:
        """The last value of ``runguard.trips`` for the misfire guard, per way it came by."""
        from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
            ExportMetricsServiceRequest,
        )

        last: dict[str, float] = {}
        for path, body in self.got:
            if not path.endswith("/metrics"):
                continue
            for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                for scope in resource.scope_metrics:
                    for metric in scope.metrics:
                        if metric.name == "runguard.trips":
                            last[path] = sum(
                                p.as_int or p.as_double for p in metric.sum.data_points
                            )
        return list(last.values())

    def otlp_logs(self) -> int:
        """How many log records that came by OTLP speak of a trip."""
        from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

        return sum(
            "vad_misfire tripped" in str(record.body)
            for path, body in self.got
            if path.endswith("/logs")
            for resource in ExportLogsServiceRequest.FromString(body).resource_logs
            for scope in resource.scope_logs
            for record in scope.log_records
        )


Flush = Callable[[], object]


def _sdk_provider(endpoint: str) -> Any:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))
    return provider


def livekit(backend: Backend) -> tuple[Flush, Callable[[], Counter[str]], Callable[[], int]]:
    """LiveKit's own set-up, and its log handler into the same place."""
    from livekit.agents.telemetry import set_tracer_provider
    from opentelemetry._logs import set_logger_provider
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
    from opentelemetry.sdk._logs import LoggerProvider
    from opentelemetry.sdk._logs.export import BatchLogRecordProcessor

    provider = _sdk_provider(f"{backend.url}/tool/v1/traces")
    set_tracer_provider(provider)
    logs = LoggerProvider()
    logs.add_log_record_processor(
        BatchLogRecordProcessor(OTLPLogExporter(endpoint=f"{backend.url}/tool/v1/logs"))
    )
    set_logger_provider(logs)

    def flush() -> None:
        provider.force_flush()
        logs.force_flush()

    return flush, backend.otlp_spans, backend.otlp_logs


def langfuse(
    backend: Backend, **options: Any
) -> tuple[Flush, Callable[[], Counter[str]], Callable[[], int]]:
    """Langfuse's SDK. By default it takes spans of LLM libraries, and ours are none."""
    from langfuse import Langfuse
    from livekit.agents.telemetry import set_tracer_provider
    from opentelemetry.sdk.trace import TracerProvider

    provider = TracerProvider()
    client = Langfuse(
        public_key="pk-lf-1",
        secret_key="sk-lf-1",
        base_url=backend.url,
        tracer_provider=provider,
        **options,
    )
    set_tracer_provider(provider)
    return client.flush, backend.otlp_spans, backend.otlp_logs


def langfuse_all(
    backend: Backend,
) -> tuple[Flush, Callable[[], Counter[str]], Callable[[], int]]:
    """Langfuse's SDK, told to take every span."""
    return langfuse(backend, should_export_span=lambda span: True)


def logfire(backend: Backend) -> tuple[Flush, Callable[[], Counter[str]], Callable[[], int]]:
    """Logfire, with its handler of standard logging."""
    import logfire as tool
    from livekit.agents.telemetry import set_tracer_provider
    from opentelemetry import trace

    tool.configure(
        token="pylf_v1_local_0",
        console=False,
        advanced=tool.AdvancedOptions(base_url=backend.url),
        inspect_arguments=False,
    )
    logging.getLogger().addHandler(tool.LogfireLoggingHandler())
    set_tracer_provider(trace.get_tracer_provider())

    def logs() -> int:
        return sum(n for name, n in backend.otlp_spans().items() if "vad_misfire tripped" in name)

    return tool.force_flush, backend.otlp_spans, logs


def sentry(backend: Backend) -> tuple[Flush, Callable[[], Counter[str]], Callable[[], int]]:
    """Sentry's SDK with its OTLP integration and logs."""
    import sentry_sdk
    from livekit.agents.telemetry import set_tracer_provider
    from opentelemetry import trace
    from sentry_sdk.integrations.otlp import OTLPIntegration

    sentry_sdk.init(
        dsn=f"http://key@127.0.0.1:{backend.port}/1",
        enable_logs=True,
        integrations=[OTLPIntegration()],
    )
    provider: Any = trace.get_tracer_provider()
    set_tracer_provider(provider)

    def flush() -> None:
        provider.force_flush()
        sentry_sdk.flush(5)

    def logs() -> int:
        found = 0
        for path, body in backend.got:
            if path.endswith("/envelope/"):
                for line in body.splitlines():
                    with suppress(ValueError):
                        items = json.loads(line).get("items", ())
                        found += sum("vad_misfire tripped" in str(i.get("body")) for i in items)
        return found

    return flush, backend.otlp_spans, logs


def ddtrace(backend: Backend) -> tuple[Flush, Callable[[], Counter[str]], Callable[[], int]]:
    """Datadog's tracer as OpenTelemetry's, patched into everything it knows, and its log ids."""
    os.environ.update(
        DD_TRACE_AGENT_URL=backend.url,
        DD_TRACE_OTEL_ENABLED="true",
        DD_TRACE_API_VERSION="v0.4",
        DD_INSTRUMENTATION_TELEMETRY_ENABLED="false",
        DD_REMOTE_CONFIGURATION_ENABLED="false",
        DD_LOGS_INJECTION="true",
    )
    importlib.import_module("ddtrace.auto")
    importlib.import_module("opentelemetry")  # as an application does; its hook then finds it whole
    msgpack: Any = importlib.import_module("msgpack")
    trace: Any = importlib.import_module("ddtrace.trace")
    from livekit.agents.telemetry import set_tracer_provider
    from opentelemetry.trace import get_tracer_provider

    set_tracer_provider(get_tracer_provider())
    records: list[str] = []

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "vad_misfire tripped" in record.getMessage():
                records.append(getattr(record, "dd.trace_id", ""))

    logging.getLogger().addHandler(Lines())

    def spans() -> Counter[str]:
        return Counter(
            span["resource"]
            for path, body in backend.got
            if path.startswith("/v0.4/traces")
            for one in msgpack.unpackb(body, strict_map_key=False)
            for span in one
        )

    return trace.tracer.flush, spans, lambda: len(records)


TOOLS: Final = {
    "livekit": (livekit, "livekit-agents"),
    "langfuse": (langfuse_all, "langfuse"),
    "langfuse-filter": (langfuse, "langfuse"),
    "logfire": (logfire, "logfire"),
    "sentry-sdk": (sentry, "sentry-sdk"),
    "ddtrace": (ddtrace, "ddtrace"),
}


async def _storm() -> None:
    from runguard_otel.testing import call, simulate_storm

    async with call() as phone:
        await simulate_storm("misfire", phone, times=MISFIRES)
        await phone.hear("a table for two please")
        await phone.quiet()


def main(name: str) -> None:
    """Set both up, play, and print what arrived."""
    for variable in [name for name in os.environ if name.startswith(FOREIGN)]:
        del os.environ[variable]
    set_up, package = TOOLS[name]
    backend = Backend()
    # Our metrics leave by OTLP. Spans go to the tool's provider: these must not send them again.
    os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = f"{backend.url}{OURS}"
    os.environ["OTEL_EXPORTER_OTLP_PROTOCOL"] = "http/protobuf"
    said: list[str] = []

    class Complaints(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            line = f"{record.name}: {record.getMessage()}"
            if record.levelno >= logging.WARNING and "vad_misfire tripped" not in line:
                said.append(line)

    for logger in ("opentelemetry", "runguard_otel"):
        logging.getLogger(logger).addHandler(Complaints())
    flush, spans, logs = set_up(backend)

    from opentelemetry import metrics, trace

    before = (trace.get_tracer_provider(), metrics.get_meter_provider())
    import runguard_otel

    guard = runguard_otel.instrument(claims_url="memory://", metrics_port=0)
    asyncio.run(_storm())
    after = (trace.get_tracer_provider(), metrics.get_meter_provider())
    missing = [report.name for report in guard.patches if report.state != "installed"]
    counted = guard.snapshot()["signatures"]
    assert guard._telemetry is not None
    guard._telemetry.flush(10)
    flush()
    seen = spans()
    result = {
        "version": metadata.version(package),
        "trip_spans": seen["runguard.trip"],
        "event_spans": seen["runguard.vad_misfire"],
        "events": sum(sum(by.values()) for s, by in counted.items() if s.startswith("vad_misfire")),
        "host_spans": sum(n for s, n in seen.items() if not s.startswith("runguard")),
        "spans_again": backend.otlp_spans(ours=True)["runguard.trip"],
        "trips_counted": backend.trips_counted(),
        "trip_logs": logs(),
        "providers_kept": all(b is a for b, a in zip(before, after, strict=True)),
        "hooks_missing": missing,
        "complaints": said[:5],
    }
    runguard_otel.uninstrument()
    print(json.dumps(result), flush=True)
    os._exit(0)  # some tools' own threads would try the backend for a while


if __name__ == "__main__":
    main(sys.argv[1])
