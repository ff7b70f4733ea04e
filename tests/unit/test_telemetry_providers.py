"""Nothing is registered globally, and nothing is made where none exports."""

from __future__ import annotations

import os

import pytest
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, NumberDataPoint

from runguard_otel.core.verdict import Outcome
from runguard_otel.settings import Settings
from runguard_otel.telemetry import export
from runguard_otel.telemetry.build import Telemetry, build
from runguard_otel.telemetry.sink import NullSink
from tests.kit.process_state import nothing_opened
from tests.kit.recording import SUBJECT, Bench

pytestmark = pytest.mark.unit


def test_nothing_is_registered_globally_and_nothing_opens_before_the_first_measurement() -> None:
    before = metrics.get_meter_provider(), trace.get_tracer_provider()
    with nothing_opened():
        telemetry = Telemetry(Settings.load())
    telemetry.recorder.event("room_reconnect", Outcome.ALLOWED, SUBJECT)
    assert (metrics.get_meter_provider(), trace.get_tracer_provider()) == before


def test_sdk_disabled_exports_nothing_and_still_counts_for_people(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    bench = Bench()
    bench.recorder.event("room_reconnect", Outcome.ALLOWED, SUBJECT)
    assert bench.spans.get_finished_spans() == ()
    assert bench.reader.get_metrics_data() is None
    assert bench.telemetry.snapshot()["signatures"] == {"room_reconnect": {"allowed": 1}}


def test_where_nothing_is_exported_no_instrument_is_made_and_a_worker_still_gets_every_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in [n for n in os.environ if n.startswith("OTEL_")]:
        monkeypatch.delenv(name)
    reader = InMemoryMetricReader()
    made = False
    monkeypatch.setattr(export, "push_readers", lambda *_: [reader] if made else [])
    telemetry = build(Settings.load(metrics_port=0))
    telemetry.recorder.add("runguard.room.connects", 2, connect="refused")
    before = telemetry.sink
    made = True
    telemetry.start_worker(listen=False)
    counted = _points(reader, "runguard.room.connects")
    telemetry.shutdown()

    assert isinstance(before, NullSink)
    assert counted["refused"] == 2


def _points(reader: InMemoryMetricReader, name: str) -> dict[str, float]:
    data = reader.get_metrics_data()
    assert data is not None
    return {
        str(next(iter((point.attributes or {"": ""}).values()))): point.value
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if metric.name == name
        for point in metric.data.data_points
        if isinstance(point, NumberDataPoint)
    }
