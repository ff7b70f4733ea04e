"""``runguard-otel export``: dashboards, alerts and deployment files that ship with the package."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import typer

from runguard_otel._shipped import ROOT
from runguard_otel.cli.export.files import Export
from runguard_otel.cli.export.labels import in_board, in_runbook
from runguard_otel.cli.failure import REFUSED, fail, writing
from runguard_otel.watch import deploying

__all__ = ["app"]

app = typer.Typer(
    help="Write out what ships with the package: dashboards, alerts, deployment files.",
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
_FORCE = typer.Option(
    False, "--force", help="Replace files that are there and differ; without it, show how."
)
_JSON = typer.Option(False, "--json", help="Print what was written as JSON.")
_NAMESPACE = typer.Option("monitoring", help="Where Prometheus, Alertmanager and Grafana run.")
_LABEL = typer.Option(
    [],
    "--label",
    metavar="NAME=VALUE",
    help="A label that your operator selects by, such as release=prometheus.",
)
_DATASOURCE = typer.Option("prometheus", help="uid of Grafana's data source with the metrics.")
_COMPOSE = ("docker-compose.yml", "deploy")
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


@app.command("dashboards")
def dashboards_command(
    directory: Path = _DIRECTORY,
    values: list[str] = _SET,
    force: bool = _FORCE,
    as_json: bool = _JSON,
) -> None:
    """Write the Grafana dashboards (JSON, schema 41)."""
    _publish(directory, _boards(_tuned(values)), force, as_json)


@app.command("alerts")
def alerts_command(
    directory: Path | None = _OPTIONAL,
    values: list[str] = _SET,
    listed: bool = typer.Option(False, "--list", help="List what can be set, and stop."),
    force: bool = _FORCE,
    as_json: bool = _JSON,
) -> None:
    """Write Prometheus rules, Alertmanager configurations and runbooks."""
    tuning = _module("tuning")
    if listed:
        _list(tuning.Tuning.table(), as_json)
        return
    if directory is None:
        raise typer.BadParameter("a folder is needed", param_hint="DIRECTORY")
    tuned = _tuned(values)
    made = {**_module("rules").rule_files(tuned), **_module("routes").route_files(tuned)}
    _publish(directory, {**_encoded(made), **_runbooks(tuned, below="alerts")}, force, as_json)


@app.command("compose")
def compose_command(
    directory: Path = _DIRECTORY,
    values: list[str] = _SET,
    force: bool = _FORCE,
    as_json: bool = _JSON,
) -> None:
    """Write a docker-compose.yml with everything it mounts: `docker compose up -d --build`."""
    tuned = _tuned(values)
    files = {name: content for source in _COMPOSE for name, content in _shipped(source).items()}
    for folder, made in (
        ("alerts/generated", _encoded(_module("rules").rule_files(tuned))),
        ("alerts", _encoded(_module("routes").route_files(tuned))),
        ("dashboards/generated", _boards(tuned)),
    ):
        files |= {f"{folder}/{name}": content for name, content in made.items()}
    files |= _runbooks(tuned)
    _publish(directory, files, force, as_json)


@app.command("kubernetes")
def kubernetes_command(
    directory: Path = _DIRECTORY,
    namespace: str = _NAMESPACE,
    labels: list[str] = _LABEL,
    values: list[str] = _SET,
    force: bool = _FORCE,
    as_json: bool = _JSON,
) -> None:
    """Write objects of the Prometheus operator and dashboards: `kubectl apply -k DIR`."""
    if not _NAME.fullmatch(namespace):
        fail(f"--namespace {namespace}: lower-case letters, digits and -, at most 63")
    tuned = _tuned(values)
    boards = {name: text.decode() for name, text in _boards(tuned).items()}
    made = _module("kubernetes").kubernetes_files(
        tuned, boards, namespace, _pairs("--label", labels)
    )
    _publish(directory, _encoded(made), force, as_json)


@app.command("watch")
def watch_command(
    directory: Path = _DIRECTORY,
    namespace: str = _NAMESPACE,
    force: bool = _FORCE,
    as_json: bool = _JSON,
) -> None:
    """Write what runs `runguard-otel watch`: a unit for systemd, objects for Kubernetes."""
    if not _NAME.fullmatch(namespace):
        fail(f"--namespace {namespace}: lower-case letters, digits and -, at most 63")
    _publish(directory, _encoded(deploying.files(namespace)), force, as_json)


@app.command("mimir")
def mimir_command(
    directory: Path = _DIRECTORY,
    values: list[str] = _SET,
    force: bool = _FORCE,
    as_json: bool = _JSON,
) -> None:
    """Write the rules for Mimir or Grafana Cloud: `mimirtool rules load DIR/runguard.yaml`."""
    _publish(directory, _encoded(_module("clouds").mimir_files(_tuned(values))), force, as_json)


@app.command("grafana")
def grafana_command(
    directory: Path = _DIRECTORY,
    datasource: str = _DATASOURCE,
    values: list[str] = _SET,
    force: bool = _FORCE,
    as_json: bool = _JSON,
) -> None:
    """Write alert rules that Grafana itself evaluates, to be provisioned as a file."""
    made = _module("clouds").grafana_files(_tuned(values), datasource)
    _publish(directory, _encoded(made), force, as_json)


def _module(name: str) -> Any:
    return importlib.import_module(f"runguard_otel._shipped.alerts.{name}")


def _tuned(values: list[str]) -> Any:
    tuning = _module("tuning")
    try:
        return tuning.Tuning.of(_pairs("--set", values))
    except tuning.TuningError as error:
        fail(error)


def _pairs(option: str, values: list[str]) -> dict[str, str]:
    pairs = [value.partition("=") for value in values]
    if any(not sign for _, sign, _ in pairs):
        fail(f"{option} takes NAME=VALUE")
    return {name: text for name, _, text in pairs}


def _encoded(files: Mapping[str, str]) -> dict[str, bytes]:
    return {name: text.encode() for name, text in files.items()}


def _boards(tuned: Any) -> dict[str, bytes]:
    shipped = _shipped("dashboards/generated", below="dashboards/generated")
    return _encoded({n: in_board(text.decode(), _labels(tuned)) for n, text in shipped.items()})


def _runbooks(tuned: Any, below: str = "") -> dict[str, bytes]:
    shipped = _shipped("alerts/runbooks", below)
    return _encoded({n: in_runbook(text.decode(), _labels(tuned)) for n, text in shipped.items()})


def _labels(tuned: Any) -> dict[str, str]:
    return {"cluster": tuned.cluster_label, "service_name": tuned.service_label}


def _shipped(name: str, below: str = "") -> dict[str, bytes]:
    """A file that ships, or all of a folder, by its path below another."""
    source = ROOT / name
    paths: Iterable[Path] = sorted(source.rglob("*")) if source.is_dir() else [source]
    return {p.relative_to(ROOT / below).as_posix(): p.read_bytes() for p in paths if _is_shipped(p)}


def _is_shipped(path: Path) -> bool:
    # A secret that somebody put beside the configuration stays where it is, and so does a wheel.
    filled = path.parent.name in ("secrets", "wheels")
    kept = not filled or path.name in ("README.md", ".gitignore")
    return path.is_file() and "__pycache__" not in path.parts and kept


def _publish(directory: Path, files: Mapping[str, bytes], force: bool, as_json: bool) -> None:
    export = Export(directory, files)
    with writing():
        changed, missing = export.changed(), export.missing()
        if changed and not force:
            for name in changed:
                typer.echo(export.diff(name), nl=False, err=as_json)
            if as_json:
                typer.echo(json.dumps({"written": [], "changed": _named(export, changed)}))
            fail(
                f"{len(changed)} of {len(files)} files are there and differ, see above; nothing "
                "was written. --force replaces them",
                REFUSED,
            )
        written = export.write([name for name in files if name in {*changed, *missing}])
    if as_json:
        typer.echo(json.dumps({
            "written": [str(p) for p in written],
            "unchanged": _named(export, [n for n in files if n not in {*changed, *missing}]),
        }))  # fmt: skip
        return
    for path in written:
        typer.echo(str(path))
    if not written:
        typer.echo(f"{directory}: all {len(files)} files are there and up to date")


def _named(export: Export, names: list[str]) -> list[str]:
    return [str(export.path(name)) for name in names]


def _list(rows: Any, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps([{"name": n, "default": d, "meaning": m} for n, d, m in rows]))
        return
    for name, default, meaning in rows:
        typer.echo(f"{name}={default}\n    {meaning}")
