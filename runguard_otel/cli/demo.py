"""``runguard-otel demo``: every storm on real parts, guards off and on."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import signal
import sys
from collections.abc import Coroutine
from contextlib import AbstractContextManager, nullcontext, suppress
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from runguard_otel import pages
from runguard_otel.cli.failure import REFUSED, fail, writing

if TYPE_CHECKING:
    from runguard_otel.demo.machine import Machine

__all__ = ["demo"]

_NEEDED = {
    "pocketsphinx": "pip install 'runguard-otel[demo]'",
    "livekit.local_inference": "pip install --upgrade livekit-agents (its voice detector)",
}


INTERRUPTED = 130
"""Exit code after Ctrl-C: 128 and SIGINT, as of others."""


class StormName(str, Enum):
    """What ``--only`` takes."""

    reconnect = "reconnect"
    misfire = "misfire"
    dispatch = "dispatch"
    tracks = "tracks"
    overrun = "overrun"


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
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Play also where the machine seems too slow for it.")
    ] = False,
) -> None:
    """Play five storms twice, with the guards off and on, and compare what was used.

    Takes about a minute and a half and needs no account, key or network:
    providers and the LiveKit server are stand-ins, everything else is real.
    It measures the machine first: on a slow one it takes its time, on one
    that is far too slow it says so at once.

    The exit code is 0 only if all guards tripped and every run with guards
    used less than the same run without.
    """
    for module, remedy in _NEEDED.items():
        if not _there(module):
            typer.echo(f"the demo needs {module}: {remedy}", err=True)
            raise typer.Exit(2)
    with writing():
        pages.probe(html)
    from rich.console import Console

    from runguard_otel.demo.live import NARROW, LiveView
    from runguard_otel.demo.plain import PlainView
    from runguard_otel.demo.report import write_page
    from runguard_otel.demo.runner import Listener, run_plan
    from runguard_otel.demo.runs import Plan
    from runguard_otel.demo.scene import STORMS
    from runguard_otel.demo.tables import as_data, ending
    from runguard_otel.demo.verdict import verdicts

    wanted = {name.value for name in only or ()}
    plan = Plan(tuple(s for s in STORMS if not wanted or s.name in wanted))
    console = Console()
    # Whoever ends it, a supervisor or a time limit as well: what was started ends with it.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    machine = _measured(anyway)
    if said := machine.words():
        typer.echo(said, err=True)
    view: Listener = lambda *_: None  # noqa: E731 - the listener of --json
    shown: AbstractContextManager[object] = nullcontext()
    if not as_json and (plain or not console.is_terminal):
        view = PlainView(plan, lambda line: print(line, flush=True), machine.side_by_side)
    elif not as_json:
        picture = LiveView(plan, console, machine)
        view, shown = picture, picture.shown()
    try:
        with shown:
            logs = html.resolve().parent
            work = run_plan(plan, view, logs=logs, keep_going=keep_going, machine=machine)
            asyncio.run(_until_told(work))
    except (KeyboardInterrupt, asyncio.CancelledError):
        typer.echo("stopped; everything that was started has ended", err=True)
        raise typer.Exit(INTERRUPTED) from None
    judged = verdicts(plan)
    with writing():
        write_page(html, plan, judged)
    if as_json:
        print(json.dumps(as_data(plan, judged), indent=2))
    else:
        # A pipe has no width; the table needs about a hundred columns to be read.
        wide = Console() if console.is_terminal else Console(width=110)
        wide.print(ending(plan, judged, narrow=wide.width < NARROW))
        wide.print(f"\nReport: {html}")
    sys.exit(0 if all(verdict.ok for verdict in judged) else 1)


async def _until_told(work: Coroutine[Any, Any, None]) -> None:
    """Do it; who ends the program cancels it, where what was started can still be ended.

    An exception out of a signal handler may come between the start of a process and its ``try``.
    """
    mine = asyncio.current_task()
    assert mine is not None
    for how in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(how) is not signal.SIG_IGN:  # as a shell has it for what is beside it
            with suppress(NotImplementedError):  # Windows
                asyncio.get_running_loop().add_signal_handler(how, mine.cancel)
    await work


def _there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # not even the package that it would be in
        return False


def _measured(anyway: bool) -> Machine:
    """How fast this machine is; ends the command where it is too slow and nobody insists."""
    from runguard_otel.demo.machine import SLOWEST, Machine, TooSlow, measure

    try:
        return asyncio.run(measure())
    except TooSlow as error:
        if not anyway:
            fail(error, REFUSED)
        return Machine(SLOWEST)
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
