"""Who is told of a trip: callbacks and loggers."""

from __future__ import annotations

import asyncio
import json
import logging
import pickle
import sys
import threading

import pytest
from opentelemetry import trace

from runguard_otel.core.verdict import Outcome, Trip
from tests.kit.recording import SUBJECT, WHO, Bench, trip

pytestmark = pytest.mark.unit


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


async def test_a_callback_that_calls_exit_ends_neither_its_thread_nor_the_host(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[str] = []

    def leaves(_: Trip) -> None:
        sys.exit("in a thread")

    async def leaves_too(_: Trip) -> None:
        sys.exit("on the host's loop")

    for callback in (leaves, leaves_too, lambda trip: heard.append(trip.signature)):
        bench.telemetry.on_trip(callback)
    bench.recorder.trip(trip())
    await asyncio.sleep(0)
    assert await asyncio.to_thread(bench.telemetry.flush, 5)
    assert len(heard) == 1
    assert "leaves at" in caplog.text and "leaves_too at" in caplog.text


def test_a_shutdown_ends_the_thread_of_the_callbacks_after_what_waits(bench: Bench) -> None:
    """Else each round of instrument() and uninstrument() leaves one behind."""
    go, heard = threading.Event(), list[tuple[str, threading.Thread]]()

    def callback(_: Trip) -> None:
        assert go.wait(5)
        heard.append(("called", threading.current_thread()))

    before = set(threading.enumerate())
    bench.telemetry.on_trip(callback)
    bench.recorder.trip(trip())
    bench.recorder.trip(trip())
    bench.telemetry.shutdown(0.1)
    (running,) = set(threading.enumerate()) - before
    go.set()
    running.join(5)
    assert heard == [("called", running)] * 2
    assert not running.is_alive()

    bench.recorder.trip(trip())
    assert bench.telemetry.flush(5), "a late trip is passed on all the same"
    assert len(heard) == 3
    bench.telemetry.shutdown(0.1)
    heard[2][1].join(5)
    assert not heard[2][1].is_alive()


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
