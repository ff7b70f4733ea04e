"""The command line: ``runguard-otel``. Each command lives in a module of its own."""

from __future__ import annotations

import errno
import os
import sys

import typer

__all__ = ["app", "main"]

UNREAD = 141
"""Exit code when the reader of our output went away (``| head``): 128 and SIGPIPE, as of others.

Not 1, which from ``doctor`` means that something is broken.
"""

app = typer.Typer(
    name="runguard-otel",
    help="See, stop and report the four loops that make LiveKit voice agents expensive.",
    no_args_is_help=True,
    add_completion=False,
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


def main() -> None:
    """Entry point of the console script."""
    from runguard_otel.cli import claims, cost, demo, doctor, export, preview

    app.command("demo")(demo.demo)
    app.command("doctor")(doctor.doctor)
    app.add_typer(export.app, name="export")
    app.command("preview")(preview.preview)
    app.add_typer(cost.app, name="cost")
    app.add_typer(claims.app, name="claims")
    try:
        app()
    except SystemExit as ended:
        if _unread(ended):
            # What is still buffered has nowhere to go; the interpreter would complain at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise SystemExit(UNREAD) from None
        raise


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
