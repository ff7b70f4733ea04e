"""What a worker serves on ``/metrics``."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from runguard_otel.core.verdict import Outcome, Subject
from runguard_otel.settings import Settings
from runguard_otel.telemetry.build import Telemetry, build
from runguard_otel.telemetry.scrape import MOST_CLIENTS
from tests.kit.ports import free_port
from tests.kit.sinks import eventually
from tests.kit.telemetry import fetch

pytestmark = [pytest.mark.chain, pytest.mark.usefixtures("no_otel_environment")]

SUBJECT = Subject(room="Room-7", job_id="AJ_7")


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


def test_after_the_last_port_there_is_none_and_the_hub_opens_all_the_same(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with socket.socket() as taken:
        with contextlib.suppress(OSError):  # it is taken already
            taken.bind(("127.0.0.1", 65535))
        telemetry = build(Settings.load(metrics_port=65535))
        telemetry.start_worker()
        assert telemetry.metrics_url is None
        assert telemetry.hub_address
        telemetry.shutdown()
    assert "no /metrics on 127.0.0.1:65535" in caplog.text


def test_a_host_that_is_no_name_costs_metrics_and_not_the_hub(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_PROMETHEUS_HOST", "caf\u00e9..b")
    telemetry = build(Settings.load(metrics_port=free_port()))
    telemetry.start_worker()
    assert telemetry.metrics_url is None
    assert telemetry.hub_address
    telemetry.shutdown()
    assert "no /metrics on caf\u00e9..b" in caplog.text


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
    assert line.startswith('runguard_worker_heartbeat_seconds{service_name="livekit-agents"} ')
    assert abs(float(line.split()[1]) - time.time()) < 5


def test_every_series_says_whose_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rules and dashboards group by these; without them two services would share incidents."""
    monkeypatch.setenv("OTEL_SERVICE_NAME", "front-desk")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "k8s.cluster.name=eu")
    telemetry = build(Settings.load(metrics_port=free_port()))
    telemetry.start_worker()
    series = [line for line in fetch(telemetry).splitlines() if line.startswith("runguard_")]
    telemetry.shutdown()
    assert len(series) > 50
    for line in series:
        assert 'service_name="front-desk"' in line
        assert 'cluster="eu"' in line


def test_counts_made_before_the_worker_ran_are_counted_once(worker: Telemetry) -> None:
    telemetry = build(Settings.load(metrics_port=free_port()))
    telemetry.recorder.add("runguard.room.connects", 3, connect="ok")
    telemetry.start_worker()
    telemetry.recorder.add("runguard.room.connects", 1, connect="ok")
    (line,) = [
        line
        for line in fetch(telemetry).splitlines()
        if line.startswith("runguard_room_connects_total") and 'connect="ok"' in line
    ]
    assert line.endswith("} 4.0")
    telemetry.shutdown()


def test_an_idle_endpoint_sleeps(worker: Telemetry, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails for a server that polls: it would ask for a timeout."""
    assert worker._worker is not None
    assert worker._worker.endpoint is not None
    server = worker._worker.endpoint._server
    eventually(lambda: not server._clients)
    assert server._until_the_next_is_late() is None


def test_clients_that_are_silent_slow_or_gone_cost_no_thread_and_no_traceback(
    worker: Telemetry, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Fails without the bound on clients (300 threads) or on their time (they stay for ever)."""
    monkeypatch.setattr("runguard_otel.telemetry.scrape.CLIENT_SECONDS", 0.5)
    assert worker.metrics_url is not None
    port = int(worker.metrics_url.rpartition(":")[2].partition("/")[0])
    threads = threading.active_count()
    crowd = []
    for n in range(300):
        client = socket.create_connection(("127.0.0.1", port))
        if n % 3 == 1:
            client.sendall(b"GET /metrics HTTP/1.1\r\nHost")
        elif n % 3 == 2:  # asks, and is gone before the answer
            client.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
            reset = struct.pack("ii", 1, 0)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
            client.close()
        crowd.append(client)
        assert threading.active_count() <= threads + MOST_CLIENTS
    eventually(lambda: threading.active_count() <= threads, 20)
    assert "runguard_worker_heartbeat_seconds" in fetch(worker)
    for client in crowd:
        client.close()
    said = capfd.readouterr()
    assert "Traceback" not in said.err + said.out
