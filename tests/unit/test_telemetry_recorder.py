from __future__ import annotations

import asyncio
import json
import logging
import os
import pickle
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, NumberDataPoint
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from runguard_otel.core.ports import Recorder as RecorderPort
from runguard_otel.core.signatures import GuardName
from runguard_otel.core.verdict import Evidence, Mode, Outcome, Subject, Trip
from runguard_otel.settings import Settings
from runguard_otel.telemetry import export
from runguard_otel.telemetry.build import Telemetry, build
from runguard_otel.telemetry.catalogue import ATTRIBUTES
from runguard_otel.telemetry.sink import NullSink

pytestmark = pytest.mark.unit

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


def test_recorder_implements_the_port(bench: Bench) -> None:
    port: RecorderPort = bench.recorder
    assert port is bench.recorder


def test_an_event_is_one_span_and_one_count(bench: Bench) -> None:
    bench.recorder.event(
        "vad_misfire:echo", Outcome.SUPPRESSED, SUBJECT, attributes={"runguard.words": 4}
    )
    (span,) = bench.finished("runguard.vad_misfire")
    assert span.attributes is not None
    assert dict(span.attributes) == {
        "runguard.signature": "vad_misfire:echo",
        "runguard.outcome": "suppressed",
        "runguard.guard": "vad_misfire",
        "runguard.room.hash": span.attributes["runguard.room.hash"],
        "lk.pii.room_name": ROOM,
        "runguard.participant.hash": span.attributes["runguard.participant.hash"],
        "lk.pii.participant_identity": WHO,
        "lk.job_id": "AJ_1",
        "runguard.track.source": "microphone",
        "runguard.agent.name": "helper",
        "runguard.words": 4,
    }
    assert bench.value("runguard.signatures", signature="vad_misfire:echo", agent="helper") == 1


def test_the_exemplar_of_a_count_is_the_events_own_span(bench: Bench) -> None:
    bench.recorder.event("room_reconnect", Outcome.ALLOWED, SUBJECT)
    (span,) = bench.finished("runguard.room_reconnect")
    exemplars = [e for p in bench.points("runguard.signatures") for e in p.exemplars]
    assert span.context is not None
    assert [e.span_id for e in exemplars] == [span.context.span_id]


def test_a_span_has_the_given_parent_and_is_never_current(bench: Bench) -> None:
    tracer = bench.tracer_provider.get_tracer("host")
    parent = tracer.start_span("user_turn")
    bench.recorder.event(
        "room_reconnect", Outcome.ALLOWED, SUBJECT, context=trace.set_span_in_context(parent)
    )
    (span,) = bench.finished("runguard.room_reconnect")
    assert span.parent is not None
    assert span.parent.span_id == parent.get_span_context().span_id
    assert not trace.get_current_span().get_span_context().is_valid


def test_a_trip_is_explained_in_the_same_words_by_span_log_callback_and_snapshot(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[Trip] = []
    bench.telemetry.on_trip(heard.append)
    for _ in range(3):
        bench.recorder.event("room_reconnect", Outcome.REFUSED, SUBJECT)
    tripped = trip()
    with caplog.at_level(logging.WARNING, "runguard_otel"):
        bench.recorder.trip(tripped)
    assert bench.telemetry.flush(2)

    (span,) = bench.finished("runguard.trip")
    assert span.status.description == tripped.explain()
    assert span.status.status_code is trace.StatusCode.ERROR
    led = [s.context.span_id for s in bench.finished("runguard.room_reconnect") if s.context]
    assert [link.context.span_id for link in span.links] == led
    attributes = dict(span.attributes or {})
    assert attributes["runguard.trip.evidence"] == (
        "-12.5s room_reconnect signal_close",
        "-0.0s room_reconnect",
    )
    assert attributes["lk.pii.runguard.signature_with_key"] == f"room_reconnect:{WHO}"
    (record,) = [r for r in caplog.records if r.name == "runguard_otel.trips"]
    assert record.getMessage() == tripped.explain()
    for key in ("runguard.trip.count", "runguard.trip.threshold", "runguard.action"):
        assert record.__dict__[key] == attributes[key]
    assert heard == [tripped]
    snapshot = bench.telemetry.snapshot()
    assert snapshot["recent_trips"][0]["explanation"] == tripped.explain()
    assert snapshot["trips"] == 1
    assert bench.value("runguard.trips", guard="room_reconnect", action="refuse_connect") == 1


def test_links_are_bounded_and_belong_to_one_open_period(bench: Bench) -> None:
    for _ in range(100):
        bench.recorder.event("room_reconnect", Outcome.REFUSED, SUBJECT)
    bench.recorder.trip(trip())
    bench.recorder.trip(trip())
    first, second = bench.finished("runguard.trip")
    assert (len(first.links), len(second.links)) == (16, 0)


def test_no_name_reaches_a_label_a_span_name_or_a_log_record(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        bench.recorder.event("track_subscribe", Outcome.REUSED, SUBJECT)
        bench.recorder.trip(trip())
        try:
            raise KeyError(ROOM)
        except KeyError:
            bench.recorder.internal_error("Room.connect")
        bench.recorder.add("runguard.signatures", 1, room=ROOM, signature=WHO, outcome="allowed")
    said = "".join(repr(r.__dict__) + r.getMessage() for r in caplog.records)
    # the log record's `exc_info` and `msg` are all that a formatter could print
    assert ROOM not in said
    assert WHO not in said
    data = bench.reader.get_metrics_data()
    assert data is not None
    assert ROOM not in data.to_json()
    assert WHO not in data.to_json()
    for span in bench.spans.get_finished_spans():
        assert ROOM not in span.name
        outside = {k: v for k, v in (span.attributes or {}).items() if ".pii." not in k}
        assert ROOM not in json.dumps(outside)
        assert WHO not in json.dumps(outside)
    assert ROOM not in json.dumps(bench.telemetry.snapshot())


def test_with_livekits_redaction_on_no_name_is_on_a_span(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIVEKIT_TELEMETRY_ALLOW_PII", "0")
    bench = Bench()
    bench.recorder.event(
        "room_reconnect", Outcome.ALLOWED, SUBJECT, attributes={"lk.pii.note": ROOM}
    )
    bench.recorder.trip(trip())
    for span in bench.spans.get_finished_spans():
        assert ROOM not in span.to_json()
        assert WHO not in span.to_json()
        assert (span.attributes or {})["runguard.room.hash"]


def test_the_hash_groups_across_processes_of_one_project_and_only_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from runguard_otel.telemetry.privacy import Privacy

    monkeypatch.setenv("LIVEKIT_API_SECRET", "one")
    mine, again = Privacy().hash(ROOM), Privacy().hash(ROOM)
    monkeypatch.setenv("LIVEKIT_API_SECRET", "two")
    theirs = Privacy().hash(ROOM)
    monkeypatch.delenv("LIVEKIT_API_SECRET")
    assert mine == again
    assert len({mine, theirs, Privacy().hash(ROOM), Privacy().hash(ROOM)}) == 4
    assert Privacy("x").hash("") == ""


def test_guards_open_goes_up_and_down(bench: Bench) -> None:
    bench.recorder.guard_opened(GuardName.VAD_MISFIRE)
    bench.recorder.guard_opened(GuardName.VAD_MISFIRE)
    bench.recorder.guard_closed(GuardName.VAD_MISFIRE)
    assert bench.value("runguard.guards.open", guard="vad_misfire") == 1
    assert bench.telemetry.snapshot()["guards_open"] == {"vad_misfire": 1}


def test_values_outside_the_closed_sets_become_other(bench: Bench) -> None:
    bench.recorder.add("runguard.room.disconnects", reason="a reason LiveKit adds next year")
    assert bench.value("runguard.room.disconnects", reason="other") == 1


def test_open_sets_are_capped_and_nothing_is_lost(bench: Bench) -> None:
    for i in range(200):
        bench.recorder.add("runguard.stt.audio", 1, provider="p", model=f"model-{i}")
    points = bench.points("runguard.stt.audio")
    assert len(points) == 41
    assert sum(p.value for p in points) == 200


@pytest.mark.parametrize("metric", ["runguard.no.such", ""])
def test_an_unknown_metric_is_our_failure_not_the_hosts(
    bench: Bench, metric: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR, "runguard_otel"):
        for _ in range(3):
            bench.recorder.add(metric)
    assert len(caplog.records) == 1
    assert "call is fine" in caplog.text
    assert bench.value("runguard.internal_errors") == 3


def test_a_broken_tracer_costs_the_span_only() -> None:
    class Broken:
        def get_tracer(self, *_: Any) -> Any:
            raise RuntimeError("broken")

    bench = Bench(tracer_provider=Broken())
    bench.recorder.event("room_reconnect", Outcome.ALLOWED, SUBJECT)
    bench.recorder.trip(trip())
    assert bench.value("runguard.signatures", signature="room_reconnect") == 1
    assert bench.value("runguard.trips") == 1
    assert bench.value("runguard.internal_errors") == 2


def test_a_broken_meter_provider_raises_nothing() -> None:
    bench = Bench(meter_provider=object())
    bench.recorder.event("room_reconnect", Outcome.ALLOWED, SUBJECT)
    bench.recorder.internal_error("Room.connect")
    bench.recorder.add("runguard.room.connects", connect="ok")
    assert bench.telemetry.snapshot()["signatures"] == {"room_reconnect": {"allowed": 1}}


async def test_an_async_callback_runs_on_the_hosts_loop(bench: Bench) -> None:
    ran: list[asyncio.AbstractEventLoop] = []

    async def callback(_: Trip) -> None:
        ran.append(asyncio.get_running_loop())

    bench.telemetry.on_trip(callback)
    bench.recorder.trip(trip())
    assert ran == []
    await asyncio.sleep(0)
    assert ran == [asyncio.get_running_loop()]


def test_a_blocking_callback_holds_up_nobody_and_a_failing_one_is_logged(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    release, heard = threading.Event(), threading.Event()

    def failing(_: Trip) -> None:
        raise ValueError("mine")

    bench.telemetry.on_trip(lambda _: release.wait(10))
    bench.telemetry.on_trip(failing)
    bench.telemetry.on_trip(lambda _: heard.set())
    bench.recorder.trip(trip())  # returns although nobody has released the first callback
    assert not heard.is_set()
    release.set()
    assert heard.wait(5)
    assert bench.telemetry.flush(5)
    assert "failing" in caplog.text


def test_a_trip_without_a_loop_still_runs_an_async_callback(bench: Bench) -> None:
    heard = threading.Event()

    async def callback(_: Trip) -> None:
        heard.set()

    bench.telemetry.on_trip(callback)
    bench.recorder.trip(trip())
    assert heard.wait(5)


def test_a_json_logger_can_serialise_the_trip_record(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.recorder.trip(trip())
    (record,) = [r for r in caplog.records if r.name == "runguard_otel.trips"]
    fields = {k: v for k, v in record.__dict__.items() if k.startswith(("runguard.", "lk."))}
    assert json.loads(json.dumps(fields))["runguard.trip.count"] == 3
    assert pickle.loads(pickle.dumps(record)).getMessage() == record.getMessage()


def test_an_otel_log_record_leaves_through_the_given_provider() -> None:
    from opentelemetry.sdk._logs import LoggerProvider
    from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor

    exporter = InMemoryLogRecordExporter()  # type: ignore[no-untyped-call]  # as published
    provider = LoggerProvider()
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    bench = Bench(logger_provider=provider)
    bench.recorder.trip(trip())
    (record,) = exporter.get_finished_logs()
    assert record.log_record.body == trip().explain()
    (span,) = bench.finished("runguard.trip")
    assert span.context is not None
    assert record.log_record.trace_id == span.context.trace_id


def test_nothing_is_registered_globally_and_nothing_opens_before_the_first_measurement() -> None:
    before = (metrics.get_meter_provider(), trace.get_tracer_provider(), threading.active_count())
    telemetry = Telemetry(Settings.load())
    assert threading.active_count() == before[2]
    telemetry.recorder.event("room_reconnect", Outcome.ALLOWED, SUBJECT)
    assert (metrics.get_meter_provider(), trace.get_tracer_provider()) == before[:2]


def test_sdk_disabled_exports_nothing_and_still_counts_for_people(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    bench = Bench()
    bench.recorder.event("room_reconnect", Outcome.ALLOWED, SUBJECT)
    assert bench.spans.get_finished_spans() == ()
    assert bench.reader.get_metrics_data() is None
    assert bench.telemetry.snapshot()["signatures"] == {"room_reconnect": {"allowed": 1}}


def test_where_nobody_exports_no_instrument_is_made_and_a_worker_still_gets_every_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in [n for n in os.environ if n.startswith("OTEL_")]:
        monkeypatch.delenv(name)
    reader = InMemoryMetricReader()
    made = False
    monkeypatch.setattr(export, "push_readers", lambda names: [reader] if made else [])
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
