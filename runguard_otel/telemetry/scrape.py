"""``/metrics``: the worker's counters for Prometheus, with exemplars.

OpenTelemetry's Prometheus exporter leaves exemplars out, and they are the way from a graph to the
one call in its trace. So this reads the SDK's points and hands them to ``prometheus_client``, which
LiveKit depends on anyway and which knows both text formats. Names are the catalogue's, the same as
a collector makes of OTLP.
"""

from __future__ import annotations

import contextlib
import logging
import selectors
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable
from socketserver import TCPServer, ThreadingMixIn
from typing import Any, Final

from opentelemetry.sdk.metrics.export import (
    HistogramDataPoint,
    MetricReader,
    MetricsData,
    NumberDataPoint,
)
from prometheus_client import CollectorRegistry, MetricsHandler
from prometheus_client.core import Metric as Family
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar

from runguard_otel.telemetry.catalogue import METRICS, Kind, Metric, prometheus_name
from runguard_otel.telemetry.export import cumulative
from runguard_otel.telemetry.failures import Failures

__all__ = ["Endpoint", "Points", "ScrapeReader", "registry"]

logger = logging.getLogger("runguard_otel")

CLIENT_SECONDS: Final = 5.0
MOST_CLIENTS: Final = 64
_TRIES = 20
# What rules and dashboards group by. A scrape adds such labels only when its configuration says so,
# and without them two services on one Prometheus would share their incidents. A target label of the
# same name still wins: Prometheus then keeps ours as exported_service_name (honor_labels off).
_OWNER = {"service_name": "service.name", "cluster": "k8s.cluster.name"}


Points = Callable[[], "MetricsData | None"]


class ScrapeReader(MetricReader):
    """Collects when Prometheus asks."""

    def __init__(self) -> None:
        super().__init__(preferred_temporality=cumulative())
        self._data: MetricsData | None = None
        self._one_at_a_time = threading.Lock()

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


def registry(data: Points) -> CollectorRegistry:
    """What ``prometheus_client`` renders.

    Args:
        data: Asked at each scrape for the points.
    """
    made = CollectorRegistry(auto_describe=False)
    made.register(_Families(data))
    return made


class _Families(Collector):
    def __init__(self, data: Points) -> None:
        self._data = data

    def collect(self) -> Iterable[Family]:
        data = self._data()
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


class _Handler(MetricsHandler):
    timeout = CLIENT_SECONDS

    def log_message(self, format: str, *args: Any) -> None:
        """Scrapes are not news, nor are clients that go away."""


class _Server(ThreadingMixIn, TCPServer):
    """Waits without polling; each client has a thread, for a bounded time."""

    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    allow_reuse_port = False  # two workers on one port would answer by turns
    request_queue_size = MOST_CLIENTS

    def __init__(self, data: Points, host: str, port: int) -> None:
        handler = type("_Handler", (_Handler,), {"registry": registry(data)})
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), handler)
        self.port = int(self.server_address[1])
        self._clients: dict[socket.socket, float] = {}
        self._wake_read, self._wake_write = socket.socketpair()
        self._stopping = False

    def serve(self) -> None:
        """Serve until :meth:`stop`."""
        with selectors.DefaultSelector() as selector:
            for ready in (self.socket, self._wake_read):
                selector.register(ready, selectors.EVENT_READ)
            while not self._stopping:
                for key, _ in selector.select(self._until_the_next_is_late()):
                    if key.fileobj is self.socket:
                        self._handle_request_noblock()  # type: ignore[attr-defined]  # of its base
        self.server_close()
        self._wake_read.close()

    def stop(self) -> None:
        """Have :meth:`serve` return."""
        self._stopping = True
        with contextlib.suppress(OSError):
            self._wake_write.send(b"x")
        self._wake_write.close()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve one client, unless there are too many already."""
        if len(self._clients) >= MOST_CLIENTS:
            self.shutdown_request(request)
            return
        self._clients[request] = time.monotonic() + CLIENT_SECONDS
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # no thread to be had
            self.shutdown_request(request)

    def shutdown_request(self, request: Any) -> None:
        """The client was served, or is gone."""
        self._clients.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that is gone or slow is not worth a traceback; a defect of ours is."""
        if not isinstance(sys.exc_info()[1], OSError):
            self._failures.log("metrics endpoint")

    _failures = Failures()

    def _until_the_next_is_late(self) -> float | None:
        """Seconds; ``None`` if there is no client. Hangs up on those who are late."""
        now = time.monotonic()
        for client, due in list(self._clients.items()):
            if due <= now:
                self._clients.pop(client, None)
                with contextlib.suppress(OSError):  # its thread then finds the end of the stream
                    client.shutdown(socket.SHUT_RDWR)
        return min((due - now for due in self._clients.copy().values()), default=None)


class Endpoint:
    """Serves ``/metrics`` in a thread.

    A client has five seconds from its connection on, and 64 are served at a time.

    Args:
        data: Asked at each scrape for the points to serve.
        host: Address to bind; loopback unless the user says otherwise.
        port: The first port to try; the following ones are tried when several workers share a host.
    """

    def __init__(self, data: Points, host: str, port: int) -> None:
        self._server = self._bind(data, host, port)
        self.host, self.port = host, self._server.port
        self._thread = threading.Thread(
            target=self._server.serve, name="runguard-metrics", daemon=True
        )
        self._thread.start()

    @property
    def url(self) -> str:
        """Where Prometheus finds it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}/metrics"

    def stop(self) -> None:
        """Stop serving."""
        self._server.stop()
        self._thread.join(CLIENT_SECONDS)

    @staticmethod
    def _bind(data: Points, host: str, port: int) -> _Server:
        last = min(port + _TRIES, 65536) - 1
        for candidate in range(port, last + 1):
            try:
                return _Server(data, host, candidate)
            except OSError as error:
                if candidate == last:
                    raise
                logger.debug("port %d is taken (%s), trying the next", candidate, error.strerror)
        raise AssertionError("unreachable")
