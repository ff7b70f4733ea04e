"""Settings become a meter; a price file that cannot be used prices nothing and stops nothing."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from runguard_otel.core.ports import Recorder, Usage, UsagePort
from runguard_otel.cost.build import Cost, build
from runguard_otel.settings import Settings
from tests.kit.recorder import MemoryRecorder

pytestmark = pytest.mark.unit

CLOUD = {"LIVEKIT_URL": "wss://acme-1234.livekit.cloud"}


def made(environ: dict[str, str] | None = None, **settings: Any) -> Cost:
    return build(Settings.load(**settings), MemoryRecorder(), lambda: "", environ or {})


def test_what_is_built_is_what_adapters_expect() -> None:
    built = made()
    recorder: Recorder = built.recorder
    port: UsagePort = built.meter
    assert recorder is built.recorder
    assert port is built.meter


@pytest.mark.parametrize(
    ("environ", "settings", "plan", "cloud_agents"),
    [
        ({}, {}, "self_hosted", False),
        ({"LIVEKIT_URL": "wss://livekit.example"}, {}, "self_hosted", False),
        ({"LIVEKIT_URL": "wss://[not a url"}, {}, "self_hosted", False),
        (CLOUD, {}, "ship", False),
        ({**CLOUD, "LIVEKIT_REMOTE_EOT_URL": "x"}, {}, "ship", True),
        (CLOUD, {"cost_plan": "scale", "cost_agents": "cloud"}, "scale", True),
        ({"LIVEKIT_REMOTE_EOT_URL": "x"}, {"cost_agents": "self"}, "self_hosted", False),
    ],
)
def test_the_plan_follows_from_where_livekit_is_unless_it_is_said(
    environ: dict[str, str], settings: dict[str, str], plan: str, cloud_agents: bool
) -> None:
    meter = made(environ, **settings).meter
    assert (meter.plan, meter.cloud_agents) == (plan, cloud_agents)


def test_a_missing_price_file_prices_nothing_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        built = made(prices=str(tmp_path / "gone.toml"))
    assert "nothing is priced" in caplog.text
    assert "gone.toml: no such file" in caplog.text
    built.meter.used(Usage("tts", "Cartesia", "sonic-3", {"characters": 9}))
    assert built.meter.session_cost().total == 0
    assert dict(built.meter.session_cost().unpriced) == {"tts/character": 9}
