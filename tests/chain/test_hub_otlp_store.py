"""The same storm into a real OTLP store: VictoriaMetrics of a newer Debian."""

from __future__ import annotations

import json
import os
import time
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runguard_otel.settings import Settings
from runguard_otel.telemetry.build import build
from tests.kit.hub_jobs import AGENT, emitted, plan, run_jobs
from tests.kit.newer_debian import NotReachable, program
from tests.kit.process import NotInstalled, Server, http_ready
from tests.kit.sinks import eventually

pytestmark = pytest.mark.chain

JOBS = plan(45, 10, (0.05, 0.3))


@pytest.fixture(scope="module")
def store() -> Iterator[Server]:
    try:
        executable = program("victoria-metrics", "usr/bin/victoria-metrics")
    except NotReachable as error:
        pytest.skip(f"no OTLP store: {error}")
    except NotInstalled as error:
        if os.environ.get("CI"):
            pytest.fail(str(error))
        pytest.skip(f"no OTLP store: {error}")

    def argv(port: int, directory: Path) -> list[str]:
        return [str(executable), f"-httpListenAddr=127.0.0.1:{port}",
                f"-storageDataPath={directory}/data", "-opentelemetry.usePrometheusNaming",
                "-search.latencyOffset=0s"]  # fmt: skip

    with Server("otlp-store", argv, ready=http_ready("/health")).start() as server:
        yield server


def query(store: Server, expression: str) -> list[Any]:
    arguments = urllib.parse.urlencode({"query": expression, "time": time.time()})
    with urllib.request.urlopen(f"{store.url}/api/v1/query?{arguments}", timeout=5) as answer:
        found: list[Any] = json.load(answer)["data"]["result"]
    return found


def value(store: Server, expression: str) -> float:
    found = query(store, expression)
    return float(found[0]["value"][1]) if found else 0.0


def test_every_event_of_killed_and_clean_jobs_reaches_an_otlp_store(
    store: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counts to the event and by signature, under the names ``/metrics`` would have."""
    monkeypatch.setenv(
        "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", f"{store.url}/opentelemetry/v1/metrics"
    )
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "300")
    telemetry = build(Settings.load())
    telemetry.start_worker(AGENT)
    assert telemetry.hub_address is not None
    run_jobs(telemetry.hub_address, JOBS, parallel=8)
    eventually(lambda: value(store, "sum(runguard_jobs_ended_total)") == len(JOBS), 20)
    telemetry.shutdown()
    eventually(lambda: value(store, "sum(runguard_signatures_total)") == 10 * len(JOBS), 20)
    found = {
        (row["metric"]["runguard_signature"], row["metric"]["runguard_outcome"]): float(
            row["value"][1]
        )
        for row in query(store, "runguard_signatures_total > 0")
    }
    assert found == dict(Counter(pair for job in JOBS for pair in emitted(job)))
    assert value(store, 'sum(runguard_jobs_ended_total{runguard_job_outcome="killed"})') == 15
    assert value(store, "sum(runguard_jobs)") == 0
    names = {row["metric"]["__name__"] for row in query(store, '{__name__=~"runguard.+"}')}
    assert "runguard_worker_heartbeat_seconds" in names
