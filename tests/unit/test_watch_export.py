"""``export watch``: what it writes is what systemd and Kubernetes take, and names our own ports."""

from __future__ import annotations

import configparser
import shlex
from pathlib import Path

import pytest
import typer
import yaml
from typer.testing import CliRunner

from runguard_otel.cli import commands
from runguard_otel.telemetry.export import DEFAULT_PORT

pytestmark = pytest.mark.unit


def test_both_run_a_command_that_exists_and_probe_where_it_listens(tmp_path: Path) -> None:
    answer = CliRunner().invoke(
        commands(), ["export", "watch", str(tmp_path), "--namespace", "rtc"]
    )
    assert answer.exit_code == 0, answer.output
    unit = configparser.ConfigParser(strict=False)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read(tmp_path / "runguard-watch.service")
    deployment, service = yaml.safe_load_all((tmp_path / "watch.yaml").read_text())
    assert {o["metadata"]["namespace"] for o in (deployment, service)} == {"rtc"}
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    (_, *typed), (_, *listed) = shlex.split(unit["Service"]["ExecStart"]), container["command"]
    assert typed == listed
    watch = typer.main.get_command(commands()).commands["watch"]  # type: ignore[attr-defined]
    assert listed[1] in {option for p in watch.params for option in p.opts}
    assert deployment["spec"]["replicas"] == 2
    assert deployment["spec"]["serviceName"] == service["metadata"]["name"]
    required = {e["name"]: e.get("valueFrom", {}).get("secretKeyRef") for e in container["env"]}
    who_is_active = required["RUNGUARD_CLAIMS_URL"]
    assert who_is_active and not who_is_active.get("optional"), "two without it count twice"
    ports = {p["name"]: p["containerPort"] for p in container["ports"]}
    assert ports == {"webhook": int(listed[-1].rpartition(":")[2]), "metrics": DEFAULT_PORT}
    for probe in ("livenessProbe", "readinessProbe"):
        assert container[probe]["httpGet"]["port"] == "webhook"
