"""150 real job processes, a third killed right after their last event; nothing is lost.

``make soak`` runs the full size (1,000 processes, 10,000 events): ``bench/hub_exactness.py``.
"""

from __future__ import annotations

import json
import time
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from runguard_otel.settings import Settings
from runguard_otel.telemetry.build import Telemetry, build
from tests.kit import servers
from tests.kit.fixtures import running
from tests.kit.hub_jobs import AGENT, emitted, plan, run_jobs
from tests.kit.ports import free_port
from tests.kit.process import Server
from tests.kit.sinks import eventually

pytestmark = pytest.mark.chain

JOBS = plan(150, 10, (0.05, 0.4))
SCRAPE = """
global: {{scrape_interval: 500ms, scrape_timeout: 400ms}}
scrape_configs:
  - job_name: runguard
    static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
"""


@dataclass
class Storm:
    telemetry: Telemetry
    prometheus: Server
    series_before: int

    def query(self, expression: str, path: str = "query") -> Any:
        arguments = {"query": expression, "start": time.time() - 3600, "end": time.time() + 60}
        url = f"http://127.0.0.1:{self.prometheus.port}/api/v1/{path}?"
        with urllib.request.urlopen(url + urllib.parse.urlencode(arguments), timeout=5) as answer:
            found = json.load(answer)["data"]
        return found["result"] if isinstance(found, dict) else found

    def value(self, expression: str) -> float:
        result = self.query(expression)
        return float(result[0]["value"][1]) if result else 0.0


def scrape(telemetry: Telemetry) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Every sample that ``/metrics`` serves."""
    assert telemetry.metrics_url is not None
    with urllib.request.urlopen(telemetry.metrics_url, timeout=5) as answer:
        text = answer.read().decode()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def total(samples: dict[tuple[str, frozenset[tuple[str, str]]], float], name: str) -> float:
    return sum(value for (found, _), value in samples.items() if found == name)


@pytest.fixture(scope="module")
def storm() -> Iterator[Storm]:
    telemetry = build(Settings.load(metrics_port=free_port(), session_overrun_mode="enforce"))
    telemetry.start_worker(AGENT)
    assert telemetry.metrics_url is not None
    assert telemetry.hub_address is not None
    port = telemetry.metrics_url.rpartition(":")[2].partition("/")[0]
    config = SCRAPE.format(port=port)
    started = running(
        lambda: servers.prometheus_server(config, "--enable-feature=exemplar-storage")
    )
    prometheus = next(started)
    made = Storm(telemetry, prometheus, len(scrape(telemetry)))
    eventually(lambda: made.value("count(runguard_signatures_total)") > 0)
    run_jobs(telemetry.hub_address, JOBS[:10], parallel=8)
    eventually(lambda: total(scrape(telemetry), "runguard_jobs_ended_total") == 10)
    made.series_before = len(scrape(telemetry))
    run_jobs(telemetry.hub_address, JOBS[10:], parallel=8)
    eventually(lambda: total(scrape(telemetry), "runguard_jobs_ended_total") == len(JOBS))
    eventually(lambda: made.value("sum(runguard_jobs_ended_total)") == len(JOBS))
    yield made
    telemetry.shutdown()
    next(started, None)


def test_the_worker_has_every_event_of_every_signature(storm: Storm) -> None:
    expected = Counter(pair for job in JOBS for pair in emitted(job))
    samples = scrape(storm.telemetry)
    found = {
        (dict(labels)["runguard_signature"], dict(labels)["runguard_outcome"]): int(value)
        for (name, labels), value in samples.items()
        if name == "runguard_signatures_total" and value
    }
    assert found == dict(expected)
    assert total(samples, "runguard_events_dropped_total") == 0


def test_prometheus_has_every_event(storm: Storm) -> None:
    assert storm.value("sum(runguard_signatures_total)") == 10 * len(JOBS)


def test_the_first_event_is_visible_to_increase(storm: Storm) -> None:
    """Each series was scraped as 0 before anything happened, so its birth is an increase."""
    happened = "runguard_signatures_total > 0"
    born_at_zero = f"min_over_time(runguard_signatures_total[1h]) == 0 and {happened}"
    assert storm.value(f"count({born_at_zero})") == storm.value(f"count({happened})") > 0


def test_jobs_that_died_silently_are_told_from_clean_ones(storm: Storm) -> None:
    by_outcome = {
        r["metric"]["runguard_job_outcome"]: float(r["value"][1])
        for r in storm.query("runguard_jobs_ended_total > 0")
    }
    assert by_outcome == {"clean": 100.0, "killed": 50.0}


def test_gauges_of_dead_jobs_are_back_at_zero(storm: Storm) -> None:
    assert storm.value("runguard_jobs") == 0
    assert storm.value("sum(runguard_guards_open)") == 0
    assert storm.value("max(max_over_time(runguard_jobs[1h]))") > 0


def test_an_exemplar_leads_to_a_trace(storm: Storm) -> None:
    found = storm.query("runguard_signatures_total", "query_exemplars")
    ids = {e["labels"]["trace_id"] for series in found for e in series["exemplars"]}
    assert ids
    assert all(len(i) == 32 and int(i, 16) for i in ids)


def test_series_do_not_grow_with_rooms(storm: Storm) -> None:
    after = len(scrape(storm.telemetry))
    assert after == storm.series_before
    assert after <= 200


def test_no_name_reaches_prometheus(storm: Storm) -> None:
    text = json.dumps(storm.query('{__name__=~".+"}'))
    assert "Room-Of" not in text
    assert "caller-" not in text
