"""Traces and logs that are there already become histories that can be replayed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from typer.testing import CliRunner

from runguard_otel.cli import commands
from runguard_otel.core.verdict import Mode, Outcome, Subject
from runguard_otel.journal.reading import find
from runguard_otel.journal.replay import replay
from runguard_otel.journal.timeline import Timeline
from runguard_otel.policies import Policies
from runguard_otel.settings import Settings
from runguard_otel.telemetry.build import build

pytestmark = pytest.mark.unit


def otlp(spans: tuple[ReadableSpan, ...]) -> dict[str, Any]:
    """As a trace store exports them."""
    kinds = {str: "stringValue", bool: "boolValue", int: "intValue", float: "doubleValue"}
    found = []
    for span in spans:
        assert span.context is not None
        attributes = [
            {"key": k, "value": {kinds[type(v)]: str(v) if type(v) is int else v}}
            for k, v in (span.attributes or {}).items()
            if type(v) in kinds
        ]
        found.append(
            {
                "traceId": f"{span.context.trace_id:032x}",
                "name": span.name,
                "startTimeUnixNano": str(span.start_time),
                "attributes": attributes,
            }
        )
    return {"resourceSpans": [{"scopeSpans": [{"spans": found}]}]}


def test_spans_of_ours_become_a_history(tmp_path: Path) -> None:
    """Fails if a signature's span is not told to the policy it came from."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    recorder = build(Settings(), tracer_provider=provider).recorder
    subject = Subject(room="Room-Of-Ada", job_id="AJ_7")
    live = Policies(Settings()).misfire(subject)
    for n in range(6):
        decision = live.on_final("", None, now=float(n))
        recorder.event(decision.signature, Outcome.SUPPRESSED, subject)
        if decision.trip is not None:
            recorder.trip(decision.trip)
    for _ in range(3):
        attributes = {"runguard.reason": "connection_timeout"}
        recorder.event("room_reconnect", Outcome.OBSERVED, subject, attributes=attributes)
    traces = tmp_path / "traces.json"
    traces.write_text(json.dumps(otlp(exporter.get_finished_spans())))
    out = tmp_path / "journal"
    told = CliRunner().invoke(commands(), ["journal", "import", str(traces), "--out", str(out)])
    assert told.exit_code == 0, told.output
    (history,) = find([out])
    assert (history.job, history.header["imported"]) == ("AJ_7", "traces")
    result = replay(history)
    assert result.same
    assert [trip.guard for trip in result.now] == ["vad_misfire", "room_reconnect"]
    assert replay(history, {"vad_misfire_limit": 9}).now[0].guard == "room_reconnect"
    call = Timeline.of(history)
    assert [timed.trip.mode for timed in call.trips] == [Mode.ENFORCE]
    assert "Ada" not in history.parts[0].read_text()


def test_logs_become_histories_by_room(tmp_path: Path) -> None:
    lines = [
        {"timestamp": f"2026-01-01T00:00:{second:02}+00:00", "message": message, "room": "r-1"}
        for second, message in (
            (1, "connected to room"),
            *((2 + n, "received user transcript") for n in range(2)),
            *((10 + n, "reconnected to room") for n in range(4)),
        )
    ]
    log = tmp_path / "agent.log"
    log.write_text("\n".join(map(json.dumps, lines)))
    out = tmp_path / "journal"
    words = ["journal", "import", "--logs", str(log), "--out", str(out)]
    assert CliRunner().invoke(commands(), words).exit_code == 0
    (history,) = find([out])
    result = replay(history)
    assert [trip.signature for trip in result.now] == ["room_reconnect"]
    assert result.same and history.header["imported"] == "logs"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"resourceSpans": [1]}', "no json"])
def test_what_is_no_trace_is_one_clear_line(tmp_path: Path, text: str) -> None:
    file = tmp_path / "odd.json"
    file.write_text(text)
    told = CliRunner().invoke(commands(), ["journal", "import", str(file), "--out", str(tmp_path)])
    assert told.exit_code == 2 and told.stderr.count("\n") == 1


def test_every_line_of_a_history_is_as_the_schema_says(tmp_path: Path) -> None:
    import random

    import jsonschema

    from tests.kit.journals import Desk, random_call

    desk = Desk(session_overrun_session_seconds=900)
    random_call(desk, random.Random(5), steps=200)
    desk.policies.note("agent_speaks", on=True)
    schema = json.loads(CliRunner().invoke(commands(), ["journal", "schema"]).stdout)
    validator = jsonschema.Draft202012Validator(schema)
    rows = list(desk.history(tmp_path).rows())
    assert len({row["e"] for row in rows}) == 4
    for row in rows:
        validator.validate(row)
    assert not validator.is_valid({"t": 1.0, "e": "in", "p": 1, "op": "final", "words": -1})
