"""Shells complete commands and options, and every command that has an answer gives it as JSON."""

from __future__ import annotations

import pytest
import typer
from typer.testing import CliRunner

from runguard_otel.cli import commands

pytestmark = pytest.mark.unit

ACT = {"claims init", "claims release", "timeline", "journal import", "journal schema"}
"""They do or write something, and their exit code says whether; a schema is JSON as it is."""


@pytest.mark.parametrize(
    ("typed", "wanted"), [("do", "doctor"), ("export da", "dashboards"), ("demo --keep", "going")]
)
def test_a_shell_completes(typed: str, wanted: str) -> None:
    words = {"_TYPER_COMPLETE_ARGS": f"runguard-otel {typed}", "_RUNGUARD_OTEL_COMPLETE": ""}
    words["_RUNGUARD_OTEL_COMPLETE"] = "complete_zsh"
    done = CliRunner().invoke(commands(), env=words, prog_name="runguard-otel")
    assert wanted in done.stdout


def test_every_command_speaks_json() -> None:
    """Fails for a new command that a script cannot read."""
    root = typer.main.get_command(commands())
    silent = []
    groups = [("", root)]
    for prefix, group in groups:
        for name, command in getattr(group, "commands", {}).items():
            if hasattr(command, "commands"):
                groups.append((f"{name} ", command))
            elif not any("--json" in option.opts for option in command.params):
                silent.append(prefix + name)
    assert set(silent) <= ACT, silent
