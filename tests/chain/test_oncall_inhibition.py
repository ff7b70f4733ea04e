"""One cause is one page: the shipped inhibitions, asked of a real Alertmanager."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from alerts.rules import alerts
from alerts.tuning import Tuning
from tests.kit import servers
from tests.kit.fixtures import running
from tests.kit.process import Server
from tests.kit.sinks import eventually

pytestmark = pytest.mark.chain

CONFIG = Path(__file__).resolve().parents[2] / "alerts" / "alertmanager-webhook.yml"
SEVERITIES = {a.name: a.severity for a in alerts(Tuning())}
DUPLICATE = "job_claim:refused"
RECONNECT = "room_reconnect"
_MODE = {"runguard_mode": "observe"}
STORIES = {
    "duplicates that only are observed": (
        {
            "RunguardDuplicateWork": DUPLICATE,
            "RunguardDuplicateDispatch": DUPLICATE,
            "RunguardWasteBurnFast": "",
        },
        {"RunguardDuplicateWork"},
    ),
    "duplicates that are refused": (
        {"RunguardDuplicateDispatch": DUPLICATE},
        {"RunguardDuplicateDispatch"},
    ),
    "a reconnect loop that only is observed": (
        {
            "RunguardReconnectLoop": RECONNECT,
            "RunguardStormNotStopped": RECONNECT,
            "RunguardWasteBurnFast": "",
        },
        {"RunguardReconnectLoop"},
    ),
    "a reconnect loop and a misfire storm that does not stop": (
        {
            "RunguardReconnectLoop": RECONNECT,
            "RunguardMisfireStorm": "vad_misfire:echo",
            "RunguardStormNotStopped": "vad_misfire:echo",
        },
        {"RunguardReconnectLoop", "RunguardStormNotStopped"},
    ),
    "waste without a loop that pages": ({"RunguardWasteBurnFast": ""}, {"RunguardWasteBurnFast"}),
}


@pytest.fixture(scope="module")
def alertmanager() -> Iterator[Server]:
    yield from running(lambda: servers.alertmanager_server(CONFIG.read_text()))


def _ask(url: str, body: list[dict[str, dict[str, str]]] | None = None) -> list[dict[str, object]]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=5) as answer:
        text = answer.read()
    return json.loads(text) if text else []


def test_one_cause_pages_once_and_other_causes_still_page(alertmanager: Server) -> None:
    """Each story is a service of its own, so that none inhibits another."""
    url = f"http://127.0.0.1:{alertmanager.port}/api/v2/alerts"
    _ask(
        url,
        [
            {
                "labels": {
                    "alertname": name,
                    "severity": SEVERITIES[name],
                    "cluster": "eu",
                    "service_name": story,
                    **({"runguard_signature": signature, **_MODE} if signature else {}),
                }
            }
            for story, (firing, _) in STORIES.items()
            for name, signature in firing.items()
        ],
    )
    expected = {story: told for story, (_, told) in STORIES.items()}

    def told() -> dict[str, set[str]]:
        found = _ask(f"{url}?inhibited=false")
        out: dict[str, set[str]] = {}
        for alert in found:
            labels = alert["labels"]
            assert isinstance(labels, dict)
            out.setdefault(labels["service_name"], set()).add(labels["alertname"])
        return out

    eventually(lambda: bool(told()), 10)
    eventually(lambda: told() == expected, 10)
