"""A recorder over in-memory exporters, and a trip with names in it that must not leak."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from runguard_otel.core.signatures import GuardName
from runguard_otel.core.verdict import Evidence, Mode, Subject, Trip
from runguard_otel.settings import Settings
from runguard_otel.telemetry.build import build
from runguard_otel.telemetry.catalogue import ATTRIBUTES

ROOM, WHO = "Support-Erika-4711", "erika@example.org"


SUBJECT = Subject(room=ROOM, participant=WHO, job_id="AJ_1", track_source="microphone")


class Bench:
    """A Telemetry over in-memory exporters."""

    def __init__(self, **arguments: Any) -> None:
        self.spans = InMemorySpanExporter()
        self.tracer_provider = TracerProvider()
        self.tracer_provider.add_span_processor(SimpleSpanProcessor(self.spans))
        self.reader = InMemoryMetricReader()
        self.meter_provider = MeterProvider([self.reader])
        self.telemetry = build(
            Settings.load(hash_salt="pepper"),
            **{
                "tracer_provider": self.tracer_provider,
                "meter_provider": self.meter_provider,
                "agent_name": lambda: "helper",
                **arguments,
            },
        )
        self.recorder = self.telemetry.recorder

    def finished(self, name: str) -> list[ReadableSpan]:
        return [s for s in self.spans.get_finished_spans() if s.name == name]

    def points(self, metric: str) -> list[Any]:
        data = self.reader.get_metrics_data()
        assert data is not None
        return [
            point
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for found in scope.metrics
            if found.name == metric
            for point in found.data.data_points
        ]

    def value(self, metric: str, **attributes: str) -> float:
        wanted = {ATTRIBUTES[name].key: value for name, value in attributes.items()}
        found = [p for p in self.points(metric) if wanted.items() <= p.attributes.items()]
        return float(sum(p.value for p in found))


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.meter_provider.shutdown()
    made.tracer_provider.shutdown()


def trip(mode: Mode = Mode.ENFORCE) -> Trip:
    return Trip(
        guard=GuardName.ROOM_RECONNECT,
        signature="room_reconnect",
        subject=SUBJECT,
        count=3,
        window_seconds=60,
        threshold=3,
        mode=mode,
        action="refuse_connect",
        evidence=(Evidence("room_reconnect", 12.5, "signal_close"), Evidence("room_reconnect", 0)),
        at=1.0,
        cost={"transport": "0.01"},
    )
