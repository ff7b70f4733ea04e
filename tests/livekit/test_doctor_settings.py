"""``runguard-otel doctor`` is not satisfied with a setting that does not hold."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from runguard_otel.cli.doctor.command import doctor

pytestmark = pytest.mark.livekit

Findings = list[dict[str, str]]


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [n for n in os.environ if n.startswith(("RUNGUARD_", "OTEL_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("RUNGUARD_CLAIMS_URL", f"sqlite://{tmp_path}/claims.sqlite3")


def look() -> tuple[int, Findings]:
    """Run it with ``--json``; the whole output, standard error too, must be the JSON."""
    app = typer.Typer()
    app.command()(doctor)
    done = CliRunner().invoke(app, ["--json"])
    return done.exit_code, json.loads(done.output)


def about(findings: Findings, subject: str) -> Findings:
    return [f for f in findings if f["subject"] == subject]


@pytest.mark.parametrize(
    ("name", "value"),
    [("MODE", "obseve"), ("VAD_MISFIRE_LIMIT", "1"), ("DISABLED", "flase"), ("MAX_KEYS", "many")],
)
def test_a_value_that_does_not_hold_is_broken_and_said_once(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"RUNGUARD_{name}", value)
    status, findings = look()
    assert status == 1
    (found,) = [f for f in findings if f"{value!r}" in f["detail"]]
    assert (found["subject"], found["state"]) == (f"RUNGUARD_{name}", "broken")


def test_each_bad_value_has_its_own_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNGUARD_VAD_MISFIRE_LIMIT", "1")
    monkeypatch.setenv("RUNGUARD_ROOM_RECONNECT_LIMIT", "x")
    broken = [f["subject"] for f in look()[1] if f["state"] == "broken"]
    assert sorted(broken) == ["RUNGUARD_ROOM_RECONNECT_LIMIT", "RUNGUARD_VAD_MISFIRE_LIMIT"]


def test_a_misspelt_variable_is_broken_and_shown_with_the_near_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RUNGUARD_MOED", "observe")
    status, findings = look()
    assert status == 1
    (found,) = about(findings, "RUNGUARD_MOED")
    assert found["state"] == "broken"
    assert "did you mean RUNGUARD_MODE?" in found["detail"]


def test_times_of_a_claim_that_do_not_go_together_are_broken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert [f["state"] for f in about(look()[1], "claims")] == ["ok"]
    monkeypatch.setenv("RUNGUARD_CLAIMS_TTL_SECONDS", "2")
    status, findings = look()
    assert status == 1
    (found,) = [f for f in about(findings, "claims") if f["state"] == "broken"]
    assert "ttl 2 s" in found["detail"]
    assert "defaults" in found["advice"]


def test_a_price_file_that_cannot_be_read_is_broken_and_a_good_one_is_counted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "prices.toml"
    monkeypatch.setenv("RUNGUARD_PRICES", str(file))
    status, findings = look()
    assert status == 1
    (found,) = [f for f in findings if "prices.toml: no such file" in f["detail"]]
    assert (found["subject"], found["state"]) == ("RUNGUARD_PRICES", "broken")

    file.write_text(
        '[[price]]\ncomponent = "llm"\nprovider = "openai"\nmodel = "own"\nper = 1000\n'
        'rates = { input_tokens = "1" }\nsource = "contract"\ndate = 2026-11-01\n',
        "utf-8",
    )
    status, findings = look()
    assert status == 0
    assert about(findings, "prices")[0]["state"] == "ok"


@pytest.mark.parametrize("variable", ["OTEL_METRICS_EXPORTER", "OTEL_TRACES_EXPORTER"])
def test_an_exporter_of_another_name_is_broken(
    monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "none,otpl")
    status, findings = look()
    assert status == 1
    (found,) = about(findings, variable)
    assert found["state"] == "broken"
    assert "'otpl'" in found["detail"] and "otlp" in found["detail"]


def test_a_warning_of_another_part_is_in_the_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNGUARD_CLAIMS_URL", "memory://")
    findings = look()[1]
    (found,) = [f for f in findings if f["subject"] == "warning"]
    assert found["state"] == "note"
    assert "this process only" in found["detail"]
