"""The command line: ``runguard-otel``. Each command lives in a module of its own."""

from __future__ import annotations

import errno
import functools
import os
import sys
import traceback

import typer

__all__ = ["app", "commands", "main"]

UNREAD = 141
"""Exit code when the reader of our output went away (``| head``): 128 and SIGPIPE, as of others.

Not 1, which from ``doctor`` means that something is broken.
"""

DEFECT = 70
"""Exit code of a failure that is ours, EX_SOFTWARE of ``sysexits.h``."""

app = typer.Typer(
    name="runguard-otel",
    help="See, stop and report the loops that make LiveKit voice agents expensive.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        import runguard_otel

        typer.echo(f"runguard-otel {runguard_otel.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    _: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version and exit."
    ),
) -> None:
    pass


@functools.cache
def commands() -> typer.Typer:
    """The command line with all of its commands; they are imported when it is first asked for."""
    from runguard_otel.cli import advise, demo, journal, preview, replay, scan_logs, timeline, watch
    from runguard_otel.cli.claims import commands as claims
    from runguard_otel.cli.cost import commands as cost
    from runguard_otel.cli.doctor import command as doctor
    from runguard_otel.cli.export import commands as export

    app.command("demo")(demo.demo)
    app.command("doctor")(doctor.doctor)
    app.add_typer(export.app, name="export")
    app.command("preview")(preview.preview)
    app.command("watch")(watch.watch)
    app.command("scan-logs")(scan_logs.scan_logs)
    app.command("timeline")(timeline.timeline_command)
    app.command("replay")(replay.replay_command)
    app.command("advise")(advise.advise_command)
    app.add_typer(journal.app, name="journal")
    app.add_typer(cost.app, name="cost")
    app.add_typer(claims.app, name="claims")
    return app


def main() -> None:
    """Entry point of the console script."""
    try:
        commands()()
    except SystemExit as ended:
        if _unread(ended):
            # What is still buffered has nowhere to go; the interpreter would complain at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise SystemExit(UNREAD) from None
        raise
    except Exception as error:  # noqa: BLE001 - the last resort: a user can do nothing with a traceback
        print(_defect(error), file=sys.stderr)
        raise SystemExit(DEFECT) from None


def _defect(error: Exception) -> str:
    """One line that says what to report, without the values that the code worked on."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{os.path.basename(frame.filename)}:{frame.lineno}"
    return (
        f"error a defect of runguard-otel ({type(error).__name__} at {where}); please report it, "
        "with the command and what `runguard-otel doctor --json` prints"
    )


def _unread(ended: SystemExit) -> bool:
    """Whether the pipe we write to was closed, now or as the cause of this end."""
    # The direct cause only: further back may stand a registry's connection that broke.
    cause = ended.__context__
    if isinstance(cause, OSError) and cause.errno == errno.EPIPE:
        return True
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        return True
    return False
