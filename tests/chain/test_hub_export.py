"""Two ways out of the worker, one set of names; and backends that are dead or hang."""

from __future__ import annotations

import threading
import time

import pytest
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric as OtlpMetric

from runguard_otel.core.verdict import Outcome, Subject
from runguard_otel.settings import Settings
from runguard_otel.telemetry.build import Telemetry, build
from runguard_otel.telemetry.catalogue import METRICS, prometheus_name
from runguard_otel.telemetry.counts import Counts
from runguard_otel.telemetry.export import export_spans, tracer_provider
from runguard_otel.telemetry.sink import Sink
from tests.kit.process_state import nothing_opened
from tests.kit.telemetry import Collector, everything, fetch

OF_A_WATCHER = {
    f"runguard.server.{name}" for name in ("participants", "rooms", "rooms.oldest", "watchers")
}

pytestmark = [pytest.mark.chain, pytest.mark.usefixtures("no_otel_environment")]

SUBJECT = Subject(room="Room-7", job_id="AJ_7")


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
    of_a_worker = set(METRICS) - OF_A_WATCHER
    assert {prometheus_name(name) for name in of_a_worker} == served, "the others are watch's"
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


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_METRIC_EXPORT_INTERVAL", "0"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd"),
        ("OTEL_METRICS_EXEMPLAR_FILTER", "foo"),
    ],
)
def test_one_odd_variable_costs_a_warning_and_not_the_workers_telemetry(
    name: str,
    value: str,
    collector: Collector,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    # over HTTP the SDK itself says so and goes on
    protocol = "grpc" if value == "zstd" else "http/protobuf"
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
    monkeypatch.setenv(name, value)
    made = build(Settings())
    made.start_worker("support")
    try:
        assert made.hub_address
        with nothing_opened():
            for _ in range(20):
                made.recorder.add("runguard.room.connects", 1, connect="ok")
    finally:
        made.shutdown()
    assert name in caplog.text


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "foo"),
        ("OTEL_LINK_ATTRIBUTE_COUNT_LIMIT", "-1"),
        ("OTEL_BSP_SCHEDULE_DELAY", "0"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon"),
    ],
)
def test_one_odd_variable_leaves_a_provider_of_spans_and_is_named(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=hunter2")
    monkeypatch.setenv(name, value)
    provider = tracer_provider()
    try:
        export_spans(provider)
        with provider.get_tracer("test").start_as_current_span("one") as span:
            span.set_attribute("runguard.key", "kept")
        assert "kept" in span.to_json()  # type: ignore[attr-defined]  # an SDK span
    finally:
        provider.shutdown()
    assert name in caplog.text
    assert "hunter2" not in caplog.text


def test_a_sink_that_cannot_be_made_is_not_tried_again() -> None:
    attempts = []

    def fails() -> Sink:
        attempts.append(1)
        raise RuntimeError("no")

    counts = Counts(fails)
    with pytest.raises(RuntimeError):
        counts.add("runguard.room.connects", 1, {}, None)
    counts.add("runguard.room.connects", 1, {}, None)
    assert len(attempts) == 1
    assert [total for _, _, total in counts.sums()] == [2]
