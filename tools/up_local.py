"""What ``make up-local`` runs: the compose stack as plain processes, where there is no Docker.

The same files, the same options: both are read from ``docker-compose.yml`` and only addresses are
replaced. LiveKit is wherever ``LIVEKIT_URL`` says. What is not installed is left out, and said.
Metrics take the best way there is: a collector on the PATH, else OTLP to Prometheus, else a scrape.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from alerts.rules import rule_files
from alerts.tuning import Tuning

ROOT = Path(__file__).resolve().parents[1]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]

METRICS = 9464
COLLECTORS = ("otelcol-contrib", "otelcol")
Way = Literal["collector", "otlp", "scrape"]
OTLP_FLAG = "--web.enable-otlp-receiver"
PROGRAMS = {
    "prometheus": ("prometheus", "Debian package prometheus"),
    "alertmanager": ("prometheus-alertmanager", "Debian package prometheus-alertmanager"),
}
LEFT_OUT = {
    "livekit": "set LIVEKIT_URL, LIVEKIT_API_KEY and LIVEKIT_API_SECRET to a server, for example "
    "`livekit-server --dev`",
    "redis": "claims are kept in a SQLite file of this host instead",
    "collector": "put otelcol-contrib on the PATH (a release of opentelemetry-collector-releases); "
    "until then {way}, and spans go nowhere",
    "tempo": "no store for traces; set OTEL_TRACES_EXPORTER=otlp and OTEL_EXPORTER_OTLP_ENDPOINT",
    "grafana": "`runguard-otel preview` draws the same dashboards from Prometheus",
}


@dataclass
class Process:
    """One service of the stack as a command.

    Args:
        service: Its name in the compose file.
        argv: The command.
        environment: Besides ours.
    """

    service: str
    argv: list[str]
    environment: dict[str, str] = field(default_factory=dict)


def flags(service: str) -> list[str]:
    """The options that compose gives a service."""
    command = COMPOSE[service].get("command", [])
    return command.split() if isinstance(command, str) else list(command)


def mounted(service: str, inside: str) -> Path:
    """The file of the checkout that a service sees at ``inside``.

    Raises:
        KeyError: If compose mounts nothing there.
    """
    for volume in COMPOSE[service]["volumes"]:
        source, _, target = volume.replace(":-", "\0").partition(":")
        target = target.removesuffix(":ro")
        if "\0" in source:  # ${NAME:-default}
            before, _, rest = source.partition("${")
            name, _, default = rest.partition("\0")
            source = before + os.environ.get(name, default.rstrip("}"))
        if inside == target or inside.startswith(f"{target}/"):
            return ROOT / str(source) / inside.removeprefix(target).lstrip("/")
    raise KeyError(inside)


def way() -> Way:
    """How metrics come into Prometheus here."""
    if collector():
        return "collector"
    exe = shutil.which("prometheus")
    if exe is None:
        return "scrape"
    return "otlp" if takes_otlp(exe) else "scrape"


def takes_otlp(prometheus: str) -> bool:
    """Whether a Prometheus has a receiver for OTLP; Debian's is built without."""
    said = subprocess.run([prometheus, "--help"], capture_output=True, text=True, check=False)
    # 2.47 writes --web..., 3 writes --[no-]web...
    return OTLP_FLAG.lstrip("-") in said.stdout + said.stderr


def collector() -> str | None:
    """The first collector on the PATH."""
    return next(filter(None, map(shutil.which, COLLECTORS)), None)


def prometheus_config(folder: Path, how: Way, port: int = METRICS) -> str:
    """The shipped configuration, its addresses replaced by those of this machine.

    Args:
        folder: For rules that differ from the shipped ones.
        how: How metrics come in.
        port: Where the agent serves them, if it does.
    """
    config = yaml.safe_load((ROOT / "deploy" / "prometheus.yml").read_text())
    rules = mounted("prometheus", "/etc/prometheus/rules")
    config["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"] = ["127.0.0.1:9093"]
    (scrape,) = config["scrape_configs"]
    if how == "collector":
        scrape["static_configs"] = [{"targets": ["127.0.0.1:8889"]}]
    elif how == "scrape":
        scrape["job_name"] = "agents"  # the worker itself
        scrape["static_configs"] = [{"targets": [f"127.0.0.1:{port}"]}]
    else:
        del config["scrape_configs"]
        names = ["service.name", "k8s.cluster.name", "service.instance.id"]
        config["otlp"] = {"promote_resource_attributes": names}
        rules = folder / "rules"
        rules.mkdir()
        for name, text in rule_files(Tuning.of({"cluster_label": "k8s_cluster_name"})).items():
            (rules / name).write_text(text)
    config["rule_files"] = [f"{rules}/*.yml"]
    return str(yaml.safe_dump(config, sort_keys=False))


def collector_config() -> str:
    """The shipped configuration without a store for traces, and on loopback only."""
    text = (ROOT / "deploy" / "otelcol.yaml").read_text().replace("0.0.0.0:", "127.0.0.1:")
    config = yaml.safe_load(text)
    del config["exporters"]["otlp/tempo"], config["service"]["pipelines"]["traces"]
    return str(yaml.safe_dump(config, sort_keys=False))


def free_port(first: int = METRICS) -> int:
    """The first port from there on that nobody has; an agent that still ends has the default."""
    for port in range(first, first + 20):
        with socket.socket() as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                tried.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise SystemExit(f"no port of {first} to {first + 19} is free")


def processes(folder: Path) -> list[Process]:
    """All that can run here, in the order of their start.

    Args:
        folder: For what they write.
    """
    port = free_port()
    how = way()
    (folder / "prometheus.yml").write_text(prometheus_config(folder, how, port))
    (folder / "otelcol.yaml").write_text(collector_config())
    replaced = {
        "--config.file=/etc/prometheus/prometheus.yml": f"--config.file={folder}/prometheus.yml",
        "--config.file=/etc/alertmanager/alertmanager.yml": "--config.file="
        f"{mounted('alertmanager', '/etc/alertmanager/alertmanager.yml')}",
    }
    own = {
        "prometheus": [f"--storage.tsdb.path={folder}/prometheus",
                       "--web.listen-address=127.0.0.1:9090"],
        "alertmanager": [f"--storage.path={folder}/alertmanager",
                         "--web.listen-address=127.0.0.1:9093"],
    }  # fmt: skip
    found = [Process("receiver", [sys.executable, str(mounted("receiver", "/receiver.py"))])]
    exe = collector()
    if exe:
        found.append(Process("collector", [exe, f"--config={folder}/otelcol.yaml"]))
    if how == "otlp":
        own["prometheus"].append(OTLP_FLAG)
    for service, (program, _) in PROGRAMS.items():
        exe = shutil.which(program) or shutil.which(service)
        if exe:
            options = [replaced.get(flag, flag) for flag in flags(service)]
            found.append(Process(service, [exe, *options, *own[service]]))
    if os.environ.get("LIVEKIT_URL"):
        agent = str(ROOT / "deploy" / "agent" / "agent.py")
        found.append(
            Process("agent", [sys.executable, agent, "start"], agent_environment(how, port))
        )
        found.append(Process("caller", [sys.executable, str(ROOT / "deploy/agent/caller.py")]))
    return found


def agent_environment(how: Way, port: int = METRICS) -> dict[str, str]:
    """What compose tells the agent, but for the addresses of what is not here.

    Args:
        how: How its metrics come into Prometheus.
        port: Where it serves them, if it does.
    """
    told = COMPOSE["agent"]["environment"]
    mine = {name: told[name] for name in ("OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES")}
    mode = os.environ.get("RUNGUARD_MODE", told["RUNGUARD_MODE"].rpartition(":-")[2].rstrip("}"))
    mine |= {"HEALTH_PORT": "0", "RUNGUARD_MODE": mode}  # any port
    if how == "scrape":
        return {**mine, "RUNGUARD_METRICS_PORT": str(port)}
    if how == "collector":
        endpoint = told["OTEL_EXPORTER_OTLP_ENDPOINT"].replace("//collector:", "//127.0.0.1:")
        return {**mine, "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_TRACES_EXPORTER": "none"}
    return {
        **mine,
        "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://127.0.0.1:9090/api/v1/otlp/v1/metrics",
        "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL": "http/protobuf",
    }


def left_out(running: list[Process]) -> dict[str, str]:
    """Services of the compose file that do not run, and how to get each."""
    there = {process.service for process in running}
    how = {**{name: f"install it: {how}" for name, (_, how) in PROGRAMS.items()}, **LEFT_OUT}
    sent = "is scraped" if way() == "scrape" else "sends OTLP to Prometheus"
    how["collector"] = how["collector"].format(way=f"the agent {sent}")
    if os.environ.get("LIVEKIT_URL"):
        how["livekit"] = f"the one at {os.environ['LIVEKIT_URL']} is used"
    return {name: how.get(name, how["livekit"]) for name in COMPOSE if name not in there}


def main() -> int:
    """Run until interrupted, or until one of them ends."""
    folder = Path(tempfile.mkdtemp(prefix="runguard-up-"))
    found = processes(folder)
    for service, how in left_out(found).items():
        print(f"left out: {service} ({how})")
    print("Prometheus http://localhost:9090, what on-call is told http://localhost:9095")
    print(f"logs and data: {folder}; Ctrl-C ends all of it")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    running: list[subprocess.Popen[bytes]] = []
    try:
        for process in found:
            with (folder / f"{process.service}.log").open("wb") as log:
                running.append(
                    subprocess.Popen(
                        process.argv,
                        env={**os.environ, **process.environment},
                        stdout=log,
                        stderr=subprocess.STDOUT,
                    )
                )
        while all(process.poll() is None for process in running):
            time.sleep(0.5)
        ended = next(f.service for f, p in zip(found, running, strict=True) if p.poll() is not None)
        print(f"{ended} has ended; see {folder}/{ended}.log")
        return 1
    except KeyboardInterrupt:
        return 0
    finally:
        for each in running:
            each.terminate()
        for each in running:
            try:
                each.wait(10)
            except subprocess.TimeoutExpired:
                each.kill()
                each.wait()
        shutil.rmtree(folder / "prometheus", ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
