"""The compose stack can storm, shows what on-call is told, and can be built from a checkout."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import socket
import sys
import threading
import urllib.request
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from runguard_otel.demo.scene import STORMS
from tools import up_local

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]


def script(path: Path) -> ModuleType:
    """A script of ``deploy/``, which is no package."""
    spec = importlib.util.spec_from_file_location(f"shipped_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_a_caller_rings_the_server_the_agent_is_on() -> None:
    """Mutant: without it no room is made, no job starts and nothing can storm."""
    agent, caller = COMPOSE["agent"], COMPOSE["caller"]
    assert caller["build"] == agent["build"]
    same = ("LIVEKIT_URL", "LIVEKIT_API_KEY", "LIVEKIT_API_SECRET")
    assert [caller["environment"][n] for n in same] == [agent["environment"][n] for n in same]
    assert "restart" in caller
    dockerfile = (DEPLOY / "agent" / "Dockerfile").read_text()
    assert caller["command"].split()[-1] in dockerfile


def test_the_caller_has_a_voice() -> None:
    caller = script(DEPLOY / "agent" / "caller.py")
    frames = [caller.voice(number) for number in range(50)]
    assert {len(frame) for frame in frames} == {2 * caller.FRAME}
    samples = memoryview(b"".join(frames)).cast("h")
    assert 3000 < max(map(abs, samples)) < 32_767
    assert len(set(frames)) > 10


def test_the_misbehaviour_that_compose_passes_on_is_one_the_agent_knows() -> None:
    assert COMPOSE["agent"]["environment"]["MISBEHAVE"] == "${MISBEHAVE:-}"
    told = set(re.findall(r"MISBEHAVE=(\w+)", (ROOT / "docker-compose.yml").read_text()))
    assert told == {storm.name for storm in STORMS}, "a loop for each guard"
    scripts = "".join((DEPLOY / "agent" / f"{n}.py").read_text() for n in ("agent", "caller"))
    assert all(f'"{word}"' in scripts for word in told)
    assert COMPOSE["caller"]["environment"]["MISBEHAVE"] == "${MISBEHAVE:-}"


def test_alerts_and_watchdog_arrive_where_the_stack_shows_them() -> None:
    """Mutant: a receiver in a network of its own, where Alertmanager's 127.0.0.1 is not it."""
    assert COMPOSE["receiver"]["network_mode"] == "service:alertmanager"
    config = yaml.safe_load((ROOT / "alerts" / "alertmanager-webhook.yml").read_text())
    hooks = [h["url"] for r in config["receivers"] for h in r.get("webhook_configs", [])]
    assert {url.rsplit("/", 1)[0] for url in hooks} == {"http://127.0.0.1:9095"}
    assert "127.0.0.1:9095:9095" in COMPOSE["alertmanager"]["ports"]
    (mount,) = COMPOSE["receiver"]["volumes"]
    assert (ROOT / mount.split(":")[0]).is_file()


def test_the_receiver_shows_what_it_was_told() -> None:
    receiver = script(DEPLOY / "receiver" / "receiver.py")
    server = receiver.ThreadingHTTPServer(("127.0.0.1", 0), receiver.Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"

    def post(path: str, body: dict[str, Any]) -> None:
        request = urllib.request.Request(f"{url}{path}", json.dumps(body).encode())
        urllib.request.urlopen(request, timeout=5).close()

    try:
        post("/watchdog", {"alerts": []})
        alert = {
            "status": "firing",
            "labels": {"alertname": "RunguardReconnectLoop", "severity": "page"},
            "annotations": {"summary": "A room <b>of</b> agent front."},
        }
        post("/alerts", {"alerts": [alert]})
        with urllib.request.urlopen(url, timeout=5) as answer:
            page = answer.read().decode()
    finally:
        server.shutdown()
        server.server_close()
    assert "firing page RunguardReconnectLoop: A room &lt;b&gt;of&lt;/b&gt; agent front." in page
    assert "The watchdog was heard 0 s ago." in page


def test_make_up_installs_the_checkout_and_git_keeps_no_wheel() -> None:
    recipe = (ROOT / "Makefile").read_text().partition("\nup:")[2].partition("\n\n")[0]
    assert "hatchling build -t wheel -d deploy/agent/wheels" in recipe
    ignored = (DEPLOY / "agent" / "wheels" / ".gitignore").read_text().split()
    assert ignored == ["*", "!README.md", "!.gitignore"]
    assert "COPY wheels/" in (DEPLOY / "agent" / "Dockerfile").read_text()


def without_a_collector(name: str) -> str | None:
    return None if name in up_local.COLLECTORS else f"/usr/bin/{name}"


@pytest.fixture
def local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, up_local.Process]:
    monkeypatch.setenv("LIVEKIT_URL", "ws://127.0.0.1:7880")
    monkeypatch.setattr(shutil, "which", without_a_collector)
    monkeypatch.setattr(up_local, "way", lambda: "scrape")
    monkeypatch.setattr(up_local, "free_port", lambda: up_local.METRICS)
    return {p.service: p for p in up_local.processes(tmp_path)}


def test_plain_processes_and_compose_have_the_same_configuration(
    local: dict[str, up_local.Process], tmp_path: Path
) -> None:
    """Mutant: another option, rule, route or script in either of them."""
    for service in ("prometheus", "alertmanager"):
        told = {f for f in up_local.flags(service) if not f.startswith("--config.file=")}
        assert told
        assert told <= set(local[service].argv)
    assert f"--config.file={ROOT / 'alerts' / 'alertmanager-webhook.yml'}" in (
        local["alertmanager"].argv
    )
    ours = yaml.safe_load((tmp_path / "prometheus.yml").read_text())
    shipped = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())
    assert ours["global"] == shipped["global"]
    assert ours["rule_files"] == [f"{ROOT / 'alerts' / 'generated'}/*.yml"]
    assert local["agent"].argv[1:] == [str(DEPLOY / "agent" / "agent.py"), "start"]
    assert local["caller"].argv[1:] == [str(DEPLOY / "agent" / "caller.py")]
    assert local["receiver"].argv[1:] == [str(DEPLOY / "receiver" / "receiver.py")]
    told = COMPOSE["agent"]["environment"]
    mine = local["agent"].environment
    assert {n: told[n] for n in mine if n.startswith("OTEL")} == {
        n: v for n, v in mine.items() if n.startswith("OTEL")
    }
    assert mine["RUNGUARD_MODE"] == "enforce"
    assert ours["scrape_configs"][0]["static_configs"][0]["targets"] == ["127.0.0.1:9464"]
    assert mine["RUNGUARD_METRICS_PORT"] == "9464"


def test_every_service_runs_or_is_said_to_be_left_out(
    local: dict[str, up_local.Process],
) -> None:
    missing = up_local.left_out(list(local.values()))
    assert missing.keys() | local.keys() == COMPOSE.keys()
    assert missing.keys() & local.keys() == set()
    assert all(missing.values())


def test_without_a_livekit_server_it_says_how_to_get_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LIVEKIT_URL", raising=False)
    found = up_local.processes(tmp_path)
    missing = up_local.left_out(found)
    assert {"livekit", "agent", "caller"} <= missing.keys()
    assert "livekit-server --dev" in missing["agent"]


def test_a_collector_on_the_path_is_used_with_the_shipped_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mutant: an agent that is scraped as well counts everything twice."""
    monkeypatch.setenv("LIVEKIT_URL", "ws://127.0.0.1:7880")
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    found = {p.service: p for p in up_local.processes(tmp_path)}
    told = found["agent"].environment
    assert told["OTEL_EXPORTER_OTLP_ENDPOINT"] == "http://127.0.0.1:4317"
    assert "RUNGUARD_METRICS_PORT" not in told
    (scrape,) = yaml.safe_load((tmp_path / "prometheus.yml").read_text())["scrape_configs"]
    assert (scrape["job_name"], scrape["honor_labels"]) == ("otel-collector", True)
    assert scrape["static_configs"] == [{"targets": ["127.0.0.1:8889"]}]
    mine = yaml.safe_load((tmp_path / "otelcol.yaml").read_text())
    shipped = yaml.safe_load((DEPLOY / "otelcol.yaml").read_text())
    assert mine["processors"] == shipped["processors"]
    assert mine["service"]["pipelines"].keys() == {"metrics"}
    assert "0.0.0.0" not in (tmp_path / "otelcol.yaml").read_text()
    assert "collector" not in up_local.left_out(list(found.values()))


@pytest.mark.parametrize(
    ("said", "takes"),
    [
        ("      --[no-]web.enable-otlp-receiver  \n", True),  # 3
        ("      --web.enable-otlp-receiver  \n", True),  # 2.55
        ("      --web.enable-remote-write-receiver\n", False),  # Debian's
    ],
)
def test_whether_prometheus_takes_otlp_is_read_from_its_help(
    said: str, takes: bool, tmp_path: Path
) -> None:
    program = tmp_path / "prometheus"
    program.write_text(f"#!/bin/sh\nprintf '%s' '{said}' >&2\n")
    program.chmod(0o755)
    assert up_local.takes_otlp(str(program)) is takes


def test_prometheus_takes_otlp_where_it_can_and_its_rules_know_its_label(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIVEKIT_URL", "ws://127.0.0.1:7880")
    monkeypatch.setattr(shutil, "which", without_a_collector)
    monkeypatch.setattr(up_local, "way", lambda: "otlp")
    found = {p.service: p for p in up_local.processes(tmp_path)}
    assert up_local.OTLP_FLAG in found["prometheus"].argv
    config = yaml.safe_load((tmp_path / "prometheus.yml").read_text())
    assert "scrape_configs" not in config
    assert "k8s.cluster.name" in config["otlp"]["promote_resource_attributes"]
    rules = (tmp_path / "rules" / "recording.yml").read_text()
    assert "sum by (k8s_cluster_name, service_name" in rules
    said = up_local.left_out(list(found.values()))["collector"]
    assert "sends OTLP to Prometheus" in said


def test_it_serves_metrics_where_prometheus_asks_for_them_though_the_port_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mutant: Prometheus asks 9464, which an agent that still ends has, and sees nothing."""
    monkeypatch.setenv("LIVEKIT_URL", "ws://127.0.0.1:7880")
    monkeypatch.setattr(shutil, "which", without_a_collector)
    monkeypatch.setattr(up_local, "way", lambda: "scrape")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert up_local.free_port(port) > port
    monkeypatch.setattr(up_local, "free_port", lambda: 9470)
    found = {p.service: p for p in up_local.processes(tmp_path)}
    assert found["agent"].environment["RUNGUARD_METRICS_PORT"] == "9470"
    (scrape,) = yaml.safe_load((tmp_path / "prometheus.yml").read_text())["scrape_configs"]
    assert scrape["static_configs"] == [{"targets": ["127.0.0.1:9470"]}]
