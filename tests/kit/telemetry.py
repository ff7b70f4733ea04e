"""A worker's telemetry under test: what it serves, and a collector that it exports to."""

from __future__ import annotations

import gzip
import os
import socket
import threading
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.sdk.trace import TracerProvider

from runguard_otel.settings import Settings
from runguard_otel.telemetry.build import Telemetry, build
from runguard_otel.telemetry.catalogue import METRICS, Kind
from runguard_otel.telemetry.hub import wire
from runguard_otel.telemetry.hub.server import Hub
from tests.kit.ports import free_port
from tests.kit.sinks import ListSink

SERIES = wire.encode_series("runguard.signatures", {"signature": "room_reconnect"})
UP = wire.encode_series("runguard.guards.open", {"guard": "vad_misfire"})


@pytest.fixture
def sink() -> ListSink:
    return ListSink()


@pytest.fixture
def hub(sink: ListSink) -> Iterator[Hub]:
    made = Hub(sink.instrument)
    made.start()
    yield made
    made.stop()


def send(hub: Hub, data: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(hub.address)
        connection.sendall(data)


@pytest.fixture
def no_otel_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("OTEL_"):
            monkeypatch.delenv(name)


@pytest.fixture
def worker(no_otel_environment: None) -> Iterator[Telemetry]:
    telemetry = build(Settings.load(metrics_port=free_port()), tracer_provider=TracerProvider())
    telemetry.start_worker("support")
    yield telemetry
    telemetry.shutdown()


def fetch(telemetry: Telemetry, accept: str = "") -> str:
    assert telemetry.metrics_url is not None
    request = urllib.request.Request(telemetry.metrics_url, headers={"Accept": accept})
    with urllib.request.urlopen(request, timeout=5) as answer:
        body: bytes = answer.read()
        return body.decode()


class Collector:
    """An OTLP/HTTP receiver that keeps what it is sent, and can be told to hang."""

    def __init__(self) -> None:
        self.requests: list[ExportMetricsServiceRequest] = []
        self.hang = threading.Event()
        self.let_go = threading.Event()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                if collector.hang.is_set():
                    collector.let_go.wait(20)
                    return
                if self.path == "/v1/metrics":
                    collector.requests.append(ExportMetricsServiceRequest.FromString(body))
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def metrics(self) -> dict[str, Any]:
        """The latest point list of each metric."""
        return {
            metric.name: metric
            for request in self.requests
            for resource in request.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }

    def resource(self) -> dict[str, str]:
        attributes = self.requests[-1].resource_metrics[0].resource.attributes
        return {a.key: a.value.string_value for a in attributes}


@pytest.fixture
def collector(no_otel_environment: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    made = Collector()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", made.url)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "none")
    yield made
    made.let_go.set()
    made.server.shutdown()
    made.server.server_close()


def everything(telemetry: Telemetry) -> None:
    """One measurement of every metric."""
    for metric in METRICS.values():
        if metric.kind is Kind.HISTOGRAM:
            telemetry.recorder.observe(metric.name, 0.003, operation="acquire", guard="vad_misfire")
        elif metric.kind is not Kind.GAUGE:
            telemetry.recorder.add(metric.name, 1)
