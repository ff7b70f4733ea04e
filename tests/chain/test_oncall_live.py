"""Every query of every dashboard and runbook, asked of a real Prometheus that holds a storm."""

from __future__ import annotations

import copy
import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from alerts.rules import rule_files
from alerts.tuning import Tuning
from runguard_otel.cli.preview import preview
from runguard_otel.preview.boards import fetch, shipped
from runguard_otel.preview.panels import Span
from runguard_otel.preview.prometheus import Prometheus, QueryError
from runguard_otel.preview.variables import UndeclaredVariable
from tests.kit.fixtures import running
from tests.kit.history import MINUTES, now, prometheus_with
from tests.kit.process import Server
from tests.kit.sinks import eventually
from tests.kit.storm import healthy, storm

pytestmark = pytest.mark.chain

ROOT = Path(__file__).resolve().parents[2]
BOARDS = shipped(ROOT / "dashboards" / "generated")
RUNBOOKS = sorted((ROOT / "alerts" / "runbooks").glob("*.md"))
MOMENTARY = {  # of this very moment, which is minutes after the history's end on a busy machine
    "Runguard / Overruns: Oldest open session",
    "Runguard / Runguard itself: Oldest heartbeat",
    "Runguard / Subscriptions: STT streams per job",
}
MARKS = re.compile(r'<path d="M[\d. L]+|<rect [^>]*fill="(#|var\(--(red|green))')
QUERY = re.compile(r"```promql\n(.*?)```", re.DOTALL)


@dataclass
class Live:
    server: Prometheus
    span: Span


def _live(enforce: bool) -> Iterator[Live]:
    end = now()
    history = storm(end, enforce=enforce)
    started: Iterator[Server] = running(lambda: prometheus_with(history, end, rule_files(Tuning())))
    server = Prometheus(next(started).url)
    recorded = "service:runguard_trips:events5m"
    names = ("RunguardClaimLost", "RunguardWatchdog")
    for expr in (recorded, *(f"ALERTS{{alertname='{name}'}}" for name in names)):
        eventually(lambda expr=expr: bool(server.instant(expr, time.time())), 20)  # type: ignore[misc]  # bound now
    yield Live(server, Span(end - MINUTES * 60, time.time()))
    next(started, None)


@pytest.fixture(scope="module")
def enforced() -> Iterator[Live]:
    yield from _live(enforce=True)


@pytest.mark.parametrize("board", BOARDS, ids=lambda b: b["uid"])
def test_every_panel_and_variable_of_a_dashboard_has_data_in_a_storm(
    board: dict[str, Any], enforced: Live
) -> None:
    found = fetch(board, enforced.server, enforced.span, {})
    assert [s.panel["title"] for s in found.panels if s.empty] == []
    for name, (_, there) in found.variables.items():
        assert there or name == "datasource", f"variable {name} has no values"
    assert {title for title, _, _ in found.alerts} >= {"RunguardClaimLost"}


def test_a_variable_filters(enforced: Live) -> None:
    overview = BOARDS[0]
    everything = fetch(overview, enforced.server, enforced.span, {})
    night = fetch(overview, enforced.server, enforced.span, {"service": "night-desk"})
    workers = [
        next(s for s in f.panels if s.panel["title"] == "Workers alive").series[0][1][0]
        for f in (everything, night)
    ]
    assert workers == [2, 1]


def test_the_overview_answers_which_who_since_when_cost_and_whether_stopped(
    enforced: Live,
) -> None:
    found = fetch(BOARDS[0], enforced.server, enforced.span, {})
    table = next(s for s in found.panels if s.panel["type"] == "table")
    titles = [title for title, _ in table.columns]
    assert titles == [
        "Loop", "Cluster", "Service", "Agent", "Stopped?", "First seen", "Last seen", "Loops",
        "Wasted", "Avoided", "Action"
    ]  # fmt: skip
    rows = {str(row[0]): dict(zip(titles, row, strict=True)) for row in table.rows}
    echo = rows["vad_misfire:echo"]
    assert (echo["Agent"], echo["Stopped?"]) == ("unnamed", "enforce")
    since = enforced.span.end - float(str(echo["First seen"])) / 1000
    assert 60 * 60 < since < 72 * 60  # it began 112 minutes into the three hours
    assert float(str(echo["Avoided"])) > 1


def test_the_check_notices_a_wrong_name_a_bad_query_and_an_unknown_variable(
    enforced: Live,
) -> None:
    def changed(expr: str) -> dict[str, Any]:
        board = copy.deepcopy(BOARDS[0])
        board["panels"][6]["targets"][0]["expr"] = expr
        board["panels"][6]["targets"] = board["panels"][6]["targets"][:1]
        return board

    wrong = changed('sum by (runguard_agent_name) (runguard_guard_open{cluster=~"$cluster"})')
    assert any(s.empty for s in fetch(wrong, enforced.server, enforced.span, {}).panels)
    with pytest.raises(QueryError):
        fetch(changed("sum by ("), enforced.server, enforced.span, {})
    with pytest.raises(UndeclaredVariable):
        fetch(changed("up{job='$job'}"), enforced.server, enforced.span, {})


def test_a_replayed_healthy_evening_fires_nothing_but_the_watchdog() -> None:
    end = now()
    started = running(lambda: prometheus_with(healthy(end), end, rule_files(Tuning())))
    server = Prometheus(next(started).url)
    last = "ALERTS{alertname='RunguardWatchdog'}", "service:runguard_cost_wasted:usd5m"
    for expr in (*last, "service:runguard_misfires:share5m", "service:runguard_trips:events5m"):
        eventually(lambda expr=expr: bool(server.instant(expr, time.time())), 20)  # type: ignore[misc]  # bound now
    found = server.instant("last_over_time(ALERTS[1m])", time.time() + 1)
    assert [s.labels["alertname"] for s in found] == ["RunguardWatchdog"]
    next(started, None)


def test_the_preview_command_writes_a_page_in_which_a_browser_draws_every_panel(
    enforced: Live, tmp_path: Path
) -> None:
    command = typer.Typer()
    command.command()(preview)
    words = ["--prometheus", enforced.server.url, "-o", str(tmp_path), "--json"]
    done = CliRunner().invoke(command, words)
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    assert set(result["empty"]) <= MOMENTARY
    page = Path(result["written"])
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed: apt-get install chromium")
    for board in BOARDS:
        dom = _drawn(chromium, page, board["uid"], tmp_path / board["uid"])
        panels = [p for p in board["panels"] if p["type"] == "timeseries"]
        assert dom.count("<section") == len(board["panels"])
        drawn = re.findall(r'<svg role="img" aria-label="([^"]+)"[^>]*>(.*?)</svg>', dom, re.DOTALL)
        assert [title for title, _ in drawn] == [p["title"] for p in panels]
        for title, inside in drawn:
            assert re.search(
                r'<path d="M[\d. L]+|<rect [^>]*fill="(#|var\(--(red|green))', inside
            ), title
            assert "NaN" not in inside, title


def _drawn(chromium: str, page: Path, uid: str, profile: Path) -> str:
    """The document after its script ran; a picture of it stays in ``artifacts/``."""
    artifacts = ROOT / "artifacts"
    artifacts.mkdir(exist_ok=True)
    done = subprocess.run(
        [chromium, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
         "--disable-background-networking", "--disable-sync", "--no-first-run",
         f"--user-data-dir={profile}", "--window-size=1440,1150", "--virtual-time-budget=2000",
         "--dump-dom", f"--screenshot={artifacts}/{uid}.png", f"file://{page}#{uid}"],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    return done.stdout


@pytest.mark.parametrize("path", RUNBOOKS, ids=lambda p: p.stem)
def test_every_query_of_a_runbook_runs_and_finds_series(path: Path, enforced: Live) -> None:
    queries = QUERY.findall(path.read_text(encoding="utf-8"))
    assert queries, "a runbook has at least one query to run"
    for query in queries:
        assert enforced.server.instant(query, enforced.span.end), query
