"""Puts the telemetry of one process together."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from typing import Any

from runguard_otel.core.signatures import GuardName
from runguard_otel.settings import Settings
from runguard_otel.telemetry import export
from runguard_otel.telemetry.callbacks import Callbacks, TripCallback
from runguard_otel.telemetry.logs import TripLog
from runguard_otel.telemetry.privacy import Privacy
from runguard_otel.telemetry.providers import TracerSource, sdk_disabled
from runguard_otel.telemetry.recorder import Recorder
from runguard_otel.telemetry.series import Series, zero_points
from runguard_otel.telemetry.sink import MeterSink, NullSink, Sink
from runguard_otel.telemetry.spans import Spans

__all__ = ["Telemetry", "build"]

logger = logging.getLogger("runguard_otel")

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
        self.recorder = Recorder(
            self._sink,
            Spans(self.tracers, privacy, settings.max_keys),
            TripLog(privacy, logger_provider),
            self._callbacks,
            agent_name,
        )

    def on_trip(self, callback: TripCallback) -> None:
        """Call ``callback`` with every :class:`Trip` of this process."""
        self._callbacks.register(callback)

    def snapshot(self) -> dict[str, Any]:
        """What this process has counted, as plain data."""
        return self.recorder.tally.snapshot()

    def flush(self, timeout: float = 2.0) -> bool:
        """Push spans and counts out, each within ``timeout`` seconds. Blocks: call in a thread."""
        done = [self.tracers.flush(timeout), self._sink.flush(timeout)]
        return all([*done, self._callbacks.flush(timeout)])

    def modes(self) -> Mapping[GuardName, Any]:
        """The mode of each guard."""
        return {guard: self._settings.mode_of(guard) for guard in GuardName}

    def _in_process(self) -> Sink:
        if sdk_disabled():
            return NullSink()
        provider = self._meter_provider
        flush = None
        if provider is None:
            provider = export.meter_provider(export.push_readers(export.metric_exporters()))
            own = provider

            def flush(timeout: float) -> bool:
                return bool(own.force_flush(timeout * 1000))

        sink = MeterSink(provider.get_meter(_METER), Series(), flush)
        for name, labels in zero_points(self.modes()):
            sink.add(name, 0, labels, None)
        return sink


class LazySink:
    """A sink that is made at the first measurement, in the process that measures.

    Nothing may be opened at import or in the forkserver, and a job process learns where to send
    its measurements only after ``instrument()``.
    """

    def __init__(self, make: Callable[[], Sink]) -> None:
        self._make = make
        self._target: Sink | None = None
        self._lock = threading.Lock()

    @property
    def target(self) -> Sink:
        """The sink in use, made now if there is none."""
        if self._target is None:
            with self._lock:
                if self._target is None:
                    self._target = self._make()
        return self._target

    def use(self, target: Sink | None) -> Sink | None:
        """Send everything to ``target`` from now on (``None``: make one); returns the former."""
        former, self._target = self._target, target
        return former

    def add(
        self, name: str, value: float, attributes: Mapping[str, str], context: object | None
    ) -> None:
        """Pass one measurement on."""
        self.target.add(name, value, attributes, context)

    def flush(self, timeout: float) -> bool:
        """Flush the sink in use, if any."""
        return self._target.flush(timeout) if self._target else True


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
