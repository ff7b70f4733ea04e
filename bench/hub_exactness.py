"""10,000 events from 1,000 short job processes, a third of them killed: is every one counted?

The quick version of this is a test (``tests/chain/test_hub_exactness.py``); this is the full size.
"""

from __future__ import annotations

import time
import urllib.request

from prometheus_client.parser import text_string_to_metric_families

from bench.harness import Result
from runguard_otel.settings import Settings
from runguard_otel.telemetry.build import Telemetry, build
from tests.kit.hub_jobs import AGENT, plan, run_jobs

JOBS, EVENTS = 1_000, 10


def run(soak: bool) -> list[Result]:
    jobs = plan(JOBS, EVENTS, (0.2, 3.0) if soak else (0.05, 0.4))
    telemetry = build(Settings.load(metrics_port=9464, session_overrun_mode="enforce"))
    telemetry.start_worker(AGENT)
    assert telemetry.hub_address is not None
    run_jobs(telemetry.hub_address, jobs, parallel=24)
    deadline = time.monotonic() + 30
    while _total(telemetry, "runguard_jobs_ended_total") < JOBS and time.monotonic() < deadline:
        time.sleep(0.2)
    counted = _total(telemetry, "runguard_signatures_total")
    killed = _total(telemetry, "runguard_jobs_ended_total", "killed")
    left = _total(telemetry, "runguard_jobs") + _total(telemetry, "runguard_guards_open")
    telemetry.shutdown()
    exact = JOBS * EVENTS
    dead = sum(job.killed for job in jobs)
    return [
        Result("hub: events counted", counted, exact, "events", at_least=True,
               note=f"{JOBS} processes, {dead} killed right after their last event"),
        Result("hub: events counted too often", max(0.0, counted - exact), 0.5, "events"),
        Result("hub: silent deaths noticed", killed, dead, "jobs", at_least=True),
        Result("hub: gauges left up by dead jobs", left, 0.5, "", note="jobs and open guards"),
    ]  # fmt: skip


def _total(telemetry: Telemetry, name: str, outcome: str = "") -> float:
    assert telemetry.metrics_url is not None
    with urllib.request.urlopen(telemetry.metrics_url, timeout=5) as answer:
        text = answer.read().decode()
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name
        and (not outcome or sample.labels.get("runguard_job_outcome") == outcome)
    )
