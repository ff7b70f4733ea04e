"""``runguard-otel preview``: the dashboards, drawn from a live Prometheus, for a browser alone."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import typer

from runguard_otel import pages
from runguard_otel._shipped import ROOT
from runguard_otel.claims.redact import scrub
from runguard_otel.cli.failure import fail, writing

__all__ = ["preview"]

_OUT = typer.Option(
    Path("runguard-preview.html"), "-o", "--out", help="File to write, or a folder for it."
)
_UNITS = {"m": 60, "h": 3600, "d": 86400}


def preview(
    prometheus: str = typer.Option(
        "http://127.0.0.1:9090", help="Address of Prometheus, or of a store with its API."
    ),
    out: Path = _OUT,
    span: str = typer.Option("3h", "--range", help="How far back, such as 30m, 3h or 1d."),
    service: str = typer.Option("", help="Only this service."),
    agent: str = typer.Option("", help="Only this agent."),
    cluster: str = typer.Option("", help="Only this cluster."),
    as_json: bool = typer.Option(False, "--json", help="Print what was written as JSON."),
) -> None:
    """Draw every dashboard from live data into one page that needs no network."""
    from runguard_otel.preview.boards import fetch, shipped
    from runguard_otel.preview.page import page
    from runguard_otel.preview.panels import Span
    from runguard_otel.preview.prometheus import Prometheus, QueryError

    end = time.time()
    shown = Span(end - _seconds(span), end)
    server = Prometheus(prometheus)
    wanted = {"service": service, "agent": agent, "cluster": cluster}
    try:
        boards = shipped(ROOT / "dashboards" / "generated")
        found = [fetch(board, server, shown, wanted) for board in boards]
    except QueryError as error:
        fail(error)
    path = out if out.suffix == ".html" else out / "runguard-preview.html"
    with writing():
        pages.write(path, page(found, shown, scrub(prometheus, prometheus)))
    empty = [f"{f.board['title']}: {s.panel['title']}" for f in found for s in f.panels if s.empty]
    result: dict[str, Any] = {
        "written": str(path),
        "panels": sum(len(f.panels) for f in found),
        "empty": empty,
    }
    if as_json:
        typer.echo(json.dumps(result))
        return
    typer.echo(f"{path}: {result['panels']} panels, {len(empty)} of them without data")


def _seconds(span: str) -> float:
    if not re.fullmatch("[1-9][0-9]{0,4}[mhd]", span):
        raise typer.BadParameter(f"{span!r}: a range such as 30m, 3h or 1d")
    return float(int(span[:-1]) * _UNITS[span[-1]])
