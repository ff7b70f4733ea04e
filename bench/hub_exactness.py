"""1,000 job processes, a third of them killed: is every event counted, and none twice?

Once they are killed right after their last event, so that what is to be found is known. Once at a
random instant while three threads of each count as fast as a thousand times a second: then each
thread leaves word before and after a count, and what the worker has must lie between, to the event;
and Prometheus, and VictoriaMetrics behind it, must have what the worker has.

The quick version of the first is a test (``tests/chain/test_hub_exactness.py``), that of the second
another (``tests/chain/test_hub_client.py``); this is the full size.
"""

from __future__ import annotations

import json
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from bench.harness import Result
from runguard_otel.settings import Settings
from runguard_otel.telemetry.build import Telemetry, build
from tests.kit import killed_jobs, servers
from tests.kit.hub_jobs import AGENT, plan, run_jobs
from tests.kit.ports import free_port
from tests.kit.process import NotInstalled, Server

JOBS, EVENTS = 1_000, 10
PATIENCE = 30.0
"""Seconds for what was counted last to be seen everywhere."""
CONFIG = """
global: {{scrape_interval: 500ms, scrape_timeout: 400ms}}
scrape_configs:
  - job_name: runguard
    static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
remote_write: [{{url: "{store}/api/v1/write"}}]
"""


def run(soak: bool) -> list[Result]:
    return [*_killed_after_the_last(soak), *_killed_at_any_instant()]


def _killed_after_the_last(soak: bool) -> list[Result]:
    jobs = plan(JOBS, EVENTS, (0.2, 3.0) if soak else (0.05, 0.4))
    telemetry = build(Settings.load(metrics_port=free_port(), session_overrun_mode="enforce"))
    telemetry.start_worker(AGENT)
    assert telemetry.hub_address is not None
    run_jobs(telemetry.hub_address, jobs, parallel=24)
    _wait(lambda: _total(telemetry, "runguard_jobs_ended_total") >= JOBS)
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


def _killed_at_any_instant() -> list[Result]:
    with ExitStack() as stack:
        port = free_port()
        telemetry = build(Settings.load(metrics_port=port))
        telemetry.start_worker(AGENT)
        stack.callback(telemetry.shutdown)
        assert telemetry.hub_address is not None
        stores: dict[str, Server] = {}
        try:
            stores["VictoriaMetrics"] = stack.enter_context(
                servers.victoria_metrics_server("-search.latencyOffset=0s")
            )
            config = CONFIG.format(port=port, store=stores["VictoriaMetrics"].url)
            stores["Prometheus"] = stack.enter_context(servers.prometheus_server(config))
        except NotInstalled as missing:
            print(f"left out: {missing}")
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="killed-jobs-")))
        told = killed_jobs.run_jobs(telemetry.hub_address, JOBS, folder)
        _wait(lambda: _total(telemetry, "runguard_jobs") == 0)
        counted = _total(telemetry, "runguard_signatures_total")
        left = _total(telemetry, "runguard_jobs") + _total(telemetry, "runguard_guards_open")
        dropped = _total(telemetry, "runguard_events_dropped_total")
        found: dict[str, float] = {}
        for name, store in stores.items():
            _wait(lambda: _stored(store) == counted)  # noqa: B023 - at once
            found[name] = _stored(store)
    note = (
        f"{counted:,.0f} counted by {JOBS} processes of {killed_jobs.THREADS} threads, a third "
        f"killed at random; {told.returned:,} had returned, {told.begun:,} begun"
    )
    return [
        Result("killed anywhere: events missing", max(0.0, told.returned - counted), 0.5, "",
               note=note),
        Result("killed anywhere: events that never were", max(0.0, counted - told.begun), 0.5, ""),
        Result("killed anywhere: gauges left up", left, 0.5, "", note="jobs and open guards"),
        Result("killed anywhere: dropped", dropped, 0.5, ""),
        *(Result(f"killed anywhere: {name} differs from the worker", abs(value - counted), 0.5, "")
          for name, value in found.items()),
    ]  # fmt: skip


def _wait(claim: Callable[[], bool]) -> None:
    """Until it is so, or patience is at its end: what is found then is printed."""
    deadline = time.monotonic() + PATIENCE
    while not claim() and time.monotonic() < deadline:
        time.sleep(0.2)


def _stored(store: Server) -> float:
    """Signature events by the Prometheus API of a store."""
    query = urllib.parse.urlencode({"query": "sum(runguard_signatures_total)"})
    with urllib.request.urlopen(f"{store.url}/api/v1/query?{query}", timeout=5) as answer:
        result = json.load(answer)["data"]["result"]
    return float(result[0]["value"][1]) if result else 0.0


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
