"""The worker process's telemetry: hub, exporters and ``/metrics``, for as long as it runs."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from runguard_otel.core.signatures import GuardName
from runguard_otel.core.verdict import Mode
from runguard_otel.telemetry import export
from runguard_otel.telemetry.ages import Ages
from runguard_otel.telemetry.hub.aggregator import PeriodWatcher
from runguard_otel.telemetry.hub.reader import Period
from runguard_otel.telemetry.hub.server import Hub, available
from runguard_otel.telemetry.hub.tape import TapeKeeper
from runguard_otel.telemetry.series import Series, zero_points
from runguard_otel.telemetry.sink import MeterSink

if TYPE_CHECKING:
    from runguard_otel.telemetry.delivery import WatchedMetricExporter
    from runguard_otel.telemetry.scrape import Endpoint, Points, ScrapeReader
    from runguard_otel.telemetry.sink import CountWatcher

__all__ = ["WorkerTelemetry", "bounded"]

logger = logging.getLogger("runguard_otel")

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
        expected: Whether anybody is to be told when this worker falls silent.
        watcher: Told of what is counted, from now until :meth:`stop`.
        vantage: Whose view it is; ``""`` for the agents' own.
    """

    def __init__(
        self,
        modes: Mapping[GuardName, Mode],
        agent: str = "",
        *,
        meter_provider: Any | None = None,
        metrics_port: int | None = None,
        listen: bool = True,
        expected: bool = True,
        watcher: CountWatcher | None = None,
        vantage: str = "",
    ) -> None:
        self._watcher = watcher
        self._expected = expected
        self._own: Any | None = None
        self.endpoint: Endpoint | None = None
        scrape = None
        if meter_provider is None:
            scrape = _scrape_reader(metrics_port)
            self._port = metrics_port
            readers = export.push_readers(export.metric_exporters(), self._serve_exported)
            meter_provider = self._own = export.meter_provider(
                [*readers, scrape] if scrape else readers
            )
        series = Series(agent, vantage)
        self.sink = MeterSink(meter_provider.get_meter(_METER), series, self.flush, watcher)
        self.sink.begin_at_zero(zero_points(modes, vantage))
        self.hub = _start_hub(self.sink) if listen else None
        started = time.time()
        self.sink.gauge("runguard.worker.heartbeat", self._last_beat)
        if self.hub is not None:
            ages = Ages()
            self.hub.watch(ages)
            self._ages = ages
            self.sink.gauges("runguard.open", ages.by_age)
            self.sink.gauges("runguard.open.oldest", ages.oldest)
        self.sink.gauge("runguard.worker.start", lambda: started)
        self.sink.gauge("runguard.worker.expected", lambda: float(self._expected))
        if scrape is not None:
            self.endpoint = _serve(scrape.data, metrics_port)
        if watcher is not None:
            watcher.start(*export.owner())

    def _serve_exported(self, exporter: WatchedMetricExporter) -> str:
        """OTLP is refused: serve what it was last given, if nothing is served yet."""
        if self.endpoint is None and self._port != 0:
            self.endpoint = _serve(lambda: exporter.last, self._port)
        return f"Until then they are at {self.endpoint.url}" if self.endpoint else ""

    @property
    def hub_address(self) -> str | None:
        """Where job processes report; ``None`` where there is no hub."""
        return self.hub.address if self.hub else None

    def watch(self, watcher: PeriodWatcher) -> None:
        """Tell ``watcher``, too, of what lasts in the jobs."""
        if self.hub is not None:
            ages = self._ages

            def both(periods: Sequence[Period], now: float) -> None:
                ages(periods, now)
                watcher(periods, now)

            self.hub.watch(both)

    def keep(self, keeper: TapeKeeper) -> None:
        """Hand ``keeper`` the histories of the jobs."""
        if self.hub is not None:
            self.hub.keep(keeper)

    def _last_beat(self) -> float:
        """Asked ahead of every collection, so that it finds what the jobs have counted by then."""
        if self.hub is None:
            return time.time()
        self.hub.look()
        return self.hub.last_beat()

    def replay(self, sums: Iterable[tuple[str, dict[str, str], float]]) -> None:
        """Count again what was counted in process before the worker ran."""
        for name, labels, value in sums:
            self.sink.instrument(name, labels)(value, None)

    def flush(self, timeout: float) -> bool:
        """Push our own exporters; blocks for at most ``timeout`` seconds or so."""
        return True if self._own is None else bool(self._own.force_flush(timeout * 1000))

    def ending(self) -> None:
        """It was asked to end and is not to be missed. The last export says so, too."""
        self._expected = False

    def stop(self, timeout: float = 2.0) -> None:
        """Read the rest, push it, close. Blocks for at most about thrice ``timeout`` seconds."""
        self.ending()
        if self.hub is not None:
            self.hub.stop(timeout)
        if self._watcher is not None:
            self._watcher.stop(timeout)
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
    hub = Hub(sink.instrument)
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
    if not export.serves_metrics(metrics_port):
        return None
    try:
        from runguard_otel.telemetry.scrape import ScrapeReader
    except ImportError as error:
        logger.warning("no /metrics: %s", error)
        return None
    return ScrapeReader()


def _serve(data: Points, metrics_port: int | None) -> Endpoint | None:
    from runguard_otel.telemetry.scrape import Endpoint

    host, port = export.scrape_address(metrics_port)
    try:
        endpoint = Endpoint(data, host, port)
    except (OSError, TypeError, ValueError) as error:  # not OSError: the host is no name at all
        reason = getattr(error, "strerror", None) or error
        logger.warning("no /metrics on %s:%d: %s", host, port, reason)
        return None
    return endpoint
