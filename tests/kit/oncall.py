"""Storming workers and the shipped rules and routes, quicker than they ship."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from alerts.routes import route_files
from alerts.tuning import Tuning
from tests.kit.pagerduty import PagerDuty

ROOT = Path(__file__).resolve().parents[2]
_MAIN = "from tests.kit.storm_worker import main; main()"  # so that it is imported once
WINDOW = 15
SHORTER = {
    "[5m]) > time() - 300": f"[{WINDOW}s]) > time() - {WINDOW}",
    "[15m] offset 5m": f"[{3 * WINDOW}s] offset {WINDOW}s",
    "[5m]": f"[{WINDOW}s]",
    "[10m])": "[3s])",
    "[30m])": "[3s])",
}
SHORTER_ROUTES = {
    "group_wait: 5s": "group_wait: 1s",
    "group_wait: 10s": "group_wait: 1s",
    "group_interval: 5m": "group_interval: 1s",
}


def shortened(text: str, words: Mapping[str, str]) -> str:
    for long, short in words.items():
        assert long in text, f"{long} is no longer in what ships"
        text = text.replace(long, short)
    return text


@dataclass
class Worker:
    """A worker process; its jobs storm when told to."""

    service: str
    port: int
    environment: Mapping[str, str] = field(default_factory=dict)
    process: subprocess.Popen[str] = field(init=False)

    def __post_init__(self) -> None:
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("OTEL_", "RUNGUARD_"))}
        self.process = subprocess.Popen(
            [sys.executable, "-c", _MAIN, str(self.port)],
            cwd=ROOT,
            env={**clean, "OTEL_SERVICE_NAME": self.service, **self.environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._out.readline() == "ready\n"

    @property
    def _out(self) -> IO[str]:
        assert self.process.stdout is not None
        return self.process.stdout

    def storm(self, rooms: int, reconnects: int) -> float:
        """Make one; the unix time of a third reconnect."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{rooms} {reconnects}\n")
        self.process.stdin.flush()
        return float(self._out.readline())

    def stop(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def alertmanager_config(
    pagerduty: PagerDuty,
    key_file: Path,
    tuning: Tuning | None = None,
    waits: Mapping[str, str] = SHORTER_ROUTES,
) -> str:
    """The shipped file with its addresses and waits replaced; or one for other names."""
    text = route_files(tuning or Tuning())["alertmanager.yml"]
    addresses = {
        "/etc/alertmanager/secrets/pagerduty_routing_key": str(key_file),
        "http://127.0.0.1:9095/watchdog": f"{pagerduty.url}/watchdog",
    }
    text = shortened(text, {**addresses, **waits})
    return f"global: {{pagerduty_url: {pagerduty.url}/v2/enqueue}}\n{text}"
