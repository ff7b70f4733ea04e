"""``runguard-otel demo``: every storm on real parts, guards off and on."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import sys
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["demo"]

_NEEDED = {
    "pocketsphinx": "pip install 'runguard-otel[demo]'",
    "livekit.local_inference": "pip install --upgrade livekit-agents (its voice detector)",
}


class StormName(str, Enum):
    """What ``--only`` takes."""

    reconnect = "reconnect"
    misfire = "misfire"
    dispatch = "dispatch"
    tracks = "tracks"


def demo(
    html: Annotated[Path, typer.Option(help="Where the report is written.")] = Path(
        "demo-report.html"
    ),
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the result as JSON, and nothing else.")
    ] = False,
    plain: Annotated[
        bool, typer.Option("--plain", help="Lines of text, also in a terminal.")
    ] = False,
    only: Annotated[
        list[StormName] | None, typer.Option(help="Play only this storm; may be repeated.")
    ] = None,
    keep_going: Annotated[
        bool,
        typer.Option("--keep-going", help="Play the other storms after one could not be played."),
    ] = False,
) -> None:
    """Play four storms twice, with the guards off and on, and compare what was used.

    Takes about a minute and a half and needs no account, key or network:
    providers and the LiveKit server are stand-ins, everything else is real.

    The exit code is 0 only if all guards tripped and every run with guards
    used less than the same run without.
    """
    for module, remedy in _NEEDED.items():
        if importlib.util.find_spec(module) is None:
            typer.echo(f"the demo needs {module}: {remedy}", err=True)
            raise typer.Exit(2)
    from rich.console import Console

    from runguard_otel.demo.live import NARROW, LiveView
    from runguard_otel.demo.plain import PlainView
    from runguard_otel.demo.report import write_page
    from runguard_otel.demo.runs import Programme
    from runguard_otel.demo.scene import STORMS
    from runguard_otel.demo.tables import as_data, ending
    from runguard_otel.demo.theatre import perform
    from runguard_otel.demo.verdict import verdicts

    wanted = {name.value for name in only or ()}
    programme = Programme(tuple(s for s in STORMS if not wanted or s.name in wanted))
    console = Console()
    if as_json:
        asyncio.run(perform(programme, lambda *_: None, keep_going=keep_going))
    elif plain or not console.is_terminal:
        view = PlainView(programme, lambda line: print(line, flush=True))
        asyncio.run(perform(programme, view, keep_going=keep_going))
    else:
        picture = LiveView(programme, console)
        with picture.shown():
            asyncio.run(perform(programme, picture, keep_going=keep_going))
    judged = verdicts(programme)
    write_page(html, programme, judged)
    if as_json:
        print(json.dumps(as_data(programme, judged), indent=2))
    else:
        # A pipe has no width; the table needs about a hundred columns to be read.
        wide = Console() if console.is_terminal else Console(width=110)
        wide.print(ending(programme, judged, narrow=wide.width < NARROW))
        wide.print(f"\nReport: {html}")
    sys.exit(0 if all(verdict.ok for verdict in judged) else 1)
