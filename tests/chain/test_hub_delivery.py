"""Telemetry that is not taken: said once, in our words, and counts stay to be had."""

from __future__ import annotations

import threading
import time
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry.sdk.trace.export import SpanExporter

from runguard_otel.core.verdict import Outcome, Subject
from runguard_otel.settings import Settings
from runguard_otel.telemetry.build import build
from runguard_otel.telemetry.delivery import REFUSALS, Delivery, LateSpanExporter
from runguard_otel.telemetry.export import destination, refusal
from tests.kit.ports import free_port
from tests.kit.sinks import eventually

pytestmark = [pytest.mark.chain, pytest.mark.usefixtures("no_otel_environment")]


@pytest.fixture
def traces_only() -> Iterator[str]:
    """A backend that takes spans and answers 404 to metrics."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200 if self.path == "/v1/traces" else 404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_backend_that_takes_only_spans_is_named_once_and_metrics_are_served(
    traces_only: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", traces_only)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "100")
    monkeypatch.setenv("OTEL_EXPORTER_PROMETHEUS_PORT", str(free_port()))
    telemetry = build(Settings.load())
    telemetry.start_worker("support")
    assert telemetry.destinations == (
        f"metrics by OTLP to {traces_only}",
        f"spans by OTLP to {traces_only}",
    )
    telemetry.recorder.event("room_reconnect", Outcome.ALLOWED, Subject(room="r"))
    eventually(lambda: telemetry.metrics_url is not None)
    assert telemetry.metrics_url is not None
    url = telemetry.metrics_url

    def served() -> str:
        with urllib.request.urlopen(url, timeout=5) as answer:
            body: bytes = answer.read()
            return body.decode()

    counted = 'runguard_signature="room_reconnect"'
    eventually(lambda: any(counted in x and x.endswith(" 1.0") for x in served().splitlines()))
    time.sleep(0.5)  # a few more exports, all refused
    telemetry.shutdown()
    ours = [r.getMessage() for r in caplog.records if r.name == "runguard_otel"]
    (said,) = [message for message in ours if "are lost" in message]
    assert said.startswith(f"metrics are lost: OTLP to {traces_only} has not taken them")
    assert url in said


def test_one_refusal_is_a_hiccup(caplog: pytest.LogCaptureFixture) -> None:
    delivery = Delivery("spans", "OTLP to x")
    for _ in range(5):
        for _ in range(REFUSALS - 1):
            delivery.result(False)
        delivery.result(True)
    assert caplog.text == ""
    for _ in range(REFUSALS * 2):
        delivery.result(False)
    assert caplog.text.count("spans are lost") == 1
    assert "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT" in caplog.text


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("https://key:secret@otlp.example.org:443/otlp", "OTLP to https://otlp.example.org:443"),
        ("collector:4317", "OTLP to collector:4317"),
        ("key:secret@collector:4317", "OTLP to collector:4317"),
        ("", "OTLP to localhost"),
    ],
)
def test_a_destination_shows_no_secret(
    monkeypatch: pytest.MonkeyPatch, url: str, words: str
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
    assert destination("traces") == words


def test_an_exporter_is_built_beside_the_loop_and_spans_wait_for_it() -> None:
    """Fails if it is built where the first span ends: in the loop of the call."""
    go, built_in = threading.Event(), list[str]()

    def build_slowly() -> SpanExporter:
        built_in.append(threading.current_thread().name)
        go.wait(5)
        raise ImportError("no exporter")

    errors: list[Exception] = []
    began = time.monotonic()
    late = LateSpanExporter(build_slowly, "OTLP to x", errors.append)
    assert time.monotonic() - began < 2
    go.set()
    late.export([])
    late.shutdown()
    assert built_in == ["runguard-exporter"]
    assert [str(error) for error in errors] == ["no exporter"]


def test_doctor_is_told_which_signal_a_backend_refuses(
    traces_only: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", traces_only)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
    assert refusal("traces") == ""
    assert "404" in refusal("metrics")
