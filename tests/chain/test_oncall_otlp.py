"""The same rules and routes where a worker pushes OTLP: VictoriaMetrics and vmalert.

Needs a VictoriaMetrics that takes OTLP (1.94 or newer: Debian 13 has it, Debian 12 has not).
"""

from __future__ import annotations

import contextlib
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from alerts.rules import rule_files
from alerts.tuning import Tuning
from runguard_otel.cli.export.labels import in_board
from runguard_otel.preview.boards import fetch
from runguard_otel.preview.panels import Span
from runguard_otel.preview.prometheus import Prometheus
from tests.kit import servers
from tests.kit.fixtures import running
from tests.kit.newer_debian import program
from tests.kit.oncall import ROOT, SHORTER, Worker, alertmanager_config, shortened
from tests.kit.pagerduty import KEY, PagerDuty
from tests.kit.process import NotInstalled, Server, http_ready
from tests.kit.sinks import eventually

pytestmark = pytest.mark.chain

# This store shows a sample up to two seconds after it was written, and a loop passes through three
# recordings: a memory of three seconds, as with Prometheus, would never see the newest.
NAMES = Tuning.of({"cluster_label": "k8s_cluster_name"})  # as this store makes it
LABELS = {"cluster": NAMES.cluster_label}
SLOWER = {**SHORTER, "[10m])": "[10s])", "[30m])": "[10s])"}


@dataclass
class Pushed:
    worker: Worker
    store: Prometheus
    pagerduty: PagerDuty


def _takes_otlp(server: Server) -> bool:
    request = urllib.request.Request(f"{server.url}/opentelemetry/v1/metrics", data=b"")
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return bool(answer.status < 300)
    except urllib.error.HTTPError:
        return False


def _vmalert(store: Server, alertmanager: Server) -> Server:
    exe = servers.binary("vmalert", "victoria-metrics")

    def argv(port: int, directory: Path) -> list[str]:
        both = shortened("\0".join(rule_files(NAMES).values()), SLOWER).split("\0")
        for name, text in zip(rule_files(NAMES), both, strict=True):
            (directory / name).write_text(text)
        return [exe, f"-rule={directory}/*.yml", f"-datasource.url={store.url}",
                f"-remoteWrite.url={store.url}", f"-notifier.url={alertmanager.url}",
                "-evaluationInterval=1s", "-rule.evalDelay=0s", "-remoteWrite.flushInterval=200ms",
                f"-httpListenAddr=127.0.0.1:{port}"]  # fmt: skip

    return Server("vmalert", argv, ready=http_ready("/health")).start()


@pytest.fixture(scope="module")
def newer_store() -> Iterator[None]:
    """Debian 12's VictoriaMetrics does not take OTLP: prefer the next release's, unpacked."""
    with pytest.MonkeyPatch.context() as patch:
        with contextlib.suppress(NotInstalled):
            executable = program("victoria-metrics", "usr/bin/victoria-metrics")
            patch.setenv("PATH", str(executable.parent), prepend=os.pathsep)
        yield


@pytest.fixture(scope="module")
def pushed(newer_store: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pushed]:
    stores = running(
        lambda: (
            servers.victoria_metrics_server(
                "-opentelemetry.usePrometheusNaming", "-search.latencyOffset=0s"
            )
            if _knows_otlp_flag()
            else servers.victoria_metrics_server()
        )
    )
    store = next(stores)
    if not _takes_otlp(store):
        next(stores, None)
        pytest.skip("this VictoriaMetrics does not take OTLP: 1.94 or newer is needed (Debian 13)")
    pagerduty = PagerDuty()
    key_file = tmp_path_factory.mktemp("secrets") / "key"
    key_file.write_text(KEY)
    config = alertmanager_config(pagerduty, key_file, NAMES)
    alertmanagers = running(lambda: servers.alertmanager_server(config))
    alertmanager = next(alertmanagers)
    vmalerts = running(lambda: _vmalert(store, alertmanager))
    next(vmalerts)
    environment = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"{store.url}/opentelemetry",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_TRACES_EXPORTER": "none",
        "OTEL_METRIC_EXPORT_INTERVAL": "1000",
        "OTEL_RESOURCE_ATTRIBUTES": "k8s.cluster.name=eu",
        "RUNGUARD_MODE": "observe",
    }
    worker = Worker("front-desk", 0, environment)
    yield Pushed(worker, Prometheus(store.url), pagerduty)
    worker.stop()
    for started in (vmalerts, alertmanagers, stores):
        next(started, None)
    pagerduty.stop()


def _knows_otlp_flag() -> bool:
    import subprocess

    try:
        exe = servers.binary("victoria-metrics", "victoria-metrics")
    except NotInstalled:
        return False
    asked = subprocess.run([exe, "-help"], capture_output=True, text=True, timeout=30)
    return "opentelemetry.usePrometheusNaming" in asked.stdout + asked.stderr


def test_a_storm_that_is_pushed_pages_and_resolves(
    pushed: Pushed, capsys: pytest.CaptureFixture[str]
) -> None:
    def value(expr: str) -> float:
        found = pushed.store.instant(expr, time.time())
        return found[0].points[0][1] if found else 0.0

    eventually(lambda: value("count(runguard_trips_total)") > 0, 30)
    third = pushed.worker.storm(rooms=20, reconnects=10)
    eventually(lambda: bool(pushed.pagerduty.of("trigger")), 30)
    trigger = pushed.pagerduty.of("trigger")[0]
    with capsys.disabled():
        print(f"\nby OTLP, third reconnect to page: {trigger.at - third:.1f} s")
    assert trigger.body["payload"]["severity"] == "critical"
    assert trigger.body["payload"]["component"] == "front-desk"
    assert trigger.body["payload"]["group"] == "eu"
    assert trigger.body["payload"]["summary"] == (
        "RunguardReconnectLoop: A room is joined again and again on agent reservations, "
        "service front-desk, cluster eu, and nothing stops it."
    )
    assert "&var-cluster=eu&" in trigger.body["links"][1]["href"]
    events = 'sum(runguard_signatures_total{runguard_signature="room_reconnect"})'
    eventually(lambda: value(events) == 200, 20)
    eventually(lambda: bool(pushed.pagerduty.of("resolve")), 60)
    assert {e.incident for e in pushed.pagerduty.events} == {trigger.incident}
    assert pushed.pagerduty.refused == []


def test_the_overview_reads_the_same_from_this_store(pushed: Pushed) -> None:
    board = (ROOT / "dashboards" / "generated" / "runguard-overview.json").read_text()
    overview = json.loads(in_board(board, LABELS))
    end = time.time()
    found = fetch(overview, pushed.store, Span(end - 600, end), {"service": "front-desk"})
    table = next(s for s in found.panels if s.panel["type"] == "table")
    wanted = ["room_reconnect", "eu", "front-desk", "reservations", "observe"]
    assert [row[:5] for row in table.rows] == [wanted]
