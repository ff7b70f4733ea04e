"""How every command fails: one line on stderr, an exit status, no traceback."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import typer
from rich.console import Console
from rich.markup import escape

from runguard_otel.claims.redact import scrub

__all__ = ["MISUSED", "REFUSED", "fail", "writing"]

REFUSED = 1
"""Exit status: the question was understood, and what it asks for is not to be had."""

MISUSED = 2
"""Exit status: an argument, a file or an address cannot be used, as Click has it."""


def fail(message: str | Exception, status: int = MISUSED) -> NoReturn:
    """Print an error, and end the command.

    Args:
        message: What to do, in one line. It may quote what was typed: a password in it is hidden.
        status: :data:`REFUSED` or :data:`MISUSED`.

    Raises:
        typer.Exit: Always.
    """
    Console(stderr=True).print(
        f"[bold red]error[/] {escape(scrub(str(message)))}", highlight=False, soft_wrap=True
    )
    raise typer.Exit(status)


@contextmanager
def writing() -> Iterator[None]:
    """Around what writes files: one that cannot be made or written to fails the command."""
    try:
        yield
    except OSError as error:
        fail(f"{error.filename}: cannot be written: {error.strerror}")
