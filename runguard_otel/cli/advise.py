"""``runguard-otel advise``: thresholds from recorded calls, with what each would cost."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from runguard_otel.cli.failure import fail
from runguard_otel.cli.replay import histories_of
from runguard_otel.journal.advice import TRIED, Advice, advise
from runguard_otel.journal.reading import UnreadableError
from runguard_otel.journal.timeline import usd

__all__ = ["advise_command"]

_PATHS = typer.Argument(..., help="Journals: files, or folders; best a week in observe.")
_ONLY = typer.Option([], "--setting", help="Only this threshold; repeatable.")


def advise_command(
    journals: list[Path] = _PATHS,
    settings: list[str] = _ONLY,
    as_json: bool = typer.Option(False, "--json", help="Print JSON."),
) -> None:
    """Propose thresholds from recorded calls, and show the trade-off."""
    for name in settings:
        if name not in TRIED:
            fail(f"--setting {name}: nothing can be proposed for it; one of {', '.join(TRIED)}")
    histories = histories_of(journals)
    try:
        found = advise(histories, settings or tuple(TRIED))
    except (UnreadableError, OSError) as error:
        fail(error)
    if as_json:
        typer.echo(json.dumps({"calls": len(histories), "advice": [asdict(one) for one in found]}))
        return
    console = Console()
    console.print(f"{len(histories)} calls")
    silent: dict[str, list[str]] = {}
    for one in found:
        if one.proposed is None and not any(choice.calls for choice in one.choices):
            silent.setdefault(one.why, []).append(one.setting)
        else:
            _show(console, one)
    for why, names in silent.items():  # mostly one reason for many of them
        console.print(f"\n[yellow]no proposal[/]: {escape(why)}", highlight=False)
        console.print(f"  for {', '.join(names)}", highlight=False, style="dim")


def _show(console: Console, one: Advice) -> None:
    if one.proposed is None:
        said = f"[yellow]no proposal[/]: {escape(one.why)}"
    elif one.proposed == one.now:
        said = f"[green]stay at {one.now:g}[/]: {escape(one.why)}"
    else:
        said = f"[green]{one.now:g} -> {one.proposed:g}[/]: {escape(one.why)}"
    console.print(f"\n[bold]{one.setting}[/] {said}", highlight=False)
    if any(choice.calls for choice in one.choices):
        shown = Table(*("value", "trips", "calls", "callers touched", "would save"))
        for choice in one.choices:
            mark = " *" if choice.value == one.proposed else ""
            counts = (choice.trips, choice.calls, choice.touched)
            shown.add_row(f"{choice.value:g}{mark}", *map(str, counts), usd(choice.dollars))
        console.print(shown)
    if one.nearest:
        console.print(f"look at: {escape(', '.join(one.nearest))}", highlight=False)
