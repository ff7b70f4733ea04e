"""The chain from a loop to the page, by each way that metrics take, every part of it real.

Job processes -> hub -> worker -> a way -> shipped rules -> Alertmanager with the shipped
configuration -> a stand-in for PagerDuty. Intervals are shortened by replacing text in what ships.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from alerts.rules import rule_files
from alerts.tuning import Tuning
from runguard_otel.preview.prometheus import Prometheus
from tests.kit import servers
from tests.kit.newer_debian import program
from tests.kit.oncall import (
    ROOT,
    SHORTER,
    SHORTER_ROUTES,
    WINDOW,
    Worker,
    alertmanager_config,
    shortened,
)
from tests.kit.pagerduty import KEY, PagerDuty
from tests.kit.ports import free_port
from tests.kit.process import NotInstalled, Server, http_ready
from tests.kit.sinks import eventually
from tools.up_local import OTLP_FLAG, takes_otlp

__all__ = [
    "MODES",
    "QUICK",
    "SCRAPED",
    "SHIPPED",
    "WAYS",
    "Chain",
    "Elsewhere",
    "Stages",
    "chain",
    "collector_server",
]

SCRAPED = Tuning()
PROMOTED = Tuning.of({"cluster_label": "k8s_cluster_name"})
"""The names of a store that makes labels of resource attributes."""
MODES = {"front-desk": "enforce", "night-desk": "observe"}

_HEARTBEAT = "runguard_worker_heartbeat_seconds"


class Elsewhere(NotInstalled):
    """No package of this system has that part; nothing is wrong if it is not there."""


@dataclass(frozen=True)
class Pace:
    """How long things take.

    Args:
        seconds: Between two scrapes, exports and evaluations.
        rules: What is replaced in the rules.
        waits: What is replaced in the routes.
        known: Finds how many workers the rules know for long enough.
        patience: Seconds within which a storm reaches the next part of the chain.
    """

    seconds: int
    rules: Mapping[str, str]
    waits: Mapping[str, str]
    known: str
    patience: float


QUICK = Pace(
    1, SHORTER, SHORTER_ROUTES,
    # A worker that nobody heard of before the window, and that began before it, is old news.
    f"count(last_over_time({_HEARTBEAT}[{WINDOW}s] offset {WINDOW}s))", 30,
)  # fmt: skip
SHIPPED = Pace(15, {}, {}, f"count({_HEARTBEAT})", 120)
"""A worker of less than five minutes is known at once."""


@dataclass(frozen=True)
class Stages:
    """When a storm reached which part of the chain, in unix seconds.

    Args:
        third: The third reconnect in a job process.
        stored: The store has the trip.
        firing: The alert fires, as the store shows it.
        paged: PagerDuty has the page.
    """

    third: float
    stored: float
    firing: float
    paged: float


@dataclass
class Chain:
    """Two services, one per mode, and what on-call has.

    Args:
        workers: By service: ``front-desk`` enforces, ``night-desk`` observes.
        store: Where rules read.
        pagerduty: Where pages arrive.
        tuning: The names of labels there.
        pace: How long it takes.
    """

    workers: dict[str, Worker]
    store: Prometheus
    pagerduty: PagerDuty
    tuning: Tuning = SCRAPED
    pace: Pace = QUICK

    def value(self, expr: str) -> float:
        """A query's first value now; 0 where it finds nothing."""
        found = self.store.instant(expr, time.time())
        return found[0].points[0][1] if found else 0.0

    def storm(self, service: str, rooms: int, reconnects: int) -> Stages:
        """Make one, and wait for its page."""
        third = self.workers[service].storm(rooms, reconnects)
        own = f'service_name="{service}"'
        stored = self._reached(lambda: self.value(f"sum(runguard_trips_total{{{own}}})") > 0)
        alert = f'ALERTS{{alertname="RunguardReconnectLoop", alertstate="firing", {own}}}'
        # VictoriaMetrics may show a series that is new after the page.
        firing = self._reached(lambda: self.value(alert) > 0 or self._paged(service))
        self._reached(lambda: self._paged(service))
        return Stages(third, stored, firing, self.pagerduty.of("trigger", service)[0].at)

    def _paged(self, service: str) -> bool:
        return bool(self.pagerduty.of("trigger", service))

    def _reached(self, claim: Callable[[], bool]) -> float:
        """The unix time at which something became true."""
        eventually(claim, self.pace.patience)
        return time.time()


@contextlib.contextmanager
def chain(way: str, pace: Pace = QUICK) -> Iterator[Chain]:
    """One that is up, and has heard of both workers.

    Args:
        way: A key of :data:`WAYS`.
        pace: How long it may take.

    Raises:
        NotInstalled: If a part of that way is not there; says how to get it. An
            :class:`Elsewhere`, if this system has no package of it.
    """
    tuning, open_store = WAYS[way]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        pagerduty = PagerDuty()
        stack.callback(pagerduty.stop)
        (folder / "key").write_text(KEY)
        routes = alertmanager_config(pagerduty, folder / "key", tuning, pace.waits)
        alertmanager = stack.enter_context(servers.alertmanager_server(routes))
        ports = {service: free_port() if way == "scrape" else 0 for service in MODES}
        store, environment = open_store(stack, alertmanager, list(ports.values()), pace)
        workers = {}
        for service, mode in MODES.items():
            own = {"OTEL_RESOURCE_ATTRIBUTES": "k8s.cluster.name=eu", "RUNGUARD_MODE": mode}
            workers[service] = Worker(service, ports[service], {**environment, **own})
            stack.callback(workers[service].stop)
        found = Chain(workers, Prometheus(store.url), pagerduty, tuning, pace)
        eventually(lambda: found.value(pace.known) == len(MODES), 60)
        yield found


Opened = tuple[Server, Mapping[str, str]]


def _scraped(stack: ExitStack, alertmanager: Server, ports: list[int], pace: Pace) -> Opened:
    job = _scrape("agents", ports)  # no labels: whose metrics they are, the workers say themselves
    return stack.enter_context(_prometheus(alertmanager, pace, SCRAPED, job)), {}


def _collected(stack: ExitStack, alertmanager: Server, _: list[int], pace: Pace) -> Opened:
    collector, otlp = collector_server()
    stack.enter_context(collector)
    job = _scrape("otel-collector", [collector.port]) + "    honor_labels: true\n"
    store = stack.enter_context(_prometheus(alertmanager, pace, SCRAPED, job))
    return store, {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{otlp}",
        "OTEL_TRACES_EXPORTER": "none",
        "OTEL_METRIC_EXPORT_INTERVAL": f"{pace.seconds}000",
    }


def _received(stack: ExitStack, alertmanager: Server, _: list[int], pace: Pace) -> Opened:
    exe = servers.binary("prometheus", "prometheus")
    if not takes_otlp(exe):
        raise Elsewhere(f"this Prometheus has no {OTLP_FLAG}: a release of Prometheus 3 has it")
    names = "service.name, k8s.cluster.name, service.instance.id"
    otlp = f"otlp: {{promote_resource_attributes: [{names}]}}\n"
    store = stack.enter_context(_prometheus(alertmanager, pace, PROMOTED, otlp, OTLP_FLAG))
    return store, _pushes(f"{store.url}/api/v1/otlp", pace)


def _stored(stack: ExitStack, alertmanager: Server, _: list[int], pace: Pace) -> Opened:
    with contextlib.suppress(NotInstalled):
        # Debian 12's does not take OTLP: prefer the next release's, unpacked.
        found = program("victoria-metrics", "usr/bin/victoria-metrics").parent
        path = f"{found}{os.pathsep}{os.environ['PATH']}"
        stack.enter_context(mock.patch.dict(os.environ, {"PATH": path}))
    exe = servers.binary("victoria-metrics", "victoria-metrics")
    naming = "-opentelemetry.usePrometheusNaming"
    known = [naming, "-search.latencyOffset=0s"] if naming.strip("-") in _help(exe, "-help") else []
    store = stack.enter_context(servers.victoria_metrics_server(*known))
    if not _takes_otlp(store):
        raise Elsewhere("this VictoriaMetrics takes no OTLP: 1.94 or newer does (Debian 13)")
    stack.enter_context(_vmalert(store, alertmanager, pace))
    return store, _pushes(f"{store.url}/opentelemetry", pace)


WAYS: Mapping[str, tuple[Tuning, Callable[[ExitStack, Server, list[int], Pace], Opened]]] = {
    "scrape": (SCRAPED, _scraped),
    "collector": (SCRAPED, _collected),
    "prometheus": (PROMOTED, _received),
    "victoria-metrics": (PROMOTED, _stored),
}
"""Workers that are scraped, that push to a collector, to Prometheus, and to VictoriaMetrics."""


def collector_server() -> tuple[Server, int]:
    """A collector with the shipped configuration, and the port it takes OTLP on.

    Only addresses differ from what ships. Where there is no Tempo, spans wait and counts do not.

    Raises:
        Elsewhere: If there is none on the PATH.
    """
    exe = shutil.which("otelcol-contrib")
    if exe is None:
        raise Elsewhere("otelcol-contrib is not on PATH: get the release deploy/otelcol.yaml names")
    otlp = free_port()

    def argv(port: int, directory: Path) -> list[str]:
        addresses = {
            "0.0.0.0:4317": f"127.0.0.1:{otlp}",
            "0.0.0.0:4318": f"127.0.0.1:{free_port()}",
            "0.0.0.0:13133": f"127.0.0.1:{free_port()}",
            "0.0.0.0:8889": f"127.0.0.1:{port}",
            "tempo:4317": f"127.0.0.1:{free_port()}",
        }
        config = directory / "otelcol.yaml"
        config.write_text(shortened((ROOT / "deploy" / "otelcol.yaml").read_text(), addresses))
        return [exe, f"--config={config}"]

    return Server("otelcol", argv, ready=http_ready("/metrics")).start(), otlp


def _prometheus(
    alertmanager: Server, pace: Pace, tuning: Tuning, more: str, *options: str
) -> Server:
    config = (
        f"global: {{scrape_interval: {pace.seconds}s, scrape_timeout: {900 * pace.seconds}ms, "
        f"evaluation_interval: {pace.seconds}s}}\n"
        "rule_files: [recording.yml, alerts.yml]\n"
        "alerting: {alertmanagers: [{static_configs: "
        f'[{{targets: ["127.0.0.1:{alertmanager.port}"]}}]}}]}}\n{more}'
    )
    files = _rules(tuning, pace.rules)
    resend = f"--rules.alert.resend-delay={pace.seconds}s"
    return servers.prometheus_server(config, resend, *options, files=files)


def _scrape(job: str, ports: list[int]) -> str:
    targets = ", ".join(f'"127.0.0.1:{port}"' for port in ports)
    return f"scrape_configs:\n  - job_name: {job}\n    static_configs: [{{targets: [{targets}]}}]\n"


def _pushes(endpoint: str, pace: Pace) -> Mapping[str, str]:
    return {
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_TRACES_EXPORTER": "none",
        "OTEL_METRIC_EXPORT_INTERVAL": f"{pace.seconds}000",
    }


def _rules(tuning: Tuning, words: Mapping[str, str]) -> dict[str, str]:
    files = rule_files(tuning)
    both = shortened("\0".join(files.values()), words).split("\0")
    return dict(zip(files, both, strict=True))


def _vmalert(store: Server, alertmanager: Server, pace: Pace) -> Server:
    exe = servers.binary("vmalert", "victoria-metrics")

    def argv(port: int, directory: Path) -> list[str]:
        # This store shows a sample up to two seconds after it was written, and a loop passes
        # through three recordings: a memory of three seconds would never see the newest.
        slower = {long: short.replace("[3s]", "[10s]") for long, short in pace.rules.items()}
        for name, text in _rules(PROMOTED, slower).items():
            (directory / name).write_text(text)
        return [exe, f"-rule={directory}/*.yml", f"-datasource.url={store.url}",
                f"-remoteWrite.url={store.url}", f"-notifier.url={alertmanager.url}",
                f"-evaluationInterval={pace.seconds}s", "-rule.evalDelay=0s",
                "-remoteWrite.flushInterval=200ms",
                f"-httpListenAddr=127.0.0.1:{port}"]  # fmt: skip

    return Server("vmalert", argv, ready=http_ready("/health")).start()


def _takes_otlp(server: Server) -> bool:
    request = urllib.request.Request(f"{server.url}/opentelemetry/v1/metrics", data=b"")
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return bool(answer.status < 300)
    except urllib.error.HTTPError:
        return False


def _help(exe: str, flag: str) -> str:
    said = subprocess.run([exe, flag], capture_output=True, text=True, timeout=30, check=False)
    return said.stdout + said.stderr
