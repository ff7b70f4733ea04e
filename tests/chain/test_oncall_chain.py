"""From the third reconnect in a job process to the page, through every real part of the way.

Job processes -> hub -> ``/metrics`` -> Prometheus -> shipped rules -> Alertmanager with the shipped
configuration -> a stand-in for PagerDuty. Intervals are shortened, all by replacing text in shipped
files (``SHORTER``), so that the whole storm, its page and its end fit into half a minute.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from alerts.rules import rule_files
from alerts.tuning import Tuning
from runguard_otel.preview.prometheus import Prometheus
from tests.kit import servers
from tests.kit.fixtures import running
from tests.kit.oncall import SHORTER, Worker, alertmanager_config, shortened
from tests.kit.pagerduty import KEY, PagerDuty
from tests.kit.ports import free_port
from tests.kit.process import Server
from tests.kit.sinks import eventually

pytestmark = pytest.mark.chain

SCRAPE = """
global: {{scrape_interval: 1s, scrape_timeout: 900ms, evaluation_interval: 1s}}
rule_files: [recording.yml, alerts.yml]
alerting: {{alertmanagers: [{{static_configs: [{{targets: ["127.0.0.1:{alertmanager}"]}}]}}]}}
scrape_configs:
  - job_name: agents
    static_configs: [{{targets: ["127.0.0.1:{front}", "127.0.0.1:{night}"]}}]
"""


@dataclass
class Chain:
    front: Worker
    night: Worker
    prometheus: Prometheus
    pagerduty: PagerDuty


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    pagerduty = PagerDuty()
    key_file = tmp_path_factory.mktemp("secrets") / "key"
    key_file.write_text(KEY)
    config = alertmanager_config(pagerduty, key_file)
    alertmanagers: Iterator[Server] = running(lambda: servers.alertmanager_server(config))
    alertmanager = next(alertmanagers)
    front, night = (
        Worker(
            service,
            free_port(),
            {"OTEL_RESOURCE_ATTRIBUTES": "k8s.cluster.name=eu", "RUNGUARD_MODE": mode},
        )
        for service, mode in (("front-desk", "enforce"), ("night-desk", "observe"))
    )
    scrape = SCRAPE.format(
        alertmanager=alertmanager.port, front=front.port, night=night.port
    )  # no labels: whose metrics they are, the workers say themselves
    rules = rule_files(Tuning())
    both = shortened("\0".join(rules.values()), SHORTER).split("\0")
    files = dict(zip(rules, both, strict=True))
    prometheuses: Iterator[Server] = running(
        lambda: servers.prometheus_server(scrape, "--rules.alert.resend-delay=1s", files=files)
    )
    prometheus = Prometheus(next(prometheuses).url)
    scraped = "count(count_over_time(runguard_worker_heartbeat_seconds[1m]) > 1)"
    eventually(lambda: _value(prometheus, scraped) == 2, 30)
    yield Chain(front, night, prometheus, pagerduty)
    for worker in (front, night):
        worker.stop()
    next(prometheuses, None)
    next(alertmanagers, None)
    pagerduty.stop()


def _value(prometheus: Prometheus, expr: str) -> float:
    found = prometheus.instant(expr, time.time())
    return found[0].points[0][1] if found else 0.0


def reached(claim: Callable[[], bool], seconds: float = 20) -> float:
    """The unix time at which something became true."""
    eventually(claim, seconds)
    return time.time()


def test_the_chain_is_quiet_before_anything_happens(chain: Chain) -> None:
    eventually(lambda: _value(chain.prometheus, "count(ALERTS)") > 0)
    firing = chain.prometheus.instant("ALERTS", time.time())
    assert [s.labels["alertname"] for s in firing] == ["RunguardWatchdog"]
    assert chain.pagerduty.events == []


def test_a_storm_of_200_events_in_20_rooms_is_one_page_in_seconds(
    chain: Chain, capsys: pytest.CaptureFixture[str]
) -> None:
    third = chain.front.storm(rooms=20, reconnects=10)
    trips = 'sum(runguard_trips_total{service_name="front-desk"})'
    stored = reached(lambda: _value(chain.prometheus, trips) > 0)
    alert = 'ALERTS{alertname="RunguardReconnectLoop", alertstate="firing"}'
    firing = reached(lambda: _value(chain.prometheus, alert) > 0)
    eventually(lambda: bool(chain.pagerduty.of("trigger")), 20)
    paged = chain.pagerduty.of("trigger")[0].at
    stages = {
        "third reconnect -> stored in Prometheus (scrape every 1 s)": stored - third,
        "stored -> alert fires (evaluation every 1 s)": firing - stored,
        "alert -> page (group_wait 1 s, 5 s as shipped)": paged - firing,
    }
    total = paged - third
    with capsys.disabled():
        print(f"\nthird reconnect to page: {total:.1f} s")
        for name, seconds in stages.items():
            print(f"  {max(0.0, seconds):5.1f} s  {max(0.0, seconds) / total:4.0%}  {name}")
        print("  as shipped: up to 15 s scrape + 15 s evaluation + 5 s group_wait")
    assert total < 40  # on a machine that does other things, too
    events = 'sum(runguard_signatures_total{runguard_signature="room_reconnect"})'
    eventually(lambda: _value(chain.prometheus, events) == 200)
    assert {e.incident for e in chain.pagerduty.of("trigger")} == {
        chain.pagerduty.of("trigger")[0].incident
    }


def test_the_page_says_what_how_bad_and_where_to_look(chain: Chain) -> None:
    event = chain.pagerduty.of("trigger", "front-desk")[0].body
    payload = event["payload"]
    assert event["routing_key"] == KEY
    assert payload["severity"] == "critical"
    assert payload["class"] == "room_reconnect"
    assert (payload["component"], payload["group"]) == ("front-desk", "eu")
    assert payload["summary"] == (
        "RunguardReconnectLoop: A room is joined again and again on agent reservations, "
        "service front-desk, cluster eu, and the guard stops it each time."
    )
    links = {link["text"]: link["href"] for link in event["links"]}
    assert links["Runbook"].endswith("/RunguardReconnectLoop.md")
    board = links["Dashboard"]
    assert re.search(r"/d/runguard-reconnects\?from=\d{13}&to=now&", board)
    assert board.endswith("&var-cluster=eu&var-service=front-desk&var-agent=reservations")
    details = payload["custom_details"]
    assert {type(value) for value in details.values()} == {str}
    assert details["signature"] == "signature room_reconnect"
    assert details["agents"] == "agent reservations"
    assert details["stopped"] == "stopped by the guard"
    assert payload["source"] == "front-desk in eu"
    assert "Room-Of-" not in str(event)  # no name of a room leaves


def test_a_storm_of_another_service_is_a_second_incident(chain: Chain) -> None:
    chain.night.storm(rooms=3, reconnects=4)
    eventually(lambda: bool(chain.pagerduty.of("trigger", "night-desk")), 20)
    (first,) = {e.incident for e in chain.pagerduty.of("trigger", "front-desk")}
    (second,) = {e.incident for e in chain.pagerduty.of("trigger", "night-desk")}
    assert first != second


def test_the_page_of_a_guard_that_only_observes_says_that_nothing_stops_it(chain: Chain) -> None:
    event = chain.pagerduty.of("trigger", "night-desk")[0].body
    assert event["payload"]["severity"] == "critical"
    assert event["payload"]["summary"] == (
        "RunguardReconnectLoop: A room is joined again and again on agent reservations, "
        "service night-desk, cluster eu, and nothing stops it."
    )
    details = event["payload"]["custom_details"]
    assert details["stopped"] == "not stopped, the guard only observes"
    assert "only observes (mode observe)" in details["what"]
    assert "stopped each" not in details["what"]


def test_both_incidents_resolve_when_the_storms_are_over(chain: Chain) -> None:
    for service in ("front-desk", "night-desk"):
        eventually(lambda s=service: bool(chain.pagerduty.of("resolve", s)), 60)  # type: ignore[misc]  # bound now
        trigger = chain.pagerduty.of("trigger", service)[0]
        resolve = chain.pagerduty.of("resolve", service)[-1]
        assert resolve.incident == trigger.incident
        assert resolve.at > trigger.at
    assert chain.pagerduty.refused == []


def test_the_dead_mans_switch_is_fed(chain: Chain) -> None:
    eventually(lambda: bool(chain.pagerduty.watchdog), 15)
    (alert,) = chain.pagerduty.watchdog[0]["alerts"]
    assert alert["labels"]["alertname"] == "RunguardWatchdog"
