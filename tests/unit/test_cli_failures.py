"""What a user can get wrong on the command line ends in one clear line, never in a traceback."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from runguard_otel.cli import preview
from runguard_otel.cli.claims import commands as claims
from runguard_otel.cli.cost import commands as cost
from runguard_otel.cli.export import commands as export

pytestmark = pytest.mark.unit


def run(app: typer.Typer, *words: str) -> Any:
    """Invoke it; an exception that is no exit is raised here, as a traceback would be shown."""
    env = {"COLUMNS": "200", "NO_COLOR": "1", "RUNGUARD_CLAIMS_URL": "", "RUNGUARD_PRICES": ""}
    done = CliRunner().invoke(app, list(words), env=env)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


def one_line(done: Any) -> str:
    """The only line that a failed command printed."""
    assert done.exit_code == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("error ")
    return str(line)


@pytest.mark.parametrize("words", [(), ("--url", "sqlite:///var/lib/x.db"), ("--url", "memory://")])
def test_printing_what_the_default_registry_needs_says_nothing_is_needed(
    words: tuple[str, ...],
) -> None:
    done = run(claims.app, "init", "--print", *words)
    assert done.exit_code == 0
    assert "needs no preparation" in done.stdout


def test_printing_for_dynamodb_without_its_extra_names_the_extra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(
        sys.modules, "runguard_otel.claims.registries.dynamodb.table", raising=False
    )
    monkeypatch.setitem(sys.modules, "aiobotocore", None)
    monkeypatch.setitem(sys.modules, "aiobotocore.config", None)
    line = one_line(run(claims.app, "init", "--print", "--url", "dynamodb://t?region=us-east-1"))
    assert "pip install 'runguard-otel[dynamodb]'" in line


def test_printing_for_an_unknown_registry_lists_the_known_and_hides_the_password() -> None:
    line = one_line(run(claims.app, "init", "--print", "--url", "pigeon://me:hunter22@loft"))
    assert "redis://" in line
    assert "hunter22" not in line


@pytest.mark.parametrize(
    "what", ["dashboards", "alerts", "compose", "kubernetes", "mimir", "grafana"]
)
def test_exporting_to_a_file_or_below_one_says_so(tmp_path: Path, what: str) -> None:
    file = tmp_path / "none.py"
    file.write_text("", encoding="utf-8")
    for target in (file, file / "below"):
        assert "none.py" in one_line(run(export.app, what, str(target)))
    assert file.read_text(encoding="utf-8") == ""


def test_the_page_of_an_estimate_makes_its_folder(tmp_path: Path) -> None:
    page = tmp_path / "missing" / "x.html"
    assert run(cost.app, "estimate", "--html", str(page)).exit_code == 0
    assert page.is_file()


def test_a_page_that_cannot_be_written_is_said_before_any_table(tmp_path: Path) -> None:
    file = tmp_path / "none.py"
    file.write_text("", encoding="utf-8")
    assert "none.py" in one_line(run(cost.app, "estimate", "--html", str(file / "x.html")))


def test_a_preview_that_cannot_be_written_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runguard_otel.preview.boards.shipped", lambda _: [])
    file = tmp_path / "none.py"
    file.write_text("", encoding="utf-8")
    app = typer.Typer()
    app.command()(preview.preview)
    assert "none.py" in one_line(run(app, "--out", str(file / "x.html")))
