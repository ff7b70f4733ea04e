"""``runguard-otel replay``: recorded calls, judged by other settings."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from runguard_otel import pages
from runguard_otel.cli.failure import REFUSED, fail, writing
from runguard_otel.core.signatures import GuardName
from runguard_otel.errors import SettingsError
from runguard_otel.journal.money import Money, saved
from runguard_otel.journal.reading import History, UnreadableError, find
from runguard_otel.journal.replay import REPLAYABLE, Replayed, replay
from runguard_otel.journal.replay_page import page
from runguard_otel.journal.timeline import usd
from runguard_otel.settings import Settings

__all__ = ["Sum", "changes_of", "histories_of", "replay_command", "run"]

_PATHS = typer.Argument(..., help="Journals: files, or folders of them.")
_SET = typer.Option([], "--set", help="A setting that is to be another, as NAME=VALUE; repeatable.")
_HTML = typer.Option(None, "--html", help="Write a page with a picture here.")
_MOST_CALLS = 20


@dataclass
class Sum:
    """What became of one guard over all calls.

    Args:
        then: Trips, live.
        now: Trips, replayed.
        calls_then: Calls that tripped, live.
        calls_now: Calls that trip now.
        acted_then: Inputs it stopped or would have, live.
        acted_now: The same now.
        saved_then: Dollars, as if it had acted.
        saved_now: The same now.
    """

    then: int = 0
    now: int = 0
    calls_then: int = 0
    calls_now: int = 0
    acted_then: int = 0
    acted_now: int = 0
    saved_then: float = 0.0
    saved_now: float = 0.0


@dataclass
class Run:
    """All calls, replayed."""

    calls: list[Replayed] = field(default_factory=list)
    sums: dict[str, Sum] = field(default_factory=lambda: {str(g): Sum() for g in GuardName})

    @property
    def events(self) -> int:
        """Inputs that were replayed."""
        return sum(call.events for call in self.calls)

    @property
    def inexact(self) -> list[Replayed]:
        """Calls that are not all there."""
        return [call for call in self.calls if not call.exact]


def replay_command(
    journals: list[Path] = _PATHS,
    settings: list[str] = _SET,
    no_trips: bool = typer.Option(False, "--no-trips", help="Exit with 1 if anything would trip."),
    no_changes: bool = typer.Option(
        False, "--no-changes", help="Exit with 1 if any verdict is another."
    ),
    as_json: bool = typer.Option(False, "--json", help="Print JSON."),
    html: Path | None = _HTML,
) -> None:
    """Judge recorded calls again, by other settings: what would have tripped, and saved?"""
    changes = changes_of(settings)
    done = run(histories_of(journals), changes)
    if html is not None:
        with writing():
            pages.write(html, page(done.calls, changes))
    if as_json:
        typer.echo(json.dumps(_as_data(done, changes)))
    else:
        _show(done, changes)
        if html is not None:
            Console().print(f"picture in {escape(str(html))}")
    tripping = [call for call in done.calls if call.now]
    if (no_trips and tripping) or (no_changes and any(not call.same for call in done.calls)):
        raise typer.Exit(REFUSED)


def histories_of(journals: list[Path]) -> list[History]:
    """The histories somebody named."""
    try:
        return find(journals)
    except (UnreadableError, OSError, ValueError) as error:
        fail(error)


def changes_of(given: list[str]) -> dict[str, Any]:
    """``NAME=VALUE`` words as settings that a replay can answer for."""
    changes: dict[str, Any] = {}
    for word in given:
        name, equals, value = word.partition("=")
        name = name.strip().lower().removeprefix("runguard_")
        if not equals:
            fail(f"--set {word}: write NAME=VALUE, as in --set vad_misfire_limit=4")
        if name in Settings.model_fields and name not in REPLAYABLE:
            fail(
                f"--set {name}: no replay can tell what it does, for it asks the words or decides "
                f"what follows a verdict. It can tell for: {', '.join(REPLAYABLE)}"
            )
        changes[name] = value
    try:
        Settings.load(Settings(), **changes)
    except SettingsError as error:
        fail(error)
    return changes


def run(histories: list[History], changes: Mapping[str, Any]) -> Run:
    """Replay all of them."""
    done = Run()
    for history in histories:
        try:
            call, money = replay(history, changes), Money.of(history)
        except (UnreadableError, OSError) as error:
            fail(error)
        done.calls.append(call)
        then = Counter(trip.guard for trip in call.then)
        now = Counter(trip.guard for trip in call.now)
        saved_then = saved(money, call.acted_then, call.then)
        saved_now = saved(money, call.acted, call.now)
        for guard, one in done.sums.items():
            one.then += then[guard]
            one.now += now[guard]
            one.calls_then += bool(then[guard])
            one.calls_now += bool(now[guard])
            one.acted_then += sum(n for (g, _), n in call.acted_then.items() if g == guard)
            one.acted_now += sum(n for (g, _), n in call.acted.items() if g == guard)
            one.saved_then += saved_then.get(guard, 0.0)
            one.saved_now += saved_now.get(guard, 0.0)
    return done


def _show(done: Run, changes: Mapping[str, Any]) -> None:
    console = Console()
    what = ", ".join(f"{n}={v}" for n, v in changes.items()) or "unchanged settings"
    shown = Table(
        title=f"{len(done.calls)} calls, {done.events} inputs, {what}", title_justify="left"
    )
    shown.add_column("guard", no_wrap=True)
    for heading in ("trips", "calls", "stopped", "saved"):
        shown.add_column(heading, justify="right")
    for guard, one in done.sums.items():
        if guard == GuardName.JOB_DISPATCH:
            continue  # claims are no rates: there is no threshold to try
        shown.add_row(
            guard,
            _then_now(one.then, one.now),
            _then_now(one.calls_then, one.calls_now),
            _then_now(one.acted_then, one.acted_now),
            _then_now(usd(one.saved_then), usd(one.saved_now)),
        )
    console.print(shown)
    other = [call for call in done.calls if not call.same]
    for call in other[:_MOST_CALLS]:
        then, now = len(call.then), len(call.now)
        first = call.differences[0] if call.differences else None
        where = f"; first after {first.at:.1f} s, {first.guard}" if first else ""
        console.print(
            f"{escape(call.history.job)}: trips {then} -> {now}, {call.changed} other "
            f"verdicts{where}",
            highlight=False,
        )
    if len(other) > _MOST_CALLS:
        console.print(f"and {len(other) - _MOST_CALLS} calls more")
    if not other:
        console.print("every verdict is what it was")
    if done.inexact:
        console.print(
            f"[yellow]{len(done.inexact)} calls are not all there (older parts removed, lines lost "
            "or torn): what is said of them may be wrong[/]"
        )


def _then_now(then: object, now: object) -> str:
    return str(now) if then == now else f"{then} -> {now}"


def _as_data(done: Run, changes: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "settings": dict(changes),
        "calls": len(done.calls),
        "events": done.events,
        "guards": {guard: asdict(one) for guard, one in done.sums.items()},
        "changed": [
            {
                "job": call.history.job,
                "journal": call.history.name,
                "exact": call.exact,
                "changed": call.changed,
                "then": [asdict(trip) for trip in call.then],
                "now": [asdict(trip) for trip in call.now],
                "differences": [asdict(one) for one in call.differences],
            }
            for call in done.calls
            if not call.same or call.now
        ],
    }
