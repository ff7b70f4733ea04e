"""``runguard-otel timeline``: what happened in a call: a page, the terminal, or as it runs."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
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
from runguard_otel.journal.reading import History, UnreadableError, find
from runguard_otel.journal.timeline import Lane, Timeline, clock_time, usd
from runguard_otel.journal.timeline_page import page

__all__ = ["running", "timeline_command", "view"]

_PATHS = typer.Argument(None, help="Journals: files, or folders. Default: RUNGUARD_JOURNAL.")
_HTML = typer.Option(None, "--html", help="Write a page here; a folder if there are several calls.")
_COLOURS: Final = {"good": "green", "bad": "red", "soft": "bright_black", "": "cyan"}
_SECONDS: Final = 1.0


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
    for timed in call.trips:
        cost = (timed.trip.cost or {}).get("total")
        spent = f" ({usd(float(cost))} so far)" if cost else ""
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
    lines.append(
        Text(f"cost {usd(money.total)} ({bill}); saved {usd(saved)}, wasted {usd(wasted)}")
    )
    return Group(*lines, Text())


def _drawn(lane: Lane, label: int, cells: int, seconds: float) -> Text:
    row = [(" ", "")] * cells
    for span in lane.spans:
        for cell in range(_cell(span.start, seconds, cells), _cell(span.end, seconds, cells) + 1):
            row[cell] = ("━", _COLOURS[span.style])
    for mark in lane.marks:
        row[_cell(mark.at, seconds, cells)] = ("●", _COLOURS[mark.style])
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


def running(histories: Iterable[History], now: float) -> Table:
    """The calls of this host that run: how old, who is there, what is open, what it costs.

    Args:
        histories: Of this host.
        now: ``time.monotonic()``.
    """
    shown = Table(title="calls that run on this host", title_justify="left")
    for name in ("job", "agent", "age", "callers", "guards open", "trips", "cost"):
        shown.add_column(name, justify="right" if name in ("age", "trips", "cost") else "left")
    total = 0.0
    for history in histories:
        if not _alive(history):
            continue
        call = Timeline.of(history)
        if call.ended:
            continue
        last = {lane.name: [s for s in lane.spans if s.end >= call.seconds] for lane in call.lanes}
        total += call.money.total
        shown.add_row(
            escape(history.job),
            escape(str(history.header.get("agent", ""))),
            clock_time(max(0.0, now - float(history.header["t"]))),
            ", ".join(span.says for span in last.get("callers", [])) or "nobody",
            ", ".join(span.says for span in last.get("guards open", [])) or "-",
            str(len(call.trips)),
            usd(call.money.total),
        )
    shown.caption = f"{shown.row_count} calls, {usd(total)} so far"
    return shown


def _alive(history: History) -> bool:
    try:
        os.kill(int(history.header.get("process", 0)) or os.getpid(), 0)
    except (ProcessLookupError, ValueError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


def _follow(paths: list[Path], seconds: float) -> None:
    until = time.monotonic() + seconds if seconds else float("inf")
    with Live(console=Console(), auto_refresh=False) as screen:
        while True:
            try:
                table = running(find(paths), time.monotonic())
            except UnreadableError as error:
                if not all(map(os.path.isdir, paths)):  # not Path.is_dir: a name may be too long
                    fail(error)
                table = running((), 0.0)  # the first call is yet to come
            screen.update(table, refresh=True)
            left = until - time.monotonic()
            if left <= 0:
                return
            try:
                time.sleep(min(_SECONDS, left))
            except KeyboardInterrupt:
                return
