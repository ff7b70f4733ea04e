"""What people see of the demonstration: lines, picture, table, report and exit code."""

from __future__ import annotations

import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from runguard_otel.cli.demo import demo
from runguard_otel.demo import machine, runner
from runguard_otel.demo.live import LiveView
from runguard_otel.demo.machine import Machine, TooSlow
from runguard_otel.demo.plain import PlainView
from runguard_otel.demo.report import write_page
from runguard_otel.demo.report.chart import chart, nice_ticks
from runguard_otel.demo.runs import Plan
from runguard_otel.demo.scene import STORMS
from runguard_otel.demo.tables import ending
from runguard_otel.demo.verdict import verdicts
from runguard_otel.demo.wire import Event
from tests.kit.demo import LITTLE, PLENTY, play, played, storm, trip

pytestmark = pytest.mark.unit

VOID = {"meta", "br"}


def printed(width: int, plan: Plan) -> list[str]:
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    console.print(ending(plan, verdicts(plan), narrow=width < 100))
    text = console.file
    assert isinstance(text, io.StringIO)
    return text.getvalue().splitlines()


def test_plain_lines_say_what_guards_saw_and_when_each_run_ends() -> None:
    plan, lines = played("reconnect"), list[str]()
    off, on = plan.pair(storm("reconnect"))
    view = PlainView(plan, lines.append)
    for run in (off, on):
        for event in run.events:
            view(run, event)
    said = "\n".join(lines)
    assert "reconnect off  begins" in said
    assert "room_reconnect: refused" in said
    assert "TRIP room_reconnect: 2 x room reconnect" in said
    assert re.search(r"reconnect on +ends after 10\.0 s, \$0\.0\d+$", said, re.MULTILINE)
    assert "hello" not in "".join(line for line in lines if "reconnect off" in line)


@pytest.mark.parametrize(("width", "height"), [(80, 24), (120, 40)])
def test_the_picture_fits_the_screen_and_shows_the_newest_event(width: int, height: int) -> None:
    plan = played()
    file = io.StringIO()
    console = Console(file=file, width=width, height=height, force_terminal=True, color_system=None)
    view = LiveView(plan, console)
    on = plan.pair(storm("misfire"))[1]
    for n in range(100):
        view(on, Event("input", float(n), f"event {n} " + "very long " * 12))
    view(on, trip("vad_misfire"))
    with console.capture() as capture:
        console.print(view._picture())
    lines = capture.get().splitlines()
    assert len(lines) <= height
    assert "TRIP" in "".join(lines[-8:])
    assert "running cost" in lines[-1]
    assert sum(f"${LITTLE.cost:.4f}" in line for line in lines) == len(STORMS)


@pytest.mark.parametrize("width", [80, 110])
def test_no_figure_of_the_table_is_cut_off(width: int) -> None:
    plan = played()
    lines = printed(width, plan)
    assert max(map(len, lines)) <= width
    for guards in (False, True):
        assert any(f"${plan.cost(guards):.4f}" in line for line in lines)
    assert any(line.startswith("OK: 5 of 5 guards tripped") for line in lines)


def test_problems_are_said_last_and_plainly() -> None:
    lines = printed(110, played("misfire", tripped=False))
    assert any("PROBLEM vad_misfire did not trip" in line for line in lines)
    assert any(line.startswith("NOT OK: 0 of 1 guards tripped") for line in lines)


class _Page(HTMLParser):
    """Checks nesting; collects what the page would load."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loads += [str(v) for k, v in attrs if k in ("src", "href", "srcset", "data")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_report_is_well_formed_loads_nothing_and_escapes_what_was_said(tmp_path: Path) -> None:
    plan, path = played(), tmp_path / "new" / "report.html"
    write_page(path, plan, verdicts(plan))
    text = path.read_text("utf-8")
    page = _Page()
    page.feed(text)
    assert page.open == []
    assert page.loads == []
    assert not {"script", "link", "img", "iframe", "b>"} & set(page.tags)
    assert "url(" not in text and "@import" not in text
    assert "<script>" not in text and "<b>hello" not in text
    assert text.count("<figure>") == len(STORMS)
    assert text.count('class="trip" style') == len(STORMS)
    assert "5 of 5" in text


def test_trips_that_come_close_together_share_one_label() -> None:
    off, on = played("overrun").pair(storm("overrun"))  # ten seconds
    on.trips[:] = [{"at": at, "explanation": "why"} for at in (6.0, 1.4, 1.0, 9.0)]
    drawn = chart(off, on)
    assert drawn.count('class="trip"') == 4
    labels = re.findall(r'left:(\S+)%" title="why">(?:<b>(.*?)</b>)?', drawn)
    assert labels == [("10.00", ""), ("14.00", "2 trips"), ("60.00", "trip"), ("90.00", "trip")]


def test_the_report_of_a_failure_says_so(tmp_path: Path) -> None:
    plan, path = played("misfire", tripped=False), tmp_path / "report.html"
    write_page(path, plan, verdicts(plan))
    assert "vad_misfire did not trip" in path.read_text("utf-8")
    assert "not everything went as promised" in path.read_text("utf-8")


def test_a_report_of_nothing_can_be_written(tmp_path: Path) -> None:
    plan = Plan((storm("misfire"),))
    write_page(tmp_path / "report.html", plan, verdicts(plan))
    assert "not played to the end" in (tmp_path / "report.html").read_text("utf-8")


@pytest.mark.parametrize("top", [0.01, 0.16, 1.0, 8.3, 13.0, 42.0, 59.9])
def test_ticks_are_round_begin_at_zero_and_stay_inside(top: float) -> None:
    ticks = nice_ticks(top)
    assert ticks[0] == 0
    assert ticks[-1] <= top * 1.0001
    assert 3 <= len(ticks) <= 7


@pytest.mark.parametrize(("tripped", "code"), [(True, 0), (False, 1)])
def test_the_exit_code_is_the_verdict(
    tripped: bool, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run_plan(plan: Plan, listener: Any, **_: Any) -> None:
        for run in plan.runs:
            play(run, LITTLE if run.guards else PLENTY, tripped, 2)

    async def measure() -> Machine:
        return Machine()

    monkeypatch.setattr(runner, "run_plan", run_plan)
    monkeypatch.setattr(machine, "measure", measure)
    app = typer.Typer()
    app.command()(demo)
    report = tmp_path / "r.html"
    result = CliRunner().invoke(app, ["--json", "--html", str(report), "--only", "misfire"])
    assert result.exit_code == code
    found = json.loads(result.stdout)
    assert found["ok"] is tripped
    assert [s["storm"] for s in found["storms"]] == ["misfire"]
    assert report.exists()


async def _never() -> Machine:
    raise TooSlow("this machine is too slow for the demonstration now: do this")


def test_too_slow_a_machine_is_one_line_and_nothing_is_played(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "measure", _never)
    app = typer.Typer()
    app.command()(demo)
    report = tmp_path / "r.html"
    result = CliRunner().invoke(app, ["--html", str(report)])
    assert result.exit_code == 1
    assert "too slow" in result.output
    assert not report.exists()


def test_what_was_not_played_to_the_end_makes_no_headline(tmp_path: Path) -> None:
    """Fails if a sum over the part that ran is shown as a result."""
    plan = played("reconnect", "misfire")
    failed = plan.pair(storm("misfire"))[1]
    failed.state, failed.error = "failed", "ended with exit code 1: ValueError: x"
    judged = verdicts(plan)
    write_page(tmp_path / "r.html", plan, judged)
    page = (tmp_path / "r.html").read_text("utf-8")
    assert "<b>-</b><span>guards off, rough cost" in page
    assert "not all runs came to their end" in page
    console = Console(file=io.StringIO(), width=120)
    with console.capture() as capture:
        console.print(ending(plan, judged))
    assert "NOT OK: not all runs came to their end: misfire" in capture.get()
    assert "used less" not in capture.get()
