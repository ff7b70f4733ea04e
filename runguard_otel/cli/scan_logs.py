"""``runguard-otel scan-logs``: do logs that are there show loops, and at what price?"""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Iterable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from runguard_otel.cli.failure import REFUSED, fail
from runguard_otel.cli.watch import limits_of, span
from runguard_otel.cost.price import PriceBookError
from runguard_otel.cost.pricebook import PriceBook
from runguard_otel.logscan import LogEvent, read_events
from runguard_otel.logscan.loops import Loop, Scan, scan
from runguard_otel.settings import Settings

__all__ = ["scan_logs"]

ROWS = 40
_FILES = typer.Argument(help="Log files, plain or .gz; - reads standard input.")


def scan_logs(
    files: list[str] = _FILES,
    as_json: bool = typer.Option(False, "--json", help="Print JSON."),
    limit: int = typer.Option(ROWS, "--rows", min=1, help="Lines of the table."),
) -> None:
    """Find loops in logs of livekit-agents, of livekit-server, or in any text with times.

    Exits with 1 if there are some.
    """
    settings = Settings.load()
    try:
        book = PriceBook.load(settings.prices)
    except PriceBookError as error:
        fail(error)
    counted = _Counted()
    events = (event for name in files for event in _events(name, counted))
    plan = "scale" if settings.cost_plan == "scale" else "ship"
    found = scan(events, limits_of(settings, 0, []), book, plan)
    found.lines = counted.lines
    if as_json:
        typer.echo(json.dumps(as_data(found), indent=2))
    else:
        _show(found, limit)
    if found.loops:
        raise typer.Exit(REFUSED)


class _Counted:
    """Passes lines on and counts them."""

    def __init__(self) -> None:
        self.lines = 0

    def over(self, lines: Iterable[str]) -> Iterator[str]:
        for line in lines:
            self.lines += 1
            yield line


def _events(name: str, counted: _Counted) -> Iterator[LogEvent]:
    try:
        if name == "-":
            yield from read_events(counted.over(sys.stdin))
            return
        path = Path(name)
        if path.is_fifo() and not name.startswith(("/dev/", "/proc/")):
            fail(f"{name}: a pipe; give - and let it be the standard input")
        opened = gzip.open if path.suffix == ".gz" else open
        with opened(path, "rt", encoding="utf-8", errors="replace") as lines:
            yield from read_events(counted.over(lines))
    except (OSError, EOFError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not the gzip file that its name says"
        fail(f"{name}: cannot be read: {reason}")


def as_data(found: Scan) -> dict[str, Any]:
    """Plain data for JSON."""
    return {
        "lines": found.lines,
        "events": found.events,
        "rooms": found.rooms,
        "loops": [
            {
                "room": loop.room or None,
                "signature": loop.signature,
                "times": loop.times,
                "first": _time(loop.first),
                "last": _time(loop.last),
                "agent_minutes": round(loop.agent_minutes, 2) or None,
                "cost_usd": None if loop.cost is None else str(loop.cost),
            }
            for loop in found.loops
        ],
        "cannot_show": found.blind,
    }


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def _show(found: Scan, limit: int) -> None:
    console = Console()
    if found.loops:
        table = Table(title="Loops, times in UTC", title_justify="left")
        for name in ("room", "loop", "times", "from", "for", "about"):
            table.add_column(name, overflow="fold")
        for loop in found.loops[:limit]:
            table.add_row(*_row(loop))
        console.print(table)
    if len(found.loops) > limit:
        console.print(f"and {len(found.loops) - limit} more, see --json or --rows")
    cost = sum(loop.cost for loop in found.loops if loop.cost is not None)
    total = f", about ${cost:.2f} of agents' minutes at LiveKit Cloud's list" if cost else ""
    console.print(
        f"{found.lines} lines, {found.events} events, {found.rooms} rooms: "
        f"{len(found.loops) or 'no'} loops{total}",
        highlight=False,
        soft_wrap=True,
    )
    for word in found.blind:
        console.print(f"[cyan]cannot show[/] {escape(word)}", highlight=False, soft_wrap=True)


def _row(loop: Loop) -> tuple[str, ...]:
    return (
        escape(loop.room) or "[dim]not said[/]",
        loop.signature,
        str(loop.times),
        _time(loop.first).replace("T", " ").rstrip("Z"),
        span(loop.last - loop.first),
        "" if loop.cost is None else f"${loop.cost:.2f}",
    )
