"""No name reaches a label, a span name or a log record."""

from __future__ import annotations

import json
import logging

import pytest

from runguard_otel.core.verdict import Outcome
from tests.kit.recording import ROOM, SUBJECT, WHO, Bench, trip

pytestmark = pytest.mark.unit


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
