"""``runguard-otel timeline``: what happened in a call: a page, the terminal, or as it runs."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from runguard_otel import pages
from runguard_otel.cli.failure import fail, writing
from runguard_otel.cli.replay import histories_of
from runguard_otel.journal.following import Following
from runguard_otel.journal.reading import History, UnreadableError
from runguard_otel.journal.timeline import Lane, Timeline, clock_time, cost_so_far, usd
from runguard_otel.journal.timeline_page import page

__all__ = ["running", "timeline_command", "view"]

_PATHS = typer.Argument(None, help="Journals: files, or folders. Default: RUNGUARD_JOURNAL.")
_HTML = typer.Option(None, "--html", help="Write a page here; a folder if there are several calls.")
_COLOURS: Final = {"good": "green", "bad": "red", "soft": "bright_black", "": "cyan"}
_SECONDS: Final = 1.0
_NARROW: Final = 90
"""Columns below which a table would show of each thing only how it begins."""


def timeline_command(
    journals: list[Path] = _PATHS,
    html: Path | None = _HTML,
    live: bool = typer.Option(False, "--live", help="Follow the calls that run on this host."),
    seconds: float = typer.Option(0, min=0, help="With --live, end after so long; 0: Ctrl-C."),
) -> None:
    """Show what happened in calls: lanes, trips with their evidence, money."""
    paths = journals or [Path(folder) for folder in (os.environ.get("RUNGUARD_JOURNAL"),) if folder]
    if not paths:
        fail("name a journal, or set RUNGUARD_JOURNAL to the folder of your workers")
    if live:
        _follow(paths, seconds)
        return
    histories = histories_of(paths)
    console = Console()
    for history in histories:
        call = _read(history)
        if html is None:
            console.print(view(call, console.width))
            continue
        with writing():
            many = len(histories) > 1 or html.is_dir()
            file = html / f"{history.name}.html" if many else html
            pages.write(file, page(call))
        console.print(f"{escape(history.job)}: {escape(str(file))}", highlight=False)


def _read(history: History) -> Timeline:
    try:
        return Timeline.of(history)
    except (UnreadableError, OSError) as error:
        fail(error)


def view(call: Timeline, width: int) -> Group:
    """One call for a terminal that is ``width`` characters wide."""
    label = max((len(lane.name) for lane in call.lanes), default=0) + 1
    cells = max(20, width - label - 2)
    ended = f"ended: {call.ended}" if call.ended else "no end is recorded"
    lines: list[Text | Table] = [
        Text.assemble((call.history.job, "bold"), f"  {clock_time(call.seconds)}, {ended}")
    ]
    lines += [_drawn(lane, label, cells, call.seconds or 1.0) for lane in call.lanes]
    lines.append(_money(call, label, cells))
    end = clock_time(call.seconds)
    lines.append(Text(f"{'':<{label}}{clock_time(0):<{cells - len(end)}}{end}", "dim"))
    lines += [
        Text(f"{clock_time(span.start)} to {clock_time(span.end)} open: {span.says}", "red")
        for lane in call.lanes
        if lane.name == "guards open"
        for span in lane.spans
    ]
    for timed in call.trips:
        cost = cost_so_far(timed.trip)
        spent = f" ({cost} so far)" if cost else ""
        lines.append(Text(f"{clock_time(timed.at)} {timed.trip.explain()}{spent}", "red"))
        lines.extend(
            Text(f"      {one.seconds_before:8.1f} s before  {one.signature} {one.detail}", "dim")
            for one in timed.trip.evidence
        )
    for what, number in call.acted.items():
        lines.append(Text(f"guards: {what} {number} x"))
    money = call.money
    bill = ", ".join(f"{name} {usd(amount)}" for name, amount in money.by_component.most_common())
    saved, wasted = sum(money.avoided.values()), sum(money.wasted.values())
    bill = bill and f" ({bill})"
    lines.append(Text(f"cost {usd(money.total)}{bill}; saved {usd(saved)}, wasted {usd(wasted)}"))
    return Group(*lines, Text())


def _drawn(lane: Lane, label: int, cells: int, seconds: float) -> Text:
    row = [(" ", "")] * cells
    for span in lane.spans:
        for cell in range(_cell(span.start, seconds, cells), _cell(span.end, seconds, cells) + 1):
            row[cell] = ("━", _COLOURS[span.style])
    for mark in lane.marks:
        # Not by its color alone.
        sign = "◆" if mark.style == "bad" else "●"
        row[_cell(mark.at, seconds, cells)] = (sign, _COLOURS[mark.style])
    return Text.assemble(f"{lane.name:<{label}}", *row)


def _money(call: Timeline, label: int, cells: int) -> Text:
    steps, top = " ▁▂▃▄▅▆▇█", call.money.total or 1.0
    heights = (
        call.money.until((cell + 1) * (call.seconds or 1.0) / cells) / top for cell in range(cells)
    )
    return Text.assemble(
        f"{'money':<{label}}", ("".join(steps[round(8 * height)] for height in heights), "green")
    )


def _cell(at: float, seconds: float, cells: int) -> int:
    return min(cells - 1, max(0, int(at / seconds * cells)))


def running(calls: Sequence[Timeline], now: float, width: int, height: int = 0) -> Group:
    """The calls of this host that run: how old, who is there, what is open, what it costs.

    Args:
        calls: The most urgent ones first.
        now: ``time.monotonic()``.
        width: Columns; a narrow terminal gets two lines per call instead of a table.
        height: Lines there are, 0 for any number. Calls that find no room are counted.
    """
    total = usd(sum(call.money.total for call in calls))
    run = "1 call runs" if len(calls) == 1 else f"{len(calls)} calls run"
    head = Text(f"{run} on this host, {total} so far", "bold")
    most = len(calls)
    while True:
        shown = _told(calls[:most], now) if width < _NARROW else _table(calls[:most], now)
        rest = len(calls) - most
        group = Group(head, *shown, *[Text(f"and {rest} more", "dim")] * (rest > 0))
        if not height or not most or _lines(group, width) <= height:
            return group
        most -= 1 + most // 8


def _table(calls: Sequence[Timeline], now: float) -> list[Table]:
    named = any(call.history.header.get("agent") for call in calls)
    table = Table()
    table.add_column("job", no_wrap=True)
    if named:
        table.add_column("agent", no_wrap=True, max_width=20)
    for name in ("age", "callers", "guards open", "trips", "cost"):
        right, wraps = name in ("age", "trips", "cost"), name == "guards open"
        table.add_column(name, justify="right" if right else "left", no_wrap=not wraps)
    for call in calls:
        agent = [escape(str(call.history.header.get("agent", "")))] * named
        guards = ", ".join(call.open_guards)
        table.add_row(
            escape(call.history.job),
            *agent,
            _age(call, now),
            ", ".join(call.callers) or "nobody",
            f"[red]{escape(guards)}[/]" if guards else "-",
            str(len(call.trips)),
            usd(call.money.total),
        )
    return [table] if calls else []


def _told(calls: Sequence[Timeline], now: float) -> list[Text]:
    lines = []
    for call in calls:
        cost = usd(call.money.total)
        lines.append(Text.assemble((call.history.job, "bold"), f" {_age(call, now)} {cost}"))
        callers, trips = ", ".join(call.callers) or "nobody", len(call.trips)
        guards = ", ".join(call.open_guards)
        lines.append(Text(f"  callers: {callers}; trips: {trips}", overflow="fold"))
        if guards:
            lines.append(Text(f"  open: {guards}", "red", overflow="fold"))
    return lines


def _age(call: Timeline, now: float) -> str:
    return clock_time(max(0.0, now - float(call.history.header["t"])))


def _lines(what: Group, width: int) -> int:
    console = Console(width=width)
    return len(console.render_lines(what, console.options, pad=False))


def _follow(paths: list[Path], seconds: float) -> None:
    until = time.monotonic() + seconds if seconds else float("inf")
    console, following = Console(), Following(paths)
    calls: list[Timeline] = []
    try:
        # A screen of its own on a terminal: whatever its size becomes, nothing is left over.
        with Live(console=console, auto_refresh=False, screen=console.is_terminal) as screen:
            while True:
                calls = following.look()
                size = console.size
                shown = running(calls, time.monotonic(), size.width, size.height)
                if not calls:
                    places = ", ".join(str(path) for path in paths)
                    shown = Group(shown, Text(f"waiting for calls in {places}", "dim"))
                screen.update(shown, refresh=True)
                left = until - time.monotonic()
                if left <= 0:
                    break
                time.sleep(min(_SECONDS, left))
    except KeyboardInterrupt:
        pass  # that is how it ends
    if console.is_terminal:
        console.print(running(calls, time.monotonic(), console.width))
