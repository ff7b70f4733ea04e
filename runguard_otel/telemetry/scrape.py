"""``/metrics``: the worker's counters for Prometheus, with exemplars.

OpenTelemetry's Prometheus exporter leaves exemplars out, and they are the way from a graph to the
one call in its trace. So this reads the SDK's points and hands them to ``prometheus_client``, which
LiveKit depends on anyway and which knows both text formats. Names are the catalogue's, the same as
a collector makes of OTLP.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from opentelemetry.sdk.metrics.export import (
    HistogramDataPoint,
    MetricReader,
    MetricsData,
    NumberDataPoint,
)
from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.core import Metric as Family
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar

from runguard_otel.telemetry.catalogue import METRICS, Kind, Metric, prometheus_name
from runguard_otel.telemetry.export import cumulative

__all__ = ["Endpoint", "ScrapeReader"]

logger = logging.getLogger("runguard_otel")

_TRIES = 20
# What rules and dashboards group by. A scrape adds such labels only when its configuration says so,
# and without them two services on one Prometheus would share their incidents. A target label of the
# same name still wins: Prometheus then keeps ours as exported_service_name (honor_labels off).
_OWNER = {"service_name": "service.name", "cluster": "k8s.cluster.name"}


class ScrapeReader(MetricReader):
    """Collects when Prometheus asks."""

    def __init__(self) -> None:
        super().__init__(preferred_temporality=cumulative())
        self._data: MetricsData | None = None
        self._one_at_a_time = threading.Lock()
        self.registry = CollectorRegistry(auto_describe=False)
        self.registry.register(_Families(self))

    def _receive_metrics(
        self, metrics_data: MetricsData, timeout_millis: float = 10_000, **_: Any
    ) -> None:
        self._data = metrics_data

    def shutdown(self, timeout_millis: float = 30_000, **_: Any) -> None:
        """Nothing to close here."""

    def data(self) -> MetricsData | None:
        """The points as they are now. Exemplars are handed out once."""
        with self._one_at_a_time:
            self.collect()
            data, self._data = self._data, None
            return data


class _Families(Collector):
    def __init__(self, reader: ScrapeReader) -> None:
        self._reader = reader

    def collect(self) -> Iterable[Family]:
        data = self._reader.data()
        for resource in data.resource_metrics if data else ():
            attributes = dict(resource.resource.attributes)
            owner = {k: str(attributes[a]) for k, a in _OWNER.items() if attributes.get(a)}
            yield _target_info(attributes)
            for scope in resource.scope_metrics:
                for found in scope.metrics:
                    if found.name in METRICS:
                        yield _family(METRICS[found.name], found.data.data_points, owner)


def _target_info(attributes: dict[str, Any]) -> Family:
    family = Family("target", "Who exports.", "info")
    labels = {k.replace(".", "_").replace("-", "_"): str(v) for k, v in attributes.items()}
    family.add_sample("target_info", labels, 1)
    return family


def _family(metric: Metric, points: Iterable[Any], owner: dict[str, str]) -> Family:
    name = prometheus_name(metric.name)
    kinds = {Kind.COUNTER: "counter", Kind.HISTOGRAM: "histogram"}
    family = Family(name.removesuffix("_total"), metric.brief, kinds.get(metric.kind, "gauge"))
    for point in points:
        own = {k.replace(".", "_"): str(v) for k, v in (point.attributes or {}).items()}
        labels = {**owner, **own}
        if isinstance(point, HistogramDataPoint):
            _add_histogram(family, name, labels, point)
        elif isinstance(point, NumberDataPoint):
            exemplar = None
            if metric.kind is Kind.COUNTER and point.exemplars:
                exemplar = _exemplar(point.exemplars[-1])
            family.add_sample(name, labels, point.value, exemplar=exemplar)
    return family


def _add_histogram(
    family: Family, name: str, labels: dict[str, str], point: HistogramDataPoint
) -> None:
    bounds = [*point.explicit_bounds, float("inf")]
    total, below = 0, float("-inf")
    for bound, count in zip(bounds, point.bucket_counts, strict=True):
        total += count
        inside = [e for e in point.exemplars if below < e.value <= bound]
        le = "+Inf" if bound == float("inf") else repr(float(bound))
        family.add_sample(
            f"{name}_bucket",
            {**labels, "le": le},
            total,
            exemplar=_exemplar(inside[-1]) if inside else None,
        )
        below = bound
    family.add_sample(f"{name}_sum", labels, point.sum)
    family.add_sample(f"{name}_count", labels, point.count)


def _exemplar(found: Any) -> Exemplar | None:
    if not found.trace_id or not found.span_id:
        return None
    ids = {"trace_id": f"{found.trace_id:032x}", "span_id": f"{found.span_id:016x}"}
    return Exemplar(ids, found.value, found.time_unix_nano / 1e9)


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    allow_reuse_port = False  # two workers on one port would answer by turns


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Scrapes are not news."""


class Endpoint:
    """Serves ``/metrics`` in a thread.

    Args:
        reader: What to serve.
        host: Address to bind; loopback unless the user says otherwise.
        port: The first port to try; the following ones are tried when several workers share a host.
    """

    def __init__(self, reader: ScrapeReader, host: str, port: int) -> None:
        self._server = self._bind(reader, host, port)
        self.host, self.port = host, self._server.server_port
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.1,), name="runguard-metrics", daemon=True
        )
        self._thread.start()

    @property
    def url(self) -> str:
        """Where Prometheus finds it."""
        return f"http://{self.host}:{self.port}/metrics"

    def stop(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()

    @staticmethod
    def _bind(reader: ScrapeReader, host: str, port: int) -> WSGIServer:
        application = make_wsgi_app(reader.registry)
        last = min(port + _TRIES, 65536) - 1
        for candidate in range(port, last + 1):
            try:
                return make_server(host, candidate, application, _Server, _Quiet)
            except OSError as error:
                if candidate == last:
                    raise
                logger.debug("port %d is taken (%s), trying the next", candidate, error.strerror)
        raise AssertionError("unreachable")
