"""``runguard-otel export``: dashboards, alerts and deployment files that ship with the package."""

from __future__ import annotations

import importlib
import json
import shutil
from pathlib import Path
from typing import Any

import typer

from runguard_otel._shipped import ROOT
from runguard_otel.cli.failure import fail, writing

__all__ = ["app"]

app = typer.Typer(
    help="Write out what ships with the package: dashboards, alerts, a compose file.",
    no_args_is_help=True,
)

_DIRECTORY = typer.Argument(help="Folder to write to; made if it is not there.")
_OPTIONAL = typer.Argument(None, help="Folder to write to; made if it is not there.")
_SET = typer.Option(
    [],
    "--set",
    metavar="NAME=VALUE",
    help="A threshold, selector or address; see `export alerts --list`.",
)
_JSON = typer.Option(False, "--json", help="Print what was written as JSON.")
_COMPOSE = ("docker-compose.yml", "deploy", "dashboards/generated", "alerts/runbooks",
            "alerts/alertmanager.yml", "alerts/alertmanager-webhook.yml")  # fmt: skip


@app.command("dashboards")
def dashboards_command(directory: Path = _DIRECTORY, as_json: bool = _JSON) -> None:
    """Write the Grafana dashboards (JSON, schema 41)."""
    with writing():
        written = [_copy(p, directory / p.name) for p in _files(ROOT / "dashboards/generated")]
    _report(written, as_json)


@app.command("alerts")
def alerts_command(
    directory: Path | None = _OPTIONAL,
    values: list[str] = _SET,
    listed: bool = typer.Option(False, "--list", help="List what can be set, and stop."),
    as_json: bool = _JSON,
) -> None:
    """Write Prometheus rules, Alertmanager configurations and runbooks."""
    tuning = _module("tuning")
    if listed:
        _list(tuning.Tuning.table(), as_json)
        return
    if directory is None:
        raise typer.BadParameter("a folder is needed", param_hint="DIRECTORY")
    with writing():
        written = _rules(directory, _tuned(values))
        for name in ("alertmanager.yml", "alertmanager-webhook.yml"):
            written.append(_copy(ROOT / "alerts" / name, directory / name))
        for path in _files(ROOT / "alerts" / "runbooks"):
            written.append(_copy(path, directory / "runbooks" / path.name))
    _report(written, as_json)


@app.command("compose")
def compose_command(
    directory: Path = _DIRECTORY, values: list[str] = _SET, as_json: bool = _JSON
) -> None:
    """Write a docker-compose.yml with everything it mounts: `docker compose up -d --build`."""
    with writing():
        written = _rules(directory / "alerts" / "generated", _tuned(values))
        for name in _COMPOSE:
            source = ROOT / name
            paths = _files(source) if source.is_dir() else [source]
            written += [_copy(p, directory / p.relative_to(ROOT)) for p in paths]
    _report(written, as_json)


def _module(name: str) -> Any:
    return importlib.import_module(f"runguard_otel._shipped.alerts.{name}")


def _tuned(values: list[str]) -> Any:
    tuning = _module("tuning")
    pairs = [value.partition("=") for value in values]
    if any(not sign for _, sign, _ in pairs):
        fail("--set takes NAME=VALUE")
    try:
        return tuning.Tuning.of({name: text for name, _, text in pairs})
    except tuning.TuningError as error:
        fail(error)


def _rules(directory: Path, tuning: Any) -> list[Path]:
    directory.mkdir(parents=True, exist_ok=True)
    written = []
    for name, text in _module("rules").rule_files(tuning).items():
        (directory / name).write_text(text, encoding="utf-8")
        written.append(directory / name)
    return written


def _files(folder: Path) -> list[Path]:
    found = (p for p in sorted(folder.rglob("*")) if p.is_file() and "__pycache__" not in p.parts)
    # A secret that somebody put beside the configuration stays where it is.
    return [p for p in found if p.parent.name != "secrets" or p.name == "README.md"]


def _copy(source: Path, target: Path) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    return target


def _list(rows: Any, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps([{"name": n, "default": d, "meaning": m} for n, d, m in rows]))
        return
    for name, default, meaning in rows:
        typer.echo(f"{name}={default}\n    {meaning}")


def _report(written: list[Path], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({"written": [str(p) for p in written]}))
        return
    for path in written:
        typer.echo(str(path))
