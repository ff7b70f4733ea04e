"""The shipped collector configuration in a real Collector contrib, where one is on PATH."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from runguard_otel.telemetry.catalogue import METRICS, prometheus_name
from tests.kit.oncall import Worker
from tests.kit.oncall_chain import collector_server
from tests.kit.process import NotInstalled, Server
from tests.kit.sinks import eventually

pytestmark = pytest.mark.chain


@pytest.fixture(scope="module")
def collector() -> Iterator[tuple[Server, int]]:
    """It and the port it takes OTLP on; only addresses differ from what ships."""
    try:
        server, otlp = collector_server()
    except NotInstalled as missing:
        pytest.skip(str(missing))
    with server:
        yield server, otlp


def scrape(server: Server) -> list[Sample]:
    """What Prometheus gets from the collector; the parser is strict, so the text is valid."""
    accept = {"Accept": "application/openmetrics-text; version=1.0.0"}
    request = urllib.request.Request(f"{server.url}/metrics", headers=accept)
    with urllib.request.urlopen(request, timeout=5) as answer:
        text = answer.read().decode()
    families = text_string_to_metric_families(text)  # type: ignore[no-untyped-call]  # as published
    return [sample for family in families for sample in family.samples]


def test_two_services_come_out_under_the_names_rules_use_with_owner_and_exemplars(
    collector: tuple[Server, int],
) -> None:
    server, otlp = collector
    environment = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{otlp}",
        "OTEL_METRIC_EXPORT_INTERVAL": "500",
        "OTEL_RESOURCE_ATTRIBUTES": "k8s.cluster.name=eu",
    }
    workers = [Worker(service, 0, environment) for service in ("front-desk", "night-desk")]
    for worker in workers:
        worker.storm(rooms=2, reconnects=5)

    def refused() -> dict[str, float]:
        return {
            s.labels["service_name"]: s.value
            for s in scrape(server)
            if s.name == "runguard_signatures_total"
            and s.labels["runguard_signature"] == "room_reconnect"
            and s.labels["runguard_outcome"] == "refused"
        }

    eventually(lambda: refused() == {"front-desk": 6, "night-desk": 6}, 20)
    ours = [s for s in scrape(server) if s.name.startswith("runguard_")]
    known = {prometheus_name(name) for name in METRICS}
    suffixes = ("_bucket", "_sum", "_count", "_created")
    for sample in ours:
        plain = next((sample.name.removesuffix(x) for x in suffixes if sample.name.endswith(x)), "")
        assert sample.name in known or plain in known
        assert sample.labels["cluster"] == "eu"
        assert sample.labels["service_name"] == sample.labels["job"]
    assert any(s.exemplar for s in ours)
    for worker in workers:
        worker.stop()
