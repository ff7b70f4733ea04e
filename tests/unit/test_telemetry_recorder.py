"""One event becomes a span and a count; our own failures cost nobody."""

from __future__ import annotations

import dataclasses
import logging
from typing import Any

import pytest
from opentelemetry import trace

from runguard_otel.core.ports import Recorder as RecorderPort
from runguard_otel.core.signatures import GuardName
from runguard_otel.core.verdict import Outcome, Subject
from tests.kit.recording import ROOM, SUBJECT, WHO, Bench, trip

pytestmark = pytest.mark.unit


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


def test_links_are_bounded_and_belong_to_one_open_period(bench: Bench) -> None:
    for _ in range(100):
        bench.recorder.event("room_reconnect", Outcome.REFUSED, SUBJECT)
    bench.recorder.trip(trip())
    bench.recorder.trip(trip())
    first, second = bench.finished("runguard.trip")
    assert (len(first.links), len(second.links)) == (16, 0)


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


def test_a_bound_function_counts_in_the_series_that_add_counts_in(bench: Bench) -> None:
    count = bench.recorder.bind("runguard.stt.streams", provider="deepgram", model="nova-3")
    count(1)
    bench.recorder.add("runguard.stt.streams", 1, provider="deepgram", model="nova-3")
    bench.telemetry.use_hub("/nowhere")  # another sink: what was bound before goes there, too
    count(1)
    assert bench.value("runguard.stt.streams", provider="deepgram") == 2
    counted = bench.telemetry.snapshot()["metrics"]["runguard.stt.streams"]
    assert [series["value"] for series in counted] == [3]


def test_a_bound_function_knows_the_agent_and_records_values(bench: Bench) -> None:
    bench.recorder.bind("runguard.jobs.alone")(1)
    bench.recorder.bind("runguard.guard.duration", guard="vad_misfire")(0.25)
    assert bench.value("runguard.jobs.alone", agent="helper") == 1
    (point,) = bench.points("runguard.guard.duration")
    assert (point.count, point.sum) == (1, 0.25)


def test_what_cannot_be_bound_is_our_failure_not_the_hosts(bench: Bench) -> None:
    bench.recorder.bind("runguard.no.such")(1)
    assert bench.value("runguard.internal_errors", where="Recorder.bind") == 1
    broken = Bench(meter_provider=object())
    broken.recorder.bind("runguard.room.connects", connect="ok")(1)
    counted = broken.telemetry.snapshot()["metrics"]
    assert counted["runguard.room.connects"][0]["value"] == 1


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


def test_every_event_of_a_job_is_in_one_trace(bench: Bench) -> None:
    """Fails without the job's own span: each event would be a trace of its own."""
    subject = Subject(room="Room-7", job_id="AJ_1")
    bench.telemetry.job_started("AJ_1")
    for _ in range(3):
        bench.recorder.event("room_reconnect", Outcome.ALLOWED, subject)
    bench.recorder.event("vad_misfire:echo", Outcome.ALLOWED, Subject(room="Room-7"))
    bench.recorder.trip(trip())
    bench.telemetry.job_ended("AJ_1", "clean")
    (root,) = bench.finished("runguard.job")
    others = [span for span in bench.spans.get_finished_spans() if span is not root]
    assert root.parent is None
    assert root.context is not None
    assert len(others) == 5
    assert {span.parent.span_id for span in others if span.parent} == {root.context.span_id}
    assert {span.context.trace_id for span in others if span.context} == {root.context.trace_id}


def test_a_job_whose_host_spans_are_recorded_needs_no_span_of_ours(bench: Bench) -> None:
    subject = Subject(room="Room-7", job_id="AJ_7")
    bench.telemetry.job_started("AJ_7")
    host = bench.tracer_provider.get_tracer("livekit-agents").start_span("job_entrypoint")
    with trace.use_span(host):
        bench.recorder.event("room_reconnect", Outcome.ALLOWED, subject)
    bench.recorder.event("room_reconnect", Outcome.ALLOWED, subject)  # from outside of all spans
    bench.telemetry.job_ended("AJ_7", "clean")
    assert bench.finished("runguard.job") == []
    traces = {s.context.trace_id for s in bench.finished("runguard.room_reconnect") if s.context}
    assert traces == {host.get_span_context().trace_id}


def test_jobs_that_share_a_process_have_a_trace_each(bench: Bench) -> None:
    for job in ("AJ_1", "AJ_2"):
        bench.telemetry.job_started(job)
        for _ in range(2):
            bench.recorder.event("room_reconnect", Outcome.ALLOWED, Subject(room="r", job_id=job))
    for job in ("AJ_1", "AJ_2"):
        bench.telemetry.job_ended(job, "clean")
    assert len(bench.finished("runguard.job")) == 2
    events = bench.finished("runguard.room_reconnect")
    assert len({span.context.trace_id for span in events if span.context}) == 2


def test_costs_on_spans_are_numbers_and_the_scope_has_a_version(bench: Bench) -> None:
    costs = {"llm": "0.00012300", "formula": "one average turn"}
    bench.recorder.trip(dataclasses.replace(trip(), cost=costs))
    (span,) = bench.finished("runguard.trip")
    attributes = dict(span.attributes or {})
    assert attributes["runguard.cost.llm"] == 0.000123
    assert attributes["runguard.cost.formula"] == "one average turn"
    assert span.instrumentation_scope is not None
    assert span.instrumentation_scope.version
