"""The worker process's telemetry: hub, exporters and ``/metrics``, for as long as it runs."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from runguard_otel.core.signatures import GuardName
from runguard_otel.core.verdict import Mode
from runguard_otel.telemetry import export
from runguard_otel.telemetry.hub import Hub, available
from runguard_otel.telemetry.series import Series, zero_points
from runguard_otel.telemetry.sink import MeterSink

if TYPE_CHECKING:
    from runguard_otel.telemetry.scrape import Endpoint, ScrapeReader

__all__ = ["DEFAULT_PORT", "WorkerTelemetry", "bounded"]

logger = logging.getLogger("runguard_otel")

DEFAULT_PORT = 9464
"""OpenTelemetry's usual port for Prometheus."""

_METER = "runguard_otel"


class WorkerTelemetry:
    """One long-lived private meter provider that counts for all jobs of this worker.

    Args:
        modes: The mode of each guard; decides which series start at zero.
        agent: The worker's agent name.
        meter_provider: The user's own provider. It is then counted into and never shut down, and
            nothing is exported here.
        metrics_port: Port of ``/metrics``; ``None`` decides from the environment, 0 is off.
        listen: Whether to open the hub (not for executors that run jobs as threads).
    """

    def __init__(
        self,
        modes: Mapping[GuardName, Mode],
        agent: str = "",
        *,
        meter_provider: Any | None = None,
        metrics_port: int | None = None,
        listen: bool = True,
    ) -> None:
        self._own: Any | None = None
        self.endpoint: Endpoint | None = None
        scrape = None
        if meter_provider is None:
            scrape = _scrape_reader(metrics_port)
            readers = export.push_readers(export.metric_exporters())
            meter_provider = self._own = export.meter_provider(
                [*readers, scrape] if scrape else readers
            )
        self.sink = MeterSink(meter_provider.get_meter(_METER), Series(), self.flush)
        for name, labels in zero_points(modes, agent):
            self.sink.add(name, 0, labels, None)
        self.hub = _start_hub(self.sink) if listen else None
        self.sink.heartbeat(self.hub.last_beat if self.hub else time.time)
        if scrape is not None:
            self.endpoint = _serve(scrape, metrics_port)

    @property
    def hub_address(self) -> str | None:
        """Where job processes report; ``None`` where there is no hub."""
        return self.hub.address if self.hub else None

    def replay(self, sums: Iterable[tuple[str, dict[str, str], float]]) -> None:
        """Count again what was counted in process before the worker ran."""
        for name, labels, value in sums:
            self.sink.add(name, value, labels, None)

    def flush(self, timeout: float) -> bool:
        """Push our own exporters; blocks for at most ``timeout`` seconds or so."""
        return True if self._own is None else bool(self._own.force_flush(timeout * 1000))

    def stop(self, timeout: float = 2.0) -> None:
        """Read the rest, push it, close. Blocks for at most about twice ``timeout`` seconds."""
        if self.hub is not None:
            self.hub.stop(timeout)
        if self.endpoint is not None:
            self.endpoint.stop()
        if self._own is not None:
            own = self._own
            bounded(lambda: own.shutdown(timeout_millis=timeout * 1000), timeout)


def bounded(call: Callable[[], Any], timeout: float) -> None:
    """Run ``call`` in a thread and leave it behind if it takes too long (a hung collector)."""
    thread = threading.Thread(target=call, name="runguard-shutdown", daemon=True)
    thread.start()
    thread.join(timeout)
    if thread.is_alive():
        logger.warning("the metrics backend did not answer within %g s at shutdown", timeout)


def _start_hub(sink: MeterSink) -> Hub | None:
    if not available():
        return None
    hub = Hub(sink)
    try:
        hub.start()
    except OSError as error:
        logger.warning(
            "no telemetry hub (%s): counts of job processes stay in those processes",
            error.strerror or error,
        )
        return None
    return hub


def _scrape_reader(metrics_port: int | None) -> ScrapeReader | None:
    wanted = "prometheus" in export.metric_exporters() or export.nothing_configured()
    if metrics_port == 0 or not (wanted or metrics_port):
        return None
    try:
        from runguard_otel.telemetry.scrape import ScrapeReader
    except ImportError as error:
        logger.warning("no /metrics: %s", error)
        return None
    return ScrapeReader()


def _serve(reader: ScrapeReader, metrics_port: int | None) -> Endpoint | None:
    from runguard_otel.telemetry.scrape import Endpoint

    host = os.environ.get("OTEL_EXPORTER_PROMETHEUS_HOST") or "127.0.0.1"
    port = metrics_port or _port_from_environment()
    try:
        endpoint = Endpoint(reader, host, port)
    except (OSError, TypeError, ValueError) as error:  # not OSError: the host is no name at all
        reason = getattr(error, "strerror", None) or error
        logger.warning("no /metrics on %s:%d: %s", host, port, reason)
        return None
    return endpoint


def _port_from_environment() -> int:
    value = os.environ.get("OTEL_EXPORTER_PROMETHEUS_PORT", "")
    return int(value) if value.isdigit() and int(value) < 65536 else DEFAULT_PORT
