"""Providers of others are used, left alone, and never shut down."""

from __future__ import annotations

import subprocess
import sys

import pytest
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from runguard_otel.settings import Settings
from runguard_otel.telemetry.build import Telemetry, build
from runguard_otel.telemetry.hub.client import HubSink
from tests.kit.sinks import Job, eventually

pytestmark = [pytest.mark.chain, pytest.mark.usefixtures("no_otel_environment")]


def test_the_users_meter_provider_is_used_and_never_shut_down() -> None:
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    telemetry = build(Settings.load(), meter_provider=provider)
    telemetry.start_worker()
    assert telemetry.hub_address is not None
    assert telemetry.metrics_url is None
    job = Job(HubSink(telemetry.hub_address))
    job.sink.start()
    job.add("runguard.signatures", 5, signature="room_reconnect", outcome="allowed")
    job.sink.close()

    def jobs_ended() -> float:
        return _value(reader, "runguard.jobs.ended")

    eventually(lambda: jobs_ended() == 1)
    telemetry.shutdown()
    provider.get_meter("mine").create_counter("still.alive").add(1)
    assert _value(reader, "still.alive") == 1
    assert _value(reader, "runguard.signatures") == 5
    provider.shutdown()


def _value(reader: InMemoryMetricReader, name: str) -> float:
    data = reader.get_metrics_data()
    assert data is not None
    return float(
        sum(
            getattr(point, "value", 0)
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        )
    )


def test_the_global_meter_provider_is_left_for_livekit_cloud(worker: Telemetry) -> None:
    """In a process of its own: the global can be set once only."""
    code = (
        "from opentelemetry import metrics\n"
        "from opentelemetry.sdk.metrics import MeterProvider\n"
        "from runguard_otel.settings import Settings\n"
        "from runguard_otel.telemetry.build import build\n"
        "t = build(Settings.load(metrics_port=0)); t.start_worker()\n"
        "t.recorder.add('runguard.room.connects', 1, connect='ok')\n"
        "mine = MeterProvider(); metrics.set_meter_provider(mine)\n"
        "print(metrics.get_meter_provider() is mine); t.shutdown()"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "True"
    assert not isinstance(metrics.get_meter_provider(), MeterProvider)
