"""Puts the telemetry of one process together."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from runguard_otel.core.signatures import GuardName
from runguard_otel.core.verdict import Mode
from runguard_otel.settings import Settings
from runguard_otel.telemetry import export
from runguard_otel.telemetry.callbacks import Callbacks, TripCallback
from runguard_otel.telemetry.counts import Counts
from runguard_otel.telemetry.hub.client import HubSink
from runguard_otel.telemetry.logs import TripLog
from runguard_otel.telemetry.privacy import Privacy
from runguard_otel.telemetry.providers import TracerSource, host_provider, sdk_disabled, version
from runguard_otel.telemetry.recorder import Recorder
from runguard_otel.telemetry.series import Series, zero_points
from runguard_otel.telemetry.sink import CountWatcher, MeterSink, NullSink, Sink
from runguard_otel.telemetry.spans import Spans

if TYPE_CHECKING:
    from runguard_otel.telemetry.hub.aggregator import PeriodWatcher
    from runguard_otel.telemetry.hub.block import SharedPeriod
    from runguard_otel.telemetry.hub.tape import TapeKeeper
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
        vantage: Whose view it is; ``""`` for the agent's own.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        tracer_provider: Any | None = None,
        meter_provider: Any | None = None,
        logger_provider: Any | None = None,
        agent_name: Callable[[], str] = lambda: "",
        vantage: str = "",
    ) -> None:
        privacy = Privacy(settings.hash_salt)
        self.hash_name = privacy.hash
        self.release = version()
        self._settings = settings
        self._vantage = vantage
        self._meter_provider = meter_provider
        self._callbacks = Callbacks()
        self.tracers = TracerSource(tracer_provider, export.tracer_provider, export.export_spans)
        self._counts = Counts(self._in_process)
        self._worker: WorkerTelemetry | None = None
        self._worker_agent = ""
        self._period_watcher: PeriodWatcher | None = None
        self._count_watcher: CountWatcher | None = None
        self._tape_keeper: TapeKeeper | None = None
        self._job: SharedPeriod | None = None
        self._own_meter_provider: Any | None = None
        self._refused: deque[str] = deque(maxlen=1000)
        self._spans = Spans(self.tracers, privacy, settings.max_keys)
        self.recorder = Recorder(
            self._counts,
            self._spans,
            TripLog(privacy, logger_provider),
            self._callbacks,
            lambda: agent_name() or self._worker_agent,
            on_refused=self._refused.append,
        )

    @property
    def sink(self) -> Sink:
        """Where measurements go now; made if there is none yet."""
        return self._counts.sink

    def on_trip(self, callback: TripCallback) -> None:
        """Call ``callback`` with every :class:`Trip` of this process."""
        self._callbacks.register(callback)

    def snapshot(self) -> dict[str, Any]:
        """What this process has counted, as plain data."""
        return self._counts.snapshot()

    def flush(self, timeout: float = 2.0) -> bool:
        """Push spans and counts out, each within ``timeout`` seconds. Blocks: call in a thread."""
        counts = self._counts.current.flush(timeout) if self._counts.current else True
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

    @property
    def destinations(self) -> tuple[str, ...]:
        """Where metrics and spans of this worker and its jobs go, in words."""
        told = self._count_watcher.destination if self._count_watcher else ""
        return tuple(filter(None, (self._metrics_go_to(), self.tracers.destination(), told)))

    def _metrics_go_to(self) -> str:
        if self._meter_provider is not None:
            return "metrics into your meter provider"
        ways = [f"at {self.metrics_url}"] if self.metrics_url else []
        exporters = export.metric_exporters()
        ways += [f"by {export.destination('metrics')}"] if "otlp" in exporters else []
        ways += ["on the console"] if "console" in exporters else []
        return f"metrics {' and '.join(ways)}" if ways else "no metrics leave this process"

    def start_worker(self, agent: str = "", *, listen: bool = True, expected: bool = True) -> None:
        """The worker begins to run in this process: open the hub and the exporters.

        Args:
            agent: The worker's agent name, which its jobs' events will carry.
            listen: Whether jobs run in processes of their own and need a hub.
            expected: Whether the worker is to be missed when it falls silent.
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
            expected=expected,
            watcher=self._count_watcher,
            vantage=self._vantage,
        )
        former = self._counts.use(worker.sink)
        if self._meter_provider is None and isinstance(former, (MeterSink, NullSink)):
            worker.replay(self._counts.sums())
            self._close_own()
        self._worker = worker
        if self._period_watcher is not None:
            self.watch_periods(self._period_watcher)
        if self._tape_keeper is not None:
            worker.keep(self._tape_keeper)

    def worker_ending(self) -> None:
        """The worker was asked to end: from now on its silence is no alarm."""
        if self._worker is not None:
            self._worker.ending()

    def stop_worker(self, timeout: float = 2.0) -> None:
        """The worker stops: count what was written, push it, close. Blocks; call in a thread."""
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.stop(timeout)
            self._counts.use(None)

    def watch_periods(self, watcher: PeriodWatcher) -> None:
        """Tell ``watcher`` of what lasts in this worker's jobs, as soon as there is a hub.

        Args:
            watcher: See :data:`~runguard_otel.telemetry.hub.aggregator.PeriodWatcher`.
        """
        self._period_watcher = watcher
        if self._worker is not None:
            self._worker.watch(watcher)

    def watch_counts(self, watcher: CountWatcher) -> None:
        """Tell ``watcher`` of what a worker in this process counts; before the worker starts."""
        self._count_watcher = watcher

    def keep_tapes(self, keeper: TapeKeeper) -> None:
        """Hand ``keeper`` the histories of a worker's jobs; before the worker starts."""
        self._tape_keeper = keeper

    def gauges(
        self, name: str, read: Callable[[], Iterable[tuple[float, Mapping[str, str]]]]
    ) -> None:
        """Have the worker export ``read()`` at every collection, once it runs.

        Args:
            name: A gauge of the catalogue.
            read: Gives each value with its attributes; called on the collecting thread.
        """
        if self._worker is not None:
            self._worker.sink.gauges(name, read)

    # A job

    def tape(self) -> Callable[[bytes, tuple[bytes, int]], None] | None:
        """What hands the worker a record of this job's history; ``None`` where no worker does."""
        sink = self._counts.current
        return sink.tape() if isinstance(sink, HubSink) else None

    def begin_period(
        self, kind: str, attributes: Mapping[str, str], began: float | None = None
    ) -> SharedPeriod | None:
        """Something began in this job process that is to be priced while it lasts, by the worker.

        Args:
            kind: What it is, as the worker's watcher names it (``connection``, ``stream``, ...).
            attributes: What pricing needs, as short text; no names of people or rooms.
            began: ``time.monotonic()`` of its beginning; now by default.

        Returns:
            A handle to say how much it came to and that it ended, which the process's death says as
            well. ``None`` if no worker will see it (no worker, no shared memory, no room in it):
            then this process must price it itself.
        """
        sink = self._counts.current
        return sink.begin(kind, attributes, began) if isinstance(sink, HubSink) else None

    def use_hub(self, address: str) -> None:
        """This is a job process: send what it measures to the worker's hub at ``address``.

        Nothing is opened before the first measurement or the start of a job.
        """
        current = self._counts.current
        if self._worker is not None or sdk_disabled():
            return
        if not (isinstance(current, HubSink) and current.address == address):
            self._counts.use(HubSink(address, taping=bool(self._settings.journal)))
            self.tracers.prepare()

    def job_started(self, job_id: str = "") -> None:
        """A job begins to run in this process; ``job_id`` is LiveKit's id of it."""
        self._spans.job_started(job_id)
        target = self._counts.sink
        if isinstance(target, HubSink):
            target.start()
            self._job = target.begin("job", {})
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
        self._spans.job_ended(job_id)
        target = self._counts.sink
        if isinstance(target, HubSink):
            if self._job is not None:
                self._job.end()
            target.end(outcome)
        else:
            self.recorder.add("runguard.jobs", -1)
            self.recorder.add("runguard.jobs.ended", 1, job_outcome=outcome)

    def end_process(self, outcome: str) -> None:
        """Have the worker end this process at once; nothing happens where there is none.

        Args:
            outcome: What its job counts as, a value of the ``job_outcome`` attribute.
        """
        target = self._counts.sink
        if isinstance(target, HubSink):
            target.end(outcome)
            target.ask_to_be_ended()

    def host_span_provider(self) -> Any | None:
        """A provider for LiveKit's own spans, if the settings ask for it and none is set."""
        if self._settings.export_livekit_spans and host_provider() is None:
            return self.tracers.provider()
        return None

    def shutdown(self, timeout: float = 2.0) -> None:
        """Close what was opened here. Providers of others are never shut down."""
        self.stop_worker(timeout)
        target = self._counts.use(None)
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
                return NullSink()  # instruments would count, and no one read
            provider = export.meter_provider(readers)
            own = self._own_meter_provider = provider

            def flush(timeout: float) -> bool:
                return bool(own.force_flush(timeout * 1000))

        series = Series(self._worker_agent, self._vantage)
        sink = MeterSink(provider.get_meter(_METER), series, flush)
        sink.begin_at_zero(zero_points(self._modes(), self._vantage))
        return sink


def build(
    settings: Settings,
    *,
    tracer_provider: Any | None = None,
    meter_provider: Any | None = None,
    logger_provider: Any | None = None,
    agent_name: Callable[[], str] = lambda: "",
    vantage: str = "",
) -> Telemetry:
    """The telemetry for one ``instrument()``; see :class:`Telemetry`."""
    return Telemetry(
        settings,
        tracer_provider=tracer_provider,
        meter_provider=meter_provider,
        logger_provider=logger_provider,
        agent_name=agent_name,
        vantage=vantage,
    )
