from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from runguard_otel.cli.doctor.command import doctor

pytestmark = pytest.mark.livekit


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> typer.Typer:
    for name in [n for n in os.environ if n.startswith(("RUNGUARD_", "OTEL_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("RUNGUARD_CLAIMS_URL", f"sqlite://{tmp_path}/claims.sqlite3")
    made = typer.Typer()
    made.command()(doctor)
    return made


def test_a_healthy_machine_is_all_ok_and_every_guard_has_its_hooks(app: typer.Typer) -> None:
    done = CliRunner().invoke(app, ["--json"])
    assert done.exit_code == 0, done.output
    findings = {f["subject"]: f for f in json.loads(done.output)}
    assert {f["state"] for f in findings.values()} == {"ok"}
    for guard in ("room_reconnect", "vad_misfire", "job_dispatch", "track_subscribe"):
        assert f"hooks: {guard}" in findings


def test_a_registry_that_cannot_be_reached_is_broken_with_advice_and_without_its_password(
    app: typer.Typer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNGUARD_CLAIMS_URL", "redis://user:hunter2@127.0.0.1:1/0")
    done = CliRunner().invoke(app, ["--json"])
    assert done.exit_code == 1
    (claims,) = [f for f in json.loads(done.output) if f["subject"] == "claims"]
    assert claims["state"] == "broken"
    assert "RUNGUARD_CLAIMS_URL" in claims["advice"]
    assert "hunter2" not in done.output


def test_watching_only_is_noted(app: typer.Typer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNGUARD_MODE", "observe")
    done = CliRunner().invoke(app, ["--json"])
    assert done.exit_code == 0
    (modes,) = [f for f in json.loads(done.output) if f["subject"] == "modes"]
    assert modes["state"] == "note"


def test_the_table_says_the_same_for_people(app: typer.Typer) -> None:
    done = CliRunner().invoke(app, ["--verbose"])
    assert done.exit_code == 0
    assert "Room.connect" in done.output


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({}, "each worker serves /metrics on loopback, port 9464 or the next free one"),
        (
            {"OTEL_EXPORTER_PROMETHEUS_HOST": "0.0.0.0", "OTEL_EXPORTER_PROMETHEUS_PORT": "9500"},
            "each worker serves /metrics on 0.0.0.0, port 9500 or the next free one",
        ),
        (
            {"OTEL_METRICS_EXPORTER": "console", "RUNGUARD_METRICS_PORT": "9600"},
            "console (OTEL_* variables); each worker serves /metrics on loopback, port 9600 "
            "or the next free one",
        ),
        ({"OTEL_METRICS_EXPORTER": "none"}, "none (OTEL_* variables)"),
    ],
)
def test_it_says_where_metrics_are_served_as_the_worker_will(
    app: typer.Typer, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], says: str
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    done = CliRunner().invoke(app, ["--json"])
    (metrics,) = [f for f in json.loads(done.output) if f["subject"] == "metrics"]
    assert metrics["detail"] == says
