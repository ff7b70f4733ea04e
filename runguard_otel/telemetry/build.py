"""Puts the telemetry of one process together."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from runguard_otel.core.signatures import GuardName
from runguard_otel.core.verdict import Mode
from runguard_otel.settings import Settings
from runguard_otel.telemetry import export
from runguard_otel.telemetry.callbacks import Callbacks, TripCallback
from runguard_otel.telemetry.client import HubSink
from runguard_otel.telemetry.logs import TripLog
from runguard_otel.telemetry.privacy import Privacy
from runguard_otel.telemetry.providers import TracerSource, host_provider, sdk_disabled
from runguard_otel.telemetry.recorder import Recorder
from runguard_otel.telemetry.series import Series, zero_points
from runguard_otel.telemetry.sink import LazySink, MeterSink, NullSink, Sink
from runguard_otel.telemetry.spans import Spans

if TYPE_CHECKING:
    from runguard_otel.telemetry.worker import WorkerTelemetry

__all__ = ["Telemetry", "build"]

_METER = "runguard_otel"


class Telemetry:
    """The telemetry of this process. Opens nothing until the first measurement.

    Args:
        settings: Frozen settings.
        tracer_provider: Used instead of LiveKit's or the global one.
        meter_provider: Used instead of a private one; never shut down by us.
        logger_provider: Used instead of the global one.
        agent_name: LiveKit's name of the agent that is running, or ``""``.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        tracer_provider: Any | None = None,
        meter_provider: Any | None = None,
        logger_provider: Any | None = None,
        agent_name: Callable[[], str] = lambda: "",
    ) -> None:
        privacy = Privacy(settings.hash_salt)
        self._settings = settings
        self._meter_provider = meter_provider
        self._callbacks = Callbacks()
        self.tracers = TracerSource(tracer_provider, export.tracer_provider)
        self._sink = LazySink(self._in_process)
        self._worker: WorkerTelemetry | None = None
        self._worker_agent = ""
        self._own_meter_provider: Any | None = None
        self._refused: deque[str] = deque(maxlen=1000)
        self.recorder = Recorder(
            self._sink,
            Spans(self.tracers, privacy, settings.max_keys),
            TripLog(privacy, logger_provider),
            self._callbacks,
            lambda: agent_name() or self._worker_agent,
            on_refused=self._refused.append,
        )

    @property
    def sink(self) -> Sink:
        """Where measurements go now; made if there is none yet."""
        return self._sink.target

    def on_trip(self, callback: TripCallback) -> None:
        """Call ``callback`` with every :class:`Trip` of this process."""
        self._callbacks.register(callback)

    def snapshot(self) -> dict[str, Any]:
        """What this process has counted, as plain data."""
        return self.recorder.tally.snapshot()

    def flush(self, timeout: float = 2.0) -> bool:
        """Push spans and counts out, each within ``timeout`` seconds. Blocks: call in a thread."""
        counts = self._sink.flush(timeout)
        spans = self.tracers.flush(timeout)
        return self._callbacks.flush(timeout) and counts and spans

    # The worker

    @property
    def hub_address(self) -> str | None:
        """Where this worker's job processes report; ``None`` if this is no worker with a hub."""
        return self._worker.hub_address if self._worker else None

    @property
    def metrics_url(self) -> str | None:
        """Where this worker serves ``/metrics``, if it does."""
        endpoint = self._worker.endpoint if self._worker else None
        return endpoint.url if endpoint else None

    def start_worker(self, agent: str = "", *, listen: bool = True) -> None:
        """The worker begins to run in this process: open the hub and the exporters.

        Args:
            agent: The worker's agent name, which its jobs' events will carry.
            listen: Whether jobs run in processes of their own and need a hub.
        """
        if self._worker is not None or sdk_disabled():
            return
        from runguard_otel.telemetry.worker import WorkerTelemetry

        self._worker_agent = agent
        worker = WorkerTelemetry(
            self._modes(),
            agent,
            meter_provider=self._meter_provider,
            metrics_port=self._settings.metrics_port,
            listen=listen,
        )
        former = self._sink.use(worker.sink)
        if self._meter_provider is None and isinstance(former, (MeterSink, NullSink)):
            worker.replay(self.recorder.tally.sums())
            self._close_own()
        self._worker = worker

    def stop_worker(self, timeout: float = 2.0) -> None:
        """The worker stops: count what was written, push it, close. Blocks; call in a thread."""
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.stop(timeout)
            self._sink.use(None)

    # A job

    def use_hub(self, address: str) -> None:
        """This is a job process: send what it measures to the worker's hub at ``address``.

        Nothing is opened before the first measurement or the start of a job.
        """
        current = self._sink.current
        if self._worker is not None or sdk_disabled():
            return
        if not (isinstance(current, HubSink) and current.address == address):
            self._sink.use(HubSink(address))

    def job_started(self) -> None:
        """A job begins to run in this process."""
        target = self._sink.target
        if isinstance(target, HubSink):
            target.start()
        else:
            self.recorder.add("runguard.jobs", 1)

    def job_ended(self, job_id: str, outcome: str) -> None:
        """A job is over.

        Args:
            job_id: LiveKit's id of it.
            outcome: ``clean`` or ``crashed``; a job whose claim was refused counts as ``refused``.
        """
        if job_id and job_id in self._refused:
            outcome = "refused"
        target = self._sink.target
        if isinstance(target, HubSink):
            target.end(outcome)
        else:
            self.recorder.add("runguard.jobs", -1)
            self.recorder.add("runguard.jobs.ended", 1, job_outcome=outcome)

    def host_span_provider(self) -> Any | None:
        """A provider for LiveKit's own spans, if the settings ask for it and nobody has set one."""
        if self._settings.export_livekit_spans and host_provider() is None:
            return self.tracers.provider()
        return None

    def shutdown(self, timeout: float = 2.0) -> None:
        """Close what was opened here. Providers of others are never shut down."""
        self.stop_worker(timeout)
        target = self._sink.use(None)
        if isinstance(target, HubSink):
            target.flush(timeout)
            target.close()
        self._close_own()
        self._callbacks.close()
        self.tracers.close(timeout)

    def _close_own(self) -> None:
        provider, self._own_meter_provider = self._own_meter_provider, None
        if provider is not None:
            from runguard_otel.telemetry.worker import bounded

            bounded(lambda: provider.shutdown(timeout_millis=2000), 2.0)

    def _modes(self) -> Mapping[GuardName, Mode]:
        return {guard: self._settings.mode_of(guard) for guard in GuardName}

    def _in_process(self) -> Sink:
        if sdk_disabled():
            return NullSink()
        provider = self._meter_provider
        flush = None
        if provider is None:
            readers = export.push_readers(export.metric_exporters())
            if not readers:
                return NullSink()  # the tally counts; instruments would, for nobody to read
            provider = export.meter_provider(readers)
            own = self._own_meter_provider = provider

            def flush(timeout: float) -> bool:
                return bool(own.force_flush(timeout * 1000))

        sink = MeterSink(provider.get_meter(_METER), Series(), flush)
        for name, labels in zero_points(self._modes(), self._worker_agent):
            sink.add(name, 0, labels, None)
        return sink


def build(
    settings: Settings,
    *,
    tracer_provider: Any | None = None,
    meter_provider: Any | None = None,
    logger_provider: Any | None = None,
    agent_name: Callable[[], str] = lambda: "",
) -> Telemetry:
    """The telemetry for one ``instrument()``; see :class:`Telemetry`."""
    return Telemetry(
        settings,
        tracer_provider=tracer_provider,
        meter_provider=meter_provider,
        logger_provider=logger_provider,
        agent_name=agent_name,
    )
