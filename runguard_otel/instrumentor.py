"""The composition root: settings -> telemetry, claims, cost -> patches. Knows everyone.

``instrument()`` runs in three kinds of process: the worker, each of its job processes (where the
picklable entry callables of ``adapters.agents_v1`` run it again, so that it works even under
``if __name__ == "__main__"``) and plain scripts. It opens no socket and starts no thread: what
needs one is started when the worker or the job really runs.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from runguard_otel.adapters.patching import PatchReport, PatchSet
from runguard_otel.core.verdict import Trip
from runguard_otel.settings import Settings

if TYPE_CHECKING:
    from opentelemetry._logs import LoggerProvider
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

    from runguard_otel.adapters.agents_v1.services import Services
    from runguard_otel.telemetry.build import Telemetry

__all__ = ["RunGuard", "instrument", "instrument_process", "uninstrument"]

logger = logging.getLogger("runguard_otel")

TripCallback = Callable[[Trip], Any]

_lock = threading.RLock()
_active: RunGuard | None = None


class RunGuard:
    """What ``instrument()`` returns: a handle on everything it set up.

    Args:
        settings: The settings in force.
        telemetry: Where events go; ``None`` when disabled.
        patches: What was patched; ``None`` when disabled.
        services: What the adapter modules share; ``None`` when disabled.
    """

    def __init__(
        self,
        settings: Settings,
        telemetry: Telemetry | None = None,
        patches: PatchSet | None = None,
        services: Services | None = None,
    ) -> None:
        self.settings = settings
        self._telemetry = telemetry
        self._patches = patches
        self._services = services

    @property
    def active(self) -> bool:
        """Whether anything is patched. False when disabled or when installing failed."""
        return self._patches is not None

    @property
    def patches(self) -> list[PatchReport]:
        """What became of every patch; ``runguard-otel doctor`` prints it."""
        return self._patches.reports if self._patches else []

    def on_trip(self, callback: TripCallback) -> TripCallback:
        """Call ``callback(trip)`` on every trip; also works as a decorator.

        Args:
            callback: A function or coroutine function of one :class:`Trip`. What it raises is
                logged and goes no further; a coroutine is scheduled on the running loop.
        """
        if self._telemetry is not None:
            self._telemetry.on_trip(callback)
        return callback

    def snapshot(self) -> dict[str, Any]:
        """What this process has counted so far, as plain data: signatures, trips, open guards."""
        counted = self._telemetry.snapshot() if self._telemetry else {}
        return {"active": self.active, "mode": str(self.settings.mode), **counted}


def instrument(
    settings: Settings | None = None,
    *,
    tracer_provider: TracerProvider | None = None,
    meter_provider: MeterProvider | None = None,
    logger_provider: LoggerProvider | None = None,
    on_trip: TripCallback | None = None,
    **settings_overrides: Any,
) -> RunGuard:
    """Instrument livekit-agents in this process and in every job process it starts.

    Calling it again changes nothing and returns the same handle (a new ``on_trip`` is added).

    Args:
        settings: Ready settings; otherwise they are read from ``RUNGUARD_*``.
        tracer_provider: Where spans go. Default: LiveKit's provider, else the global one.
        meter_provider: Where metrics go. Default: a private provider in the worker.
        logger_provider: Where the log record of a trip goes, besides standard logging.
        on_trip: Called with every :class:`Trip`, see :meth:`RunGuard.on_trip`.
        **settings_overrides: Any field of :class:`Settings`, for example ``mode="observe"``.

    Raises:
        SettingsError: If an explicit setting does not exist or has a value it cannot take. Nothing
            else: whatever else fails is logged, and the application runs as if we were not there.
    """
    global _active
    chosen = Settings.load(settings, **settings_overrides)
    with _lock:
        if _active is None:
            _active = _compose(chosen, tracer_provider, meter_provider, logger_provider)
        elif (settings or settings_overrides) and _active.settings != chosen:
            logger.warning("already instrumented; call uninstrument() first to change settings")
        if on_trip is not None:
            _active.on_trip(on_trip)
        return _active


def uninstrument() -> None:
    """Take every patch back and close what was opened. Safe to call at any time."""
    global _active
    with _lock:
        guard, _active = _active, None
        if guard is None:
            return
        if guard._patches is not None:
            guard._patches.undo()
        if guard._services is not None:
            guard._services.close()
        if guard._telemetry is not None:
            guard._telemetry.shutdown()


def instrument_process(payload: dict[str, Any]) -> None:
    """Instrument a job process with what its worker decided. Idempotent; raises nothing.

    Args:
        payload: ``settings`` (all of the worker's settings), ``worker`` (the worker's uuid)
            and ``extras`` (``hub``: the address of the worker's telemetry hub). Settings alone
            instrument a process that will be a worker.
    """
    try:
        values = payload.get("settings")
        guard = instrument(Settings(**values) if values else None)
        if guard._services is not None and payload.get("worker"):
            guard._services.worker = payload["worker"]
            guard._services.under_worker = True
        hub = payload.get("extras", {}).get("hub")
        if hub and guard._telemetry is not None:
            guard._telemetry.use_hub(hub)
    except Exception:  # runs while a job process unpickles: it must come up anyway
        logger.exception("this job process runs without runguard; the call itself is fine")


def _compose(
    settings: Settings,
    tracer_provider: TracerProvider | None,
    meter_provider: MeterProvider | None,
    logger_provider: LoggerProvider | None,
) -> RunGuard:
    if settings.disabled:
        logger.info("runguard is disabled (RUNGUARD_DISABLED); nothing is patched")
        return RunGuard(settings)
    try:
        from runguard_otel.adapters import host_patches
        from runguard_otel.adapters.agents_v1.context import agent_name
        from runguard_otel.adapters.agents_v1.latecomer import adopt
        from runguard_otel.adapters.agents_v1.services import Services
        from runguard_otel.adapters.agents_v1.usage import session_key
        from runguard_otel.claims.desk import ClaimDesk
        from runguard_otel.cost import build as cost
        from runguard_otel.cost import use_meter
        from runguard_otel.telemetry import build as telemetry_of

        telemetry = telemetry_of.build(
            settings,
            tracer_provider=tracer_provider,
            meter_provider=meter_provider,
            logger_provider=logger_provider,
            agent_name=agent_name,
        )
        recorder, meter = cost.build(settings, telemetry.recorder, session_key)
        use_meter(meter)
        services = Services(settings, recorder, lifecycle=telemetry, usage=meter)
        services.on_close.append(lambda: use_meter(None))
        settle = (lambda: meter.settle(force=True), recorder.settle)
        services.before_flush.extend(settle)
        services.on_close.append(services.settle)
        services.claims = ClaimDesk(settings, lambda: services.worker)
        services.bring_up = instrument_process
        patches = PatchSet(host_patches(services))
        patches.install()
        adopt(services)
    except Exception:  # fail open, loudly: the call comes first
        logger.exception("runguard could not be installed; your agent runs without it")
        return RunGuard(settings)
    _warn_about_missing(patches)
    return RunGuard(settings, telemetry, patches, services)


def _warn_about_missing(patches: PatchSet) -> None:
    """One warning per degraded guard, not one per missing name."""
    lost: dict[str, list[str]] = {}
    for patch in patches.missing:
        lost.setdefault(patch.guard, []).append(patch.name)
    for guard, names in lost.items():
        logger.warning(
            "%s is degraded: this livekit-agents has no %s (see `runguard-otel doctor`)",
            guard,
            ", ".join(names),
        )
