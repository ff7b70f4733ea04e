"""Two ways out of the worker, one set of names; and backends that are dead or hang."""

from __future__ import annotations

import gzip
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry import metrics
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric as OtlpMetric
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from runguard_otel.core.verdict import Outcome, Subject
from runguard_otel.settings import Settings
from runguard_otel.telemetry.build import Telemetry, build
from runguard_otel.telemetry.catalogue import METRICS, Kind, prometheus_name
from runguard_otel.telemetry.client import HubSink
from tests.kit.ports import free_port
from tests.kit.sinks import eventually

pytestmark = pytest.mark.chain

SUBJECT = Subject(room="Room-7", job_id="AJ_7")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("OTEL_"):
            monkeypatch.delenv(name)


@pytest.fixture
def worker() -> Iterator[Telemetry]:
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
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
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


# /metrics


def test_exemplars_are_in_the_openmetrics_text_and_only_there(worker: Telemetry) -> None:
    worker.recorder.event("room_reconnect", Outcome.ALLOWED, SUBJECT)
    plain = fetch(worker)
    assert "trace_id" not in plain
    worker.recorder.event("room_reconnect", Outcome.ALLOWED, SUBJECT)
    text = fetch(worker, "application/openmetrics-text; version=1.0.0")
    parsed = text_string_to_metric_families(text)  # type: ignore[no-untyped-call]  # as published
    families = list(parsed)  # the parser is strict: the text is valid
    with_exemplar = [s for f in families for s in f.samples if s.exemplar]
    assert [s.name for s in with_exemplar] == ["runguard_signatures_total"]


def test_two_workers_on_one_host_take_two_ports() -> None:
    first, second = (build(Settings.load(metrics_port=0)) for _ in range(2))
    port = free_port()
    workers = [build(Settings.load(metrics_port=port)) for _ in range(2)]
    for telemetry in workers:
        telemetry.start_worker()
    assert len({telemetry.metrics_url for telemetry in workers}) == 2
    for telemetry in (first, second):
        telemetry.start_worker()
        assert telemetry.metrics_url is None  # 0 is off
    for telemetry in (*workers, first, second):
        telemetry.shutdown()


def test_metrics_listen_on_loopback_unless_told_otherwise(
    worker: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (worker.metrics_url or "").startswith("http://127.0.0.1:")
    monkeypatch.setenv("OTEL_EXPORTER_PROMETHEUS_HOST", "127.0.0.2")
    monkeypatch.setenv("OTEL_EXPORTER_PROMETHEUS_PORT", str(port := free_port()))
    other = build(Settings.load())
    other.start_worker()
    assert other.metrics_url == f"http://127.0.0.2:{port}/metrics"
    other.shutdown()


def test_the_heartbeat_is_now(worker: Telemetry) -> None:
    (line,) = [
        line for line in fetch(worker).splitlines() if line.startswith("runguard_worker_heartbeat")
    ]
    assert line.startswith("runguard_worker_heartbeat_seconds ")
    assert abs(float(line.split()[1]) - time.time()) < 5


# OTLP


def test_names_are_the_same_on_both_ways_out(worker: Telemetry, collector: Collector) -> None:
    """What a collector makes of our OTLP is what ``/metrics`` serves."""
    pushed = build(Settings.load())
    pushed.start_worker("support")
    assert pushed.metrics_url is None  # an OTLP endpoint is configured: never both by default
    for telemetry in (worker, pushed):
        everything(telemetry)
    pushed.stop_worker()
    served = {
        line.split()[2] for line in fetch(worker).splitlines() if line.startswith("# TYPE runguard")
    }
    found = collector.metrics()
    assert {prometheus_name(name) for name in found} == served
    assert {prometheus_name(name) for name in METRICS} == served
    translated = {_as_a_collector_names_it(metric) for metric in found.values()}
    assert translated == served


def _as_a_collector_names_it(metric: OtlpMetric) -> str:
    """The standard OTLP to Prometheus translation of a name."""
    name = metric.name.replace(".", "_")
    name += "_seconds" if metric.unit == "s" else ""
    assert metric.unit == "s" or metric.unit.startswith("{")
    return name + ("_total" if metric.HasField("sum") and metric.sum.is_monotonic else "")


def test_otlp_is_cumulative_and_has_an_instance_of_its_own(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "DELTA")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "bookings")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=prod")
    telemetry = build(Settings.load())
    telemetry.start_worker()
    everything(telemetry)
    telemetry.stop_worker()
    for metric in collector.metrics().values():
        for kind in ("sum", "histogram"):
            if metric.HasField(kind):
                assert getattr(metric, kind).aggregation_temporality == 2  # CUMULATIVE
    resource = collector.resource()
    assert resource["service.name"] == "bookings"
    assert resource["deployment.environment.name"] == "prod"
    assert len(resource["service.instance.id"]) == 36


def test_a_protocol_nobody_speaks_is_said_and_costs_the_export_only(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "carrier-pigeon")
    telemetry = build(Settings.load())
    telemetry.start_worker()
    telemetry.recorder.event("room_reconnect", Outcome.ALLOWED, SUBJECT)
    assert telemetry.hub_address is not None
    assert telemetry.snapshot()["signatures"] == {"room_reconnect": {"allowed": 1}}
    assert caplog.text.count("carrier-pigeon") == 2  # metrics, spans: once each
    telemetry.shutdown()


def test_a_dead_collector_costs_nothing_and_counts_are_right_when_it_is_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = Collector()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", made.url)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "none")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    telemetry = build(Settings.load())
    telemetry.start_worker()
    made.hang.set()
    begin = time.perf_counter()
    for _ in range(200):
        telemetry.recorder.event("room_reconnect", Outcome.ALLOWED, SUBJECT)
    assert time.perf_counter() - begin < 1.0
    pushing = threading.Thread(target=telemetry.flush, args=(1.0,))
    pushing.start()
    telemetry.recorder.event("room_reconnect", Outcome.ALLOWED, SUBJECT)
    made.hang.clear()
    made.let_go.set()
    pushing.join(20)
    assert not pushing.is_alive()
    telemetry.flush(5)
    (total,) = [
        p.as_double or p.as_int
        for p in made.metrics()["runguard.signatures"].sum.data_points
        if p.as_double or p.as_int
    ]
    assert total == 201
    telemetry.shutdown()
    made.server.shutdown()
    made.server.server_close()


def test_a_hung_collector_holds_the_end_of_a_worker_for_its_bound_only(
    collector: Collector,
) -> None:
    telemetry = build(Settings.load())
    telemetry.start_worker()
    everything(telemetry)
    collector.hang.set()
    begin = time.perf_counter()
    telemetry.shutdown(0.5)
    assert time.perf_counter() - begin < 3.0


# Providers of others


def test_the_users_meter_provider_is_used_and_never_shut_down() -> None:
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    telemetry = build(Settings.load(), meter_provider=provider)
    telemetry.start_worker()
    assert telemetry.hub_address is not None
    assert telemetry.metrics_url is None
    job = HubSink(telemetry.hub_address)
    job.start()
    job.add("runguard.signatures", 5, {"signature": "room_reconnect", "outcome": "allowed"}, None)
    job.close()

    def jobs_ended() -> float:
        return _value(reader, "runguard.jobs.ended")

    eventually(lambda: jobs_ended() == 1)
    telemetry.shutdown()
    provider.get_meter("mine").create_counter("still.alive").add(1)
    assert _value(reader, "still.alive") == 1
    assert _value(reader, "runguard.signatures") == 5
    provider.shutdown()


def _value(reader: InMemoryMetricReader, name: str) -> float:
    data = reader.get_metrics_data()
    assert data is not None
    return float(
        sum(
            getattr(point, "value", 0)
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        )
    )


def test_the_global_meter_provider_is_left_for_livekit_cloud(worker: Telemetry) -> None:
    """In a process of its own: the global can be set once only."""
    code = (
        "from opentelemetry import metrics\n"
        "from opentelemetry.sdk.metrics import MeterProvider\n"
        "from runguard_otel.settings import Settings\n"
        "from runguard_otel.telemetry.build import build\n"
        "t = build(Settings.load(metrics_port=0)); t.start_worker()\n"
        "t.recorder.add('runguard.room.connects', 1, connect='ok')\n"
        "mine = MeterProvider(); metrics.set_meter_provider(mine)\n"
        "print(metrics.get_meter_provider() is mine); t.shutdown()"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "True"
    assert not isinstance(metrics.get_meter_provider(), MeterProvider)


def test_counts_made_before_the_worker_ran_are_counted_once(worker: Telemetry) -> None:
    telemetry = build(Settings.load(metrics_port=free_port()))
    telemetry.recorder.add("runguard.room.connects", 3, connect="ok")
    telemetry.start_worker()
    telemetry.recorder.add("runguard.room.connects", 1, connect="ok")
    assert 'runguard_room_connects_total{runguard_connect="ok"} 4.0' in fetch(telemetry)
    telemetry.shutdown()


def test_a_worker_without_a_place_for_a_socket_still_counts(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class NoBind(socket.socket):
        def bind(self, address: Any) -> None:
            raise OSError("AF_UNIX path too long")

    monkeypatch.setattr("runguard_otel.telemetry.hub.socket.socket", NoBind)
    telemetry = build(Settings.load(metrics_port=0))
    telemetry.start_worker()
    monkeypatch.undo()
    assert telemetry.hub_address is None
    assert "no telemetry hub" in caplog.text
    telemetry.recorder.add("runguard.room.connects", 1, connect="ok")
    assert telemetry.snapshot()["metrics"]["runguard.room.connects"][0]["value"] == 1
    telemetry.shutdown()
