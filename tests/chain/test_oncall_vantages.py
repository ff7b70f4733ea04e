"""A watcher beside instrumented agents: boards and alerts count one loop once.

Two clusters with the same loops stand in one Prometheus. One of them has a watcher that sees them,
too. Whatever is asked of either, with no more than the cluster named, must have the same answer.
"""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from alerts.rules import rule_files
from alerts.tuning import Tuning
from runguard_otel.preview.boards import fetch, shipped
from runguard_otel.preview.panels import Shown, Span
from runguard_otel.preview.prometheus import Prometheus
from tests.kit.fixtures import running
from tests.kit.history import MINUTES, now, prometheus_with
from tests.kit.process import Server
from tests.kit.sinks import eventually
from tests.kit.storm import beside_a_watcher

pytestmark = pytest.mark.chain

BOARDS = [
    board
    for board in shipped(Path(__file__).resolve().parents[2] / "dashboards" / "generated")
    if board["uid"] != "runguard-server"
]
OF_PROCESSES = {
    "Workers alive", "Oldest heartbeat", "Age of heartbeats", "Series", "Series by service",
}  # fmt: skip
"""They show the watcher's own process beside the workers."""
OUTSIDE = "runguard-watch"


@pytest.fixture(scope="module")
def clusters() -> Iterator[tuple[Prometheus, float]]:
    end = now()
    rules = rule_files(Tuning())
    started: Iterator[Server] = running(lambda: prometheus_with(beside_a_watcher(end), end, rules))
    yield Prometheus(next(started).url), end
    next(started, None)


def same(shown: Shown) -> str:
    """What a panel shows, whichever the cluster; a table of services has a row of the watcher's."""
    rows = [row for row in shown.rows if OUTSIDE not in row]
    found = [repr(one).replace("watched", "eu") for one in (*shown.series, *rows)]
    return "\n".join(sorted(found))


@pytest.mark.parametrize("board", BOARDS, ids=lambda b: b["uid"])
def test_no_panel_changes_when_a_watcher_sees_the_same_loops(
    board: dict[str, Any], clusters: tuple[Prometheus, float]
) -> None:
    server, end = clusters
    span = Span(end - MINUTES * 60, end)
    alone, watched = (
        fetch(board, server, span, {"cluster": name}).panels for name in ("eu", "watched")
    )
    changed = {
        one.panel["title"]
        for one, other in zip(alone, watched, strict=True)
        if same(one) != same(other)
    }
    assert changed - OF_PROCESSES == set()


def test_no_record_or_alert_changes_but_the_one_of_what_only_a_server_saw(
    clusters: tuple[Prometheus, float],
) -> None:
    server, _ = clusters
    told = 'ALERTS{cluster="eu", alertname="RunguardReconnectLoop"}'
    eventually(lambda: bool(server.instant(told, time.time())), 30)

    def found(cluster: str) -> set[tuple[tuple[str, str], ...]]:
        query = f'{{__name__=~"service:.*|ALERTS", cluster="{cluster}"}}'
        labels = [dict(sample.labels) for sample in server.instant(query, time.time())]
        return {
            tuple(sorted((k, v) for k, v in one.items() if k not in ("cluster", "instance")))
            for one in labels
            if one.get("service_name") != OUTSIDE
        }

    def agree() -> bool:
        return bool(found("eu")) and found("eu") == found("watched")

    eventually(agree, 30)
    mine = f'ALERTS{{service_name="{OUTSIDE}"}}'
    assert [dict(s.labels)["alertname"] for s in server.instant(mine, time.time())] == []


def test_a_count_that_names_no_vantage_would_be_noticed(
    clusters: tuple[Prometheus, float],
) -> None:
    """The check's own check, by a panel of a shipped board without the label's matcher."""
    server, end = clusters
    board = copy.deepcopy(next(b for b in BOARDS if b["uid"] == "runguard-overview"))
    without = json.loads(json.dumps(board).replace(', runguard_vantage=\\"\\"', ""))
    assert without != board
    span = Span(end - MINUTES * 60, end)
    alone, watched = (
        fetch(without, server, span, {"cluster": name}).panels for name in ("eu", "watched")
    )
    assert "Looping now" in {
        one.panel["title"]
        for one, other in zip(alone, watched, strict=True)
        if same(one) != same(other)
    }
