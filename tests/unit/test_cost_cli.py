"""``runguard-otel cost`` lists prices with their age and prices a loop, for people and programs."""

from __future__ import annotations

import json
import re
from datetime import date
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from runguard_otel.cli.cost import commands as cost

pytestmark = pytest.mark.unit


def run(*args: str, env: dict[str, str] | None = None, stdin: str | None = None) -> Any:
    clean = {"RUNGUARD_PRICES": "", "COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"}
    return CliRunner().invoke(cost.app, list(args), env={**clean, **(env or {})}, input=stdin)


@pytest.fixture(autouse=True)
def on_a_day(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost, "_today", lambda: date(2026, 11, 23))


def test_prices_are_listed_with_age_and_source_and_old_ones_are_warned_about() -> None:
    result = run("prices")
    assert result.exit_code == 0, result.output
    assert "226 d" in result.output
    assert "voice-agent-pricing-compare" in result.output
    assert re.search(r"warning \d+ of \d+ prices are older than 180 days", result.stderr)


def test_nothing_is_warned_about_when_prices_are_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost, "_today", lambda: date(2026, 3, 1))
    assert "warning" not in run("prices").output


def test_prices_as_json_are_text_and_complete() -> None:
    listed = json.loads(run("prices", "--json", "--component", "stt").stdout)
    assert {row["component"] for row in listed["prices"]} == {"stt"}
    nova = next(r for r in listed["prices"] if r["models"][0] == "nova-3")
    assert nova["rates"] == {"audio_seconds": "0.0048"}
    assert (nova["date"], nova["age_days"], nova["stale"]) == ("2026-08-01", 114, False)


def test_a_broken_price_file_ends_in_one_clear_line(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("[[price]]\ncomponent = 'llm'\n", "utf-8")
    for result in (
        run("prices", "--prices", str(file)),
        run("estimate", env={"RUNGUARD_PRICES": str(file)}),
    ):
        assert result.exit_code == 2
        assert "provider is missing" in result.stderr
        assert "Traceback" not in result.output


def test_brackets_in_a_price_file_are_printed_as_they_are(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(
        '[[price]]\ncomponent = "llm"\nprovider = "openai"\nmodel = "gpt-[67]"\nper = 1000\n'
        'rates = { input_tokens = "1" }\nsource = "see [/annex]"\ndate = 2026-11-01\n',
        "utf-8",
    )
    result = run("prices", "--prices", str(file), "--component", "llm")
    assert result.exit_code == 0, result.output
    assert "gpt-[67]" in result.output
    assert "see [/annex]" in result.output
    file.write_text("version = '1'\n", "utf-8")
    assert "has no [[price]] row" in run("prices", "--prices", str(file)).stderr


def test_an_estimate_says_what_the_loop_adds_and_what_the_guard_stops() -> None:
    result = run("estimate", "--loop", "duplicate", "--call-minutes", "10")
    assert result.exit_code == 0, result.output
    assert "The loop adds $9.89 a month: 30 calls x $0.330 on top of" in result.output
    assert "The guard stops $9.89 of it." in result.output


def test_json_adds_up_and_names_its_sources() -> None:
    told = json.loads(run("estimate", "--loop", "misfire", "--share", "1", "--json").stdout)
    month = {k: Decimal(v) for k, v in told["month"]["with_loop"].items()}
    assert sum(month.values()) == 2 * month["total"]
    added = Decimal(told["call"]["loop_adds"]["total"])
    assert added == Decimal("0.04328")
    assert Decimal(told["month"]["loop_adds"]) == 3000 * added
    assert len(told["sources"]) == 5
    assert all(s["source"] and s["date"] for s in told["sources"])
    assert set(told["formulas"]) >= {"transport", "agent", "stt", "llm", "tts", "loop", "guard"}


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--loop", "ghost"], "loop='ghost' is unknown"),
        (["--plan", "gold"], "plan='gold' is unknown"),
        (["--calls", "many"], "calls='many' is not a number"),
        (["--calls", "inf"], "calls='inf' is not a number"),
        (["--calls", "-5"], "calls_per_day must be >= 0"),
        (["--llm", "openai/gpt-9"], "no price for llm openai/gpt-9"),
    ],
)
def test_bad_input_ends_in_one_clear_line(args: list[str], says: str) -> None:
    result = run("estimate", *args)
    assert result.exit_code == 2
    assert says in result.stderr
    assert "Traceback" not in result.output


def test_a_loop_that_outlives_its_call_says_what_it_adds_to_a_longer_one() -> None:
    plain = run("estimate")
    assert "30 calls x $2.46 on top of" in plain.output
    assert "to a call of 20 minutes it adds $2.31, not $2.46 (--call-minutes 20)" in plain.output
    longer = run("estimate", "--call-minutes", "20")
    assert "30 calls x $2.31 on top of" in longer.output
    assert "outlives" not in longer.output
    assert "outlives" not in run("estimate", "--loop", "misfire").output, "it adds the same there"


def test_an_unknown_component_is_told_the_known_ones() -> None:
    result = run("prices", "--component", "foo")
    assert result.exit_code == 2
    assert "transport, agent, stt, llm, tts" in result.stderr
    assert result.stdout == ""


def test_a_missing_price_file_is_blamed_on_who_named_it() -> None:
    named = run("prices", "--prices", "nosuch.toml").stderr
    assert "--prices nosuch.toml: no such file" in named
    assert "RUNGUARD_PRICES" not in named
    assert "RUNGUARD_PRICES" in run("prices", env={"RUNGUARD_PRICES": "nosuch.toml"}).stderr


class _Page(HTMLParser):
    VOID = frozenset({"meta", "link", "br", "img", "input", "hr"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.bars = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.bars += tag == "span" and any("flex-grow" in (v or "") for _, v in attrs)
        self.links += [v or "" for k, v in attrs if k in ("src", "href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag


@pytest.mark.parametrize("loop", ["reconnect", "misfire", "duplicate", "cascade"])
def test_the_page_stands_alone_is_well_formed_and_shows_the_numbers(
    tmp_path: Path, loop: str
) -> None:
    file = tmp_path / "page.html"
    result = run("estimate", "--loop", loop, "--html", str(file), "--json")
    assert result.exit_code == 0, result.output
    text = file.read_text("utf-8")
    parsed = _Page()
    parsed.feed(text)
    assert parsed.open == []
    assert parsed.links == [], "no request leaves the page"
    assert "<script" not in text
    assert "prefers-color-scheme: dark" in text
    assert parsed.bars >= 2 * 3 * 4
    assert "$" + f"{Decimal(json.loads(result.stdout)['month']['with_loop']['total']):,.2f}" in text
    assert not re.search(r"\$\{?[a-z_]+", re.sub(r"<style>.*?</style>", "", text, flags=re.S))


def test_names_from_a_price_file_cannot_break_the_page(tmp_path: Path) -> None:
    prices, file = tmp_path / "mine.toml", tmp_path / "page.html"
    prices.write_text(
        '[[price]]\ncomponent = "tts"\nprovider = "<b>"\nmodel = "x"\n'
        'rates = { characters = "1" }\n'
        'source = "<script>alert(1)</script>"\ndate = 2026-11-01\nnote = "<i>"\n',
        "utf-8",
    )
    result = run("estimate", "--prices", str(prices), "--tts", "<b>/x", "--html", str(file))
    assert result.exit_code == 0, result.output
    assert "<script>" not in file.read_text("utf-8")
    assert "<b>/x" not in file.read_text("utf-8")


def test_on_a_terminal_without_arguments_it_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost, "_is_terminal", lambda: True)
    result = run("estimate", stdin="ghost\nmisfire\n3\n10\n0.5\n10\n5\nscale\n")
    assert result.exit_code == 0, result.output
    assert result.output.count("Which loop") == 2, "an unknown loop is asked for again"
    assert "150 calls x $0.065" in result.output


def test_with_an_argument_or_without_a_terminal_it_does_not_ask(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert "Which loop" not in run("estimate").output
    monkeypatch.setattr(cost, "_is_terminal", lambda: True)
    assert "Which loop" not in run("estimate", "--loop", "misfire").output
