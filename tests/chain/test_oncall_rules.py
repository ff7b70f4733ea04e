"""What promtool and amtool say about the shipped files, and that they would notice a mistake."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from runguard_otel.cli.export.commands import app
from tests.kit.newer_debian import program
from tests.kit.process import NotInstalled
from tests.kit.servers import binary
from tests.kit.stories import RULES, STORIES, Ahead, read, with_their_rules

pytestmark = [pytest.mark.chain, pytest.mark.timeout(400)]  # promtool is given 300

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
    return subprocess.run([exe, *words], cwd=cwd, capture_output=True, text=True, timeout=300)


def promtool(*words: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return run("promtool", "prometheus", *words, cwd=cwd)


def amtool(*words: str) -> subprocess.CompletedProcess[str]:
    return run("amtool", "prometheus-alertmanager", *words)


def test_prometheus_accepts_the_rules() -> None:
    done = promtool("check", "rules", *GENERATED)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def ahead(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Ahead]:
    """Runs of promtool for the stories and mutants that were chosen, begun at once."""
    chosen = [
        item.callspec.params
        for item in request.session.items
        if isinstance(item, pytest.Function)
        and item.path == request.path
        and "ahead" in item.fixturenames
    ]
    names = [str(name) for params in chosen for name in params.values()]
    folder = tmp_path_factory.mktemp("stories")  # once: several threads would make its parent anew
    ahead = Ahead(lambda name: _ran(name, folder / name.replace(" ", "-")), names)
    yield ahead
    ahead.close()


def _ran(name: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """A file of stories with the rules as they ship, or one of them with a mutant."""
    rules, stories = RULES, read(STORIES[name]) if name in STORIES else None
    if stories is None:
        words, file, right, wrong = MUTANTS[name]
        stories = only(words)
        assert right in RULES[file]
        rules = {**RULES, file: RULES[file].replace(right, wrong)}
    folder.mkdir()
    path = with_their_rules(folder, stories, rules)
    return promtool("test", "rules", path.name, cwd=folder)


@pytest.mark.parametrize("story", STORIES)
def test_the_stories_of_the_alerts_hold(story: str, ahead: Ahead) -> None:
    done = ahead.result(story)
    assert done.returncode == 0, done.stdout + done.stderr


def only(words: str) -> dict[str, Any]:
    """The stories whose name has these words."""
    told = [read(path) for path in STORIES.values()]
    stories: dict[str, Any] = next(s for s in told if any(words in t["name"] for t in s["tests"]))
    return {**stories, "tests": [t for t in stories["tests"] if words in t["name"]]}


MUTANTS = {
    "blind to what a worker counted before it was first seen": (
        "born at 1",
        "recording.yml",
        "[5m]) > time() - 300",
        "[5m]) > time() + 300",
    ),
    "a reset is an event": ("was reset", "recording.yml", " >= 0\n", " * -1 > 0\n"),
    "old counts are news": (
        "added to a Prometheus",
        "recording.yml",
        "and on (cluster, service_name, job",
        "or on (none",
    ),
    "a loop ends when its event is over": (
        "RunguardReconnectLoop: nobody stops",
        "recording.yml",
        "_open:now{",
        "_open:then{",
    ),
    "a loop that no scrape saw open is none": (
        "ends before the next scrape",
        "recording.yml",
        ' or service:runguard_trips:events5m{runguard_guard="room_reconnect"',
        ' and service:runguard_trips:events5m{runguard_guard="room_reconnect"',
    ),
    "a stopped loop that comes back pages again": (
        "RunguardReconnectLoop: it is stopped",
        "alerts.yml",
        "[30m]",
        "[5m]",
    ),
    "a share is forgotten": ("two in five minutes", "recording.yml", "(0.001 *", "(0 *"),
    "what chance brings is told": ("are chance", "recording.yml", "now) + 2)", "now) + 0)"),
    "a threshold has moved": ("dispatched twice", "recording.yml", ">= 3\n", ">= 19\n"),
    "who was asked to end is missed": (
        "scaled away, and say so",
        "recording.yml",
        "_expected[6h]) == 0",
        "_expected[6h]) == 7",
    ),
    "a target that is no longer listed is missed": (
        "no longer listed",
        "recording.yml",
        "last_over_time(up[6h])",
        "last_over_time(up[1s])",
    ),
    "nobody replaces the dead": (
        "its supervisor starts it again",
        "recording.yml",
        "_start_seconds[6h]) > on",
        "_start_seconds[6h]) < on",
    ),
    "who died, was replaced and was asked to end is missed": (
        "its successor is asked to end",
        "alerts.yml",
        "service:runguard_workers:missing unless",
        "service:runguard_workers:dead unless",
    ),
    "who replaced the dead and died is missed twice": (
        "an hour later those are replaced",
        "recording.yml",
        "last_over_time(runguard_worker_start_seconds[6h]) > on",
        "runguard_worker_start_seconds > on",
    ),
    "a cluster that dies is hidden by the other": (
        "one cluster of two dies",
        "alerts.yml",
        "missing unless",
        "missing unless on (service_name)",
    ),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_the_stories_notice_a_rule_that_is_wrong(mutant: str, ahead: Ahead) -> None:
    """That they hold for the right rules, the test above says."""
    done = ahead.result(mutant)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "exp:" in done.stdout + done.stderr, "not for a rule that cannot be read"


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


def test_no_detail_of_a_page_is_left_to_alertmanager() -> None:
    """Its own four hold all labels, and newer releases read those as YAML: `no` becomes false."""
    config = yaml.safe_load((ALERTS / "alertmanager.yml").read_text())
    (pagerduty,) = next(r for r in config["receivers"] if r["name"] == "pagerduty")[
        "pagerduty_configs"
    ]
    assert {"firing", "resolved", "num_firing", "num_resolved"} <= set(pagerduty["details"])


def test_no_inhibition_silences_its_own_source() -> None:
    config = yaml.safe_load((ALERTS / CONFIGS[0]).read_text())
    by_name = {
        r["alert"]: r["labels"]["severity"]
        for g in yaml.safe_load((ALERTS / "generated" / "alerts.yml").read_text())["groups"]
        for r in g["rules"]
    }
    for rule in config["inhibit_rules"]:
        both = [name for name in by_name if all(
            _matches(m, {**_LABELS, "alertname": name, "severity": by_name[name]})
            for side in ("source_matchers", "target_matchers") for m in rule[side]
        )]  # fmt: skip
        assert both == []


_LABELS = {"runguard_signature": "x", "runguard_mode": "observe"}


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
    assert ">= 4\n" in (tmp_path / "recording.yml").read_text()
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
