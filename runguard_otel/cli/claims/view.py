"""Claims as JSON, as a table, or one below the other, so that a key can always be copied."""

from __future__ import annotations

import json
import time
from dataclasses import asdict

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from runguard_otel.claims.registry import ClaimRecord

__all__ = ["show_records"]

_COLUMNS = ("key", "job", "worker", "held for", "lease ends in", "renewal", "token")


def show_records(records: list[ClaimRecord], as_json: bool = False) -> None:
    """Print claims.

    A table only where every cell fits on one line. In a pipe or a narrow terminal it would fold a
    key over several lines; there each claim is a block of ``name: value`` lines.
    """
    if as_json:
        typer.echo(json.dumps([asdict(record) for record in records], indent=2))
        return
    if not records:
        typer.echo("no claims")
        return
    rows = [_cells(record) for record in records]
    console, table = Console(), _table(rows)
    wanted = console.measure(table, options=console.options.update(max_width=10_000)).maximum
    if console.is_terminal and wanted <= console.width:
        console.print(table)
        return
    blocks = [
        "\n".join(f"{name}: {text}" for name, text in zip(_COLUMNS, row, strict=True) if text)
        for row in rows
    ]
    typer.echo("\n\n".join(blocks))


def _table(rows: list[tuple[str, ...]]) -> Table:
    table = Table()
    for column in _COLUMNS:
        table.add_column(column, no_wrap=True)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return table


def _cells(record: ClaimRecord) -> tuple[str, ...]:
    # When a claim was released is not kept, so of one that was there is no time it was held for.
    held = record.state != "released"
    return (
        record.key,
        record.job_id,
        record.worker[:8],
        _span(time.time() - record.acquired_at) if held else "",
        _left(record),
        record.version[:8],
        str(record.token),
    )


def _left(record: ClaimRecord) -> str:
    if record.state != "held":
        return record.state
    if record.remaining is None:
        return "no clock"
    return f"{record.remaining:.1f} s" if record.remaining > 0 else "run out"


def _span(seconds: float) -> str:
    seconds = max(0.0, seconds)
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, hours = seconds / 60, seconds / 3600
    return f"{minutes:.0f} min" if hours < 1 else f"{hours:.1f} h"
