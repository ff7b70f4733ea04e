"""A Prometheus that dies in the middle of a storm and comes back goes on paging for it.

A real Prometheus with the shipped rules, shortened. Beside them stands the mutant: the same alert
held by ``keep_firing_for``, which a restart forgets.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import yaml

from alerts.rules import rule_files
from alerts.tuning import Tuning
from runguard_otel.preview.prometheus import Prometheus
from tests.kit import servers
from tests.kit.fixtures import running
from tests.kit.oncall import shortened
from tests.kit.process import Server
from tests.kit.sinks import eventually

pytestmark = pytest.mark.chain

MEMORY = 20
SHORT = {
    "[5m]) > time() - 300": "[4s]) > time() - 4",
    "[15m] offset 5m": "[12s] offset 4s",
    "[5m]": "[4s]",
    "[10m])": "[5s])",
    "[30m])": f"[{MEMORY}s])",
}
SCRAPE = """
global: {{scrape_interval: 1s, scrape_timeout: 900ms, evaluation_interval: 1s}}
rule_files: [recording.yml, alerts.yml, mutant.yml]
scrape_configs: [{{job_name: agents, static_configs: [{{targets: ["127.0.0.1:{port}"]}}]}}]
"""
MUTANT = f"""
groups:
  - name: mutant
    rules:
      - alert: Mutant
        expr: service:runguard_loops:stopped{{runguard_guard="room_reconnect"}}
        keep_firing_for: {MEMORY}s
"""
OWNER = 'service_name="desk",runguard_agent_name="front",runguard_guard="room_reconnect",' \
        'runguard_signature="room_reconnect"'  # fmt: skip


class Desk:
    """A worker's ``/metrics``, as far as its loops go."""

    def __init__(self) -> None:
        self.trips = {"observe": 0, "enforce": 0}
        self.open = 0
        began = time.time()
        desk = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                lines = [
                    f'runguard_worker_heartbeat_seconds{{service_name="desk"}} {time.time()}',
                    f'runguard_worker_start_seconds{{service_name="desk"}} {began - 3600}',
                    f'runguard_guards_open{{{OWNER},runguard_mode="observe"}} {desk.open}',
                    *(
                        f'runguard_trips_total{{{OWNER},runguard_mode="{mode}"}} {count}'
                        for mode, count in desk.trips.items()
                    ),
                ]
                body = ("\n".join(lines) + "\n").encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def desk() -> Iterator[Desk]:
    desk = Desk()
    yield desk
    desk.server.shutdown()
    desk.server.server_close()


@pytest.fixture
def prometheus(desk: Desk) -> Iterator[Server]:
    rules = rule_files(Tuning())
    both = shortened("\0".join(rules.values()), SHORT).split("\0")
    files = {**dict(zip(rules, both, strict=True)), "mutant.yml": MUTANT}
    assert "keep_firing_for" not in yaml.safe_load(files["alerts.yml"])["groups"][0]["rules"][0]
    config = SCRAPE.format(port=desk.server.server_port)
    yield from running(lambda: servers.prometheus_server(config, files=files))


def test_a_restart_in_the_middle_of_a_storm_ends_no_alert(desk: Desk, prometheus: Server) -> None:
    server = Prometheus(prometheus.url)

    def ask(expr: str, since: float = 0.0) -> set[str]:
        """The modes it has now, evaluated after ``since``: what a kill left behind is not now."""
        fresh = f"{expr} and timestamp({expr}) > {max(since, time.time() - 3)}"
        return {s.labels["runguard_mode"] for s in server.instant(fresh, time.time())}

    ours = 'ALERTS{alertname="RunguardReconnectLoop", alertstate="firing"}'
    mutant = 'ALERTS{alertname="Mutant", alertstate="firing"}'
    stopped = 'service:runguard_loops:stopped{runguard_guard="room_reconnect"}'
    eventually(lambda: bool(server.instant("runguard_trips_total offset 5s", time.time())), 20)
    desk.open, desk.trips = 1, {"observe": 1, "enforce": 1}
    eventually(lambda: ask(ours) == {"observe", "enforce"}, 10)
    eventually(lambda: not ask(stopped), 15)  # from here on the stopped one is a memory
    assert ask(ours) == {"observe", "enforce"}
    assert ask(mutant) == {"enforce"}, "it fires as long as Prometheus lives"

    prometheus.kill()
    prometheus.start()
    restarted = time.time()
    newest = "timestamp(ALERTS{alertname='RunguardWatchdog'})"

    def evaluated() -> bool:
        return any(s.points[-1][1] > restarted + 3 for s in server.instant(newest, time.time()))

    eventually(evaluated, 20)  # every group, once or more: each has its own moment in a second
    assert ask(ours, restarted) == {"observe", "enforce"}
    assert ask(mutant, restarted) == set(), "it would have been held by what a restart forgets"

    desk.open = 0
    eventually(lambda: "observe" not in ask(ours), 20)
