"""``runguard-otel journal``: histories out of what is there already, and what stands in them."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterable
from importlib import resources
from pathlib import Path

import typer
from rich.console import Console
from rich.markup import escape

from runguard_otel.cli.failure import fail, writing
from runguard_otel.journal.importing import Told, from_log, from_traces, made
from runguard_otel.logscan import read_events

__all__ = ["app"]

app = typer.Typer(help="Histories of calls: make some of traces or logs.", no_args_is_help=True)

_FILES = typer.Argument(..., help="OTLP JSON of a trace store, or logs; plain or .gz.")
_OUT = typer.Option(..., "--out", help="The folder to write to.")


@app.command("import")
def import_command(
    files: list[Path] = _FILES,
    out: Path = _OUT,
    logs: bool = typer.Option(False, help="They are logs, as scan-logs reads them."),
) -> None:
    """Make journals of traces or logs, for timeline, replay and advise."""
    told: list[Told] = []
    for file in files:
        text = _text(file)
        told += _read(file, text, _of_log if logs else _of_traces)
    if not told:
        fail("nothing there that a journal could hold: no span of runguard-otel, no known line")
    with writing():
        written = made(told, "logs" if logs else "traces", out)
    Console().print(f"{len(written)} calls in {escape(str(out))}", highlight=False)


@app.command("schema")
def schema_command() -> None:
    """Print the JSON Schema of a journal's line."""
    schema = resources.files("runguard_otel.journal").joinpath("journal.schema.json")
    typer.echo(schema.read_text(encoding="utf-8").rstrip("\n"))


def _read(file: Path, text: str, read: Callable[[str], Iterable[Told]]) -> list[Told]:
    try:
        return list(read(text))
    except ValueError as error:
        fail(f"{file}: {error}")


def _of_traces(text: str) -> Iterable[Told]:
    data = json.loads(text)
    if not isinstance(data, dict):
        raise ValueError("no OTLP JSON of traces: it has no resourceSpans with spans")
    return from_traces(data)


def _of_log(text: str) -> Iterable[Told]:
    return from_log(read_events(text.splitlines()))


def _text(file: Path) -> str:
    try:
        if not file.is_file():
            fail(f"{file}: there is no such file")
        data = file.read_bytes()
        return (gzip.decompress(data) if file.suffix == ".gz" else data).decode("utf-8", "replace")
    except (OSError, EOFError, ValueError) as error:
        fail(f"{file}: cannot be read: {error}")
