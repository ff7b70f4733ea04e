"""What promtool and amtool say about the shipped files, and that they would notice a mistake."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from runguard_otel.cli.export import app
from tests.kit.newer_debian import program
from tests.kit.process import NotInstalled
from tests.kit.servers import binary

pytestmark = pytest.mark.chain

ROOT = Path(__file__).resolve().parents[2]
ALERTS = ROOT / "alerts"
GENERATED = sorted(str(p) for p in (ALERTS / "generated").glob("*.yml"))
CONFIGS = ["alertmanager.yml", "alertmanager-webhook.yml"]


def run(name: str, package: str, *words: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """A tool's run; skips without it, except under CI."""
    try:
        exe = binary(name, package)
    except NotInstalled as missing:
        if os.environ.get("CI"):
            pytest.fail(str(missing))
        pytest.skip(str(missing))
    return subprocess.run([exe, *words], cwd=cwd, capture_output=True, text=True, timeout=100)


def promtool(*words: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return run("promtool", "prometheus", *words, cwd=cwd)


def amtool(*words: str) -> subprocess.CompletedProcess[str]:
    return run("amtool", "prometheus-alertmanager", *words)


def test_prometheus_accepts_the_rules() -> None:
    done = promtool("check", "rules", *GENERATED)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("story", ["fires", "silent"])
def test_the_stories_of_the_alerts_hold(story: str) -> None:
    done = promtool("test", "rules", f"{story}.test.yml", cwd=ALERTS / "tests")
    assert done.returncode == 0, done.stdout + done.stderr


def only(folder: Path, words: str) -> str:
    """A test file of the stories whose name has these words, beside a copy of the rules."""
    shutil.copytree(ALERTS / "generated", folder / "generated")
    stories = yaml.safe_load((ALERTS / "tests" / "fires.test.yml").read_text())
    stories["tests"] = [t for t in stories["tests"] if words in t["name"]]
    assert stories["tests"]
    (folder / "tests").mkdir()
    (folder / "tests" / "one.yml").write_text(yaml.safe_dump(stories))
    return "one.yml"


def test_the_stories_notice_a_rule_that_is_blind_to_newborn_series(tmp_path: Path) -> None:
    one = only(tmp_path, "born at 1")
    path = tmp_path / "generated" / "recording.yml"
    assert promtool("test", "rules", one, cwd=tmp_path / "tests").returncode == 0
    rules = yaml.safe_load(path.read_text())
    for group in rules["groups"]:
        for rule in group["rules"]:
            head, newborn, rest = rule["expr"].partition("    last_over_time")
            if newborn:
                rule["expr"] = head + rest.partition("  or\n")[2]
    path.write_text(yaml.safe_dump(rules))
    assert promtool("check", "rules", str(path)).returncode == 0
    done = promtool("test", "rules", one, cwd=tmp_path / "tests")
    assert done.returncode == 1
    assert "RunguardReconnectLoop" in done.stdout + done.stderr


def test_the_stories_notice_a_threshold_that_was_moved(tmp_path: Path) -> None:
    one = only(tmp_path, "RunguardDuplicateDispatch")
    path = tmp_path / "generated" / "alerts.yml"
    path.write_text(path.read_text().replace(">= 3\n", ">= 9\n"))
    assert promtool("test", "rules", one, cwd=tmp_path / "tests").returncode == 1


@pytest.mark.parametrize("name", CONFIGS)
def test_alertmanager_accepts_the_configuration(name: str) -> None:
    done = amtool("check-config", str(ALERTS / name))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("labels", "receiver"),
    [
        (["alertname=RunguardReconnectLoop", "severity=page"], "pagerduty"),
        (["alertname=RunguardMisfireStorm", "severity=ticket"], "pagerduty"),
        (["alertname=RunguardUsageUnpriced", "severity=info"], "nobody"),
        (["alertname=RunguardWatchdog", "severity=none"], "dead-mans-switch"),
    ],
)
def test_an_alert_goes_to_its_receiver(labels: list[str], receiver: str) -> None:
    for name in CONFIGS:
        done = amtool("config", "routes", "test", f"--config.file={ALERTS / name}", *labels)
        wanted = receiver if name == CONFIGS[0] else receiver.replace("pagerduty", "webhook")
        assert done.stdout.strip() == wanted


def test_both_configurations_group_and_inhibit_alike() -> None:
    first, second = (yaml.safe_load((ALERTS / name).read_text()) for name in CONFIGS)
    assert first["inhibit_rules"] == second["inhibit_rules"]
    assert first["route"]["group_by"] == second["route"]["group_by"]
    assert first["route"]["group_by"] == [
        "alertname", "cluster", "service_name", "runguard_signature"
    ]  # fmt: skip
    ours, theirs = ([{**r, "receiver": ""} for r in c["route"]["routes"]] for c in (first, second))
    assert ours == theirs


def test_no_inhibition_silences_its_own_source() -> None:
    config = yaml.safe_load((ALERTS / CONFIGS[0]).read_text())
    by_name = {
        r["alert"]: r["labels"]["severity"]
        for g in yaml.safe_load((ALERTS / "generated" / "alerts.yml").read_text())["groups"]
        for r in g["rules"]
    }
    for rule in config["inhibit_rules"]:
        both = [name for name in by_name if all(
            _matches(m, {"alertname": name, "severity": by_name[name], "runguard_signature": "x"})
            for side in ("source_matchers", "target_matchers") for m in rule[side]
        )]  # fmt: skip
        assert both == []


def _matches(text: str, labels: dict[str, str]) -> bool:
    import re

    found = re.fullmatch(r'(\w+)(=~|!~|!=|=)"(.*)"', text)
    assert found is not None
    name, operator, value = found.groups()
    if "~" in operator:
        hit = re.fullmatch(value, labels[name]) is not None
    else:
        hit = labels[name] == value
    return hit is not operator.startswith("!")


def test_exported_alerts_carry_the_numbers_that_were_set(tmp_path: Path) -> None:
    words = [
        "alerts",
        str(tmp_path),
        "--set",
        "reconnect_trips=4",
        "--set",
        'selector=cluster="eu"',
    ]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    checked = promtool(
        "check", "rules", str(tmp_path / "alerts.yml"), str(tmp_path / "recording.yml")
    )
    assert checked.returncode == 0, checked.stderr
    assert ">= 4\n" in (tmp_path / "alerts.yml").read_text()
    assert (tmp_path / "runbooks" / "RunguardReconnectLoop.md").exists()
    assert amtool("check-config", str(tmp_path / "alertmanager.yml")).returncode == 0


def test_a_wrong_name_is_refused_with_a_hint(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["alerts", str(tmp_path), "--set", "reconect_trips=4"])
    assert done.exit_code == 2
    assert "did you mean 'reconnect_trips'" in done.output
    assert not list(tmp_path.iterdir())


def test_compose_accepts_the_exported_file(tmp_path: Path) -> None:
    """Debian 12 has no docker-compose 2; the next release's runs here, and needs no engine."""
    assert CliRunner().invoke(app, ["compose", str(tmp_path)]).exit_code == 0
    try:
        compose = str(program("docker-compose", "usr/bin/docker-compose"))
    except NotInstalled as error:
        pytest.skip(f"no docker-compose 2: {error}")
    asked = [compose, "config", "-q"]
    done = subprocess.run(asked, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_the_compose_file_is_safe_and_complete(tmp_path: Path) -> None:
    assert CliRunner().invoke(app, ["compose", str(tmp_path)]).exit_code == 0
    compose = yaml.safe_load((tmp_path / "docker-compose.yml").read_text())
    for name, service in compose["services"].items():
        image = service.get("image", "")
        tag = image.partition(":")[2]
        assert "build" in service or tag not in ("", "latest"), f"{name} is not pinned"
        limits = service["deploy"]["resources"]["limits"]
        assert set(limits) == {"cpus", "memory"}
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), f"{name} publishes {port} to everyone"
        for volume in service.get("volumes", []):
            source = volume.partition(":")[0] if "${" not in volume else "./alerts"
            if source.startswith("./") and source != "./deploy/secrets":
                assert (tmp_path / source).exists(), f"{name} mounts {source}"
