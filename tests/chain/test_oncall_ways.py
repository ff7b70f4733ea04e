"""The chain by every way that metrics take, with a guard that enforces and one that observes.

A way is skipped where a part of it is missing: a collector contrib on the PATH, a Prometheus that
takes OTLP (a release of 3; Debian builds it without), a VictoriaMetrics that does (1.94 or newer).
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator

import pytest

from runguard_otel.cli.export.labels import in_board
from runguard_otel.preview.boards import fetch
from runguard_otel.preview.panels import Span
from tests.kit.fixtures import leave_out
from tests.kit.oncall import ROOT
from tests.kit.oncall_chain import MODES, SCRAPED, WAYS, Chain, Elsewhere, chain
from tests.kit.pagerduty import KEY
from tests.kit.process import NotInstalled
from tests.kit.sinks import eventually

pytestmark = pytest.mark.chain

SUMMARY = (
    "RunguardReconnectLoop: A room is joined again and again on agent reservations, "
    "service {service}, cluster eu, and {stops}."
)
STOPS = {"enforce": "the guard stops it each time", "observe": "nothing stops it"}
STOPPED = {"enforce": "stopped by the guard", "observe": "not stopped, the guard only observes"}
WHAT = {
    "enforce": "is in mode enforce and has stopped each",
    "observe": "only observes (mode observe)",
}


@pytest.fixture(scope="module", params=WAYS)
def found(request: pytest.FixtureRequest) -> Iterator[Chain]:
    try:
        with chain(request.param) as started:
            yield started
    except Elsewhere as missing:
        pytest.skip(str(missing))
    except NotInstalled as missing:
        leave_out(missing)


def test_the_chain_is_quiet_before_anything_happens(found: Chain) -> None:
    eventually(lambda: found.value("count(ALERTS)") > 0)
    firing = found.store.instant("ALERTS", time.time())
    assert [s.labels["alertname"] for s in firing] == ["RunguardWatchdog"]
    assert found.pagerduty.events == []


@pytest.mark.parametrize("service", MODES)
def test_a_storm_of_200_events_in_20_rooms_is_one_page_in_seconds(
    found: Chain, service: str, capsys: pytest.CaptureFixture[str]
) -> None:
    stages = found.storm(service, rooms=20, reconnects=10)
    with capsys.disabled():
        print(f"\n{service}, third reconnect to page: {stages.paged - stages.third:.1f} s")
    assert stages.paged - stages.third < 40  # on a machine that does other things, too
    matchers = f'service_name="{service}", runguard_signature="room_reconnect"'
    events = f"sum(runguard_signatures_total{{{matchers}}})"
    eventually(lambda: found.value(events) == 200, 20)
    assert len({e.incident for e in found.pagerduty.of("trigger", service)}) == 1


@pytest.mark.parametrize(("service", "mode"), MODES.items())
def test_the_page_says_what_how_bad_whose_and_where_to_look(
    found: Chain, service: str, mode: str
) -> None:
    event = found.pagerduty.of("trigger", service)[0].body
    payload, details = event["payload"], event["payload"]["custom_details"]
    assert event["routing_key"] == KEY
    assert payload["severity"] == "critical"
    assert payload["class"] == "room_reconnect"
    assert (payload["component"], payload["group"]) == (service, "eu")
    assert payload["source"] == f"{service} in eu"
    assert payload["summary"] == SUMMARY.format(service=service, stops=STOPS[mode])
    links = {link["text"]: link["href"] for link in event["links"]}
    assert links["Runbook"].endswith("/RunguardReconnectLoop.md")
    assert re.search(r"/d/runguard-reconnects\?from=\d{13}&to=now&", links["Dashboard"])
    assert links["Dashboard"].endswith(
        f"&var-cluster=eu&var-service={service}&var-agent=reservations"
    )
    assert {type(value) for value in details.values()} == {str}
    assert details["signature"] == "signature room_reconnect"
    assert details["agents"] == "agent reservations"
    assert details["stopped"] == STOPPED[mode]
    assert WHAT[mode] in details["what"]
    assert not any(words in details["what"] for other, words in WHAT.items() if other != mode)
    assert "Room-Of-" not in str(event)  # no name of a room leaves


def test_each_service_is_an_incident_of_its_own_and_resolves_when_its_storm_is_over(
    found: Chain,
) -> None:
    incidents = set()
    for service in MODES:
        eventually(lambda s=service: bool(found.pagerduty.of("resolve", s)), 60)  # type: ignore[misc]  # bound now
        trigger = found.pagerduty.of("trigger", service)[0]
        resolve = found.pagerduty.of("resolve", service)[-1]
        assert resolve.incident == trigger.incident
        assert resolve.at > trigger.at
        incidents.add(trigger.incident)
    assert len(incidents) == len(MODES)
    assert found.pagerduty.refused == []


def test_the_dead_mans_switch_is_fed(found: Chain) -> None:
    eventually(lambda: bool(found.pagerduty.watchdog), 15)
    (alert,) = found.pagerduty.watchdog[0]["alerts"]
    assert alert["labels"]["alertname"] == "RunguardWatchdog"


@pytest.mark.parametrize(("service", "mode"), MODES.items())
def test_the_overview_reads_the_same_from_every_store(
    found: Chain, service: str, mode: str
) -> None:
    board = (ROOT / "dashboards" / "generated" / "runguard-overview.json").read_text()
    if found.tuning != SCRAPED:
        board = in_board(board, {"cluster": found.tuning.cluster_label})
    end = time.time()
    drawn = fetch(json.loads(board), found.store, Span(end - 600, end), {"service": service})
    table = next(s for s in drawn.panels if s.panel["type"] == "table")
    wanted = ["room_reconnect", "eu", service, "reservations", mode]
    assert [row[:5] for row in table.rows] == [wanted]
