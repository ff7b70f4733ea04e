"""The composition root: settings -> telemetry, claims, cost -> patches. Knows everyone.

``instrument()`` runs in three kinds of process: the worker, each of its job processes (where the
picklable entry callables of ``adapters.livekit`` run it again, so that it works even under
``if __name__ == "__main__"``) and plain scripts. It opens no socket and starts no thread: what
needs one is started when the worker or the job really runs.
"""

from __future__ import annotations

import contextlib
import inspect
import logging
import os
import threading
from typing import TYPE_CHECKING, Any, TypeVar

from runguard_otel.adapters.patching import PatchReport, PatchSet
from runguard_otel.core.signatures import GuardName
from runguard_otel.errors import SettingsError
from runguard_otel.settings import ENV_PREFIX, Settings

if TYPE_CHECKING:
    from opentelemetry._logs import LoggerProvider
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider
    from typing_extensions import Unpack

    from runguard_otel.adapters.livekit.services import Services
    from runguard_otel.settings_types import SettingsOverrides
    from runguard_otel.telemetry.build import Telemetry
    from runguard_otel.typing import TripCallback

__all__ = ["RunGuard", "instrument", "instrument_process", "uninstrument"]

logger = logging.getLogger("runguard_otel")

CallbackT = TypeVar("CallbackT", bound="TripCallback")

_lock = threading.RLock()
_active: RunGuard | None = None


class RunGuard:
    """What ``instrument()`` returns: a handle on everything it set up.

    Args:
        settings: The settings in force.
        telemetry: Where events go; ``None`` when disabled.
        patches: What was patched; ``None`` when disabled.
        services: What the adapter modules share; ``None`` when disabled.
        rooms_alone: Whether only ``livekit.rtc`` was looked at.
    """

    def __init__(
        self,
        settings: Settings,
        telemetry: Telemetry | None = None,
        patches: PatchSet | None = None,
        services: Services | None = None,
        *,
        rooms_alone: bool = False,
    ) -> None:
        self._rooms_alone = rooms_alone
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

    def on_trip(self, callback: CallbackT) -> CallbackT:
        """Call ``callback(trip)`` on every trip; also works as a decorator.

        Args:
            callback: A function or coroutine function of one :class:`Trip`. What it raises is
                logged and goes no further; a coroutine is scheduled on the running loop.

        Raises:
            SettingsError: If it is no function of one argument.
        """
        if not _takes_a_trip(callback):
            raise SettingsError(f"on_trip({callback!r}): pass a function of one Trip")
        if self._telemetry is not None:
            self._telemetry.on_trip(callback)
        return callback

    def __repr__(self) -> str:
        if not self.active:
            return "<RunGuard: nothing is patched>"
        installed = sum(report.state == "installed" for report in self.patches)
        claims = self._services.claims if self._services is not None else None
        modes = {guard: self.settings.mode_of(guard) for guard in GuardName}
        other = [f"{g} {m}" for g, m in modes.items() if m is not self.settings.mode]
        parts = [f"mode {self.settings.mode}" + (f" ({', '.join(other)})" if other else "")]
        parts += [f"{installed} of {len(self.patches)} hooks"]
        parts += [f"claims in {claims.backend}"] if claims is not None else []
        parts += self._telemetry.destinations if self._telemetry is not None else ()
        return f"<RunGuard: {'; '.join(parts)}>"

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
    **settings_overrides: Unpack[SettingsOverrides],
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
    _check(settings, tracer_provider, meter_provider, logger_provider, on_trip)
    chosen = Settings.load(settings, **settings_overrides)
    named = set(type(chosen).model_fields) if settings is not None else set(settings_overrides)
    _check_explicit(chosen, named)
    with _lock:
        if _active is not None and (settings or settings_overrides) and _active.settings != chosen:
            logger.warning("already instrumented; call uninstrument() first to change settings")
        guard = _started(chosen, tracer_provider, meter_provider, logger_provider)
        if on_trip is not None:
            guard.on_trip(on_trip)
        return guard


def _started(settings: Settings, *providers: Any) -> RunGuard:
    """What runs already, or is set up now."""
    global _active
    with _lock:
        if _active is None:
            _active = _compose(settings, *providers)
        return _active


def _check(
    settings: object,
    tracer_provider: object,
    meter_provider: object,
    logger_provider: object,
    on_trip: object,
) -> None:
    """What a type checker says, for those who run none: a mistake here is the caller's, at once."""
    if settings is not None and not isinstance(settings, Settings):
        raise SettingsError(
            f"settings={settings!r} cannot be used: pass Settings(...), or each setting by name, "
            "as in instrument(mode='observe')"
        )
    providers = {
        "tracer_provider": (tracer_provider, "get_tracer"),
        "meter_provider": (meter_provider, "get_meter"),
        "logger_provider": (logger_provider, "get_logger"),
    }
    for name, (provider, method) in providers.items():
        if provider is not None and not callable(getattr(provider, method, None)):
            raise SettingsError(
                f"{name}={provider!r} cannot be used: pass an OpenTelemetry provider, which has "
                f"{method}()"
            )
    if on_trip is not None and not _takes_a_trip(on_trip):
        raise SettingsError(f"on_trip={on_trip!r} cannot be used: pass a function of one Trip")


def _takes_a_trip(callback: object) -> bool:
    if not callable(callback):
        return False
    try:
        inspect.signature(callback).bind(object())
    except TypeError:
        return False
    except ValueError:  # some built-in functions do not say what they take
        pass
    return True


def _check_explicit(chosen: Settings, named: set[str]) -> None:
    """What a value alone does not show to be wrong. An environment's is warned about instead.

    Args:
        chosen: The settings.
        named: Which of them were passed, and not read from the environment.

    Raises:
        SettingsError: If one of those cannot be used.
    """
    if "claims_url" in named:
        from runguard_otel.claims.registries.open import check_scheme

        check_scheme(chosen.claims_url)
    if named & {"claims_ttl_seconds", "claims_heartbeat_seconds", "claims_timeout_seconds"}:
        from runguard_otel.claims.service import check_timing

        check_timing(chosen)
    if chosen.notify_url and "notify_url" in named:
        from runguard_otel.notify import Address

        Address.of(chosen.notify_url, chosen.notify_key)
    if chosen.prices and "prices" in named:
        from runguard_otel.cost.price import PriceBookError
        from runguard_otel.cost.pricebook import PriceBook

        try:
            PriceBook.load(chosen.prices)
        except PriceBookError as error:
            raise SettingsError(f"prices={chosen.prices!r} cannot be used: {error}") from error
    if chosen.journal and "journal" in named:
        from runguard_otel.journal.build import check_folder

        check_folder(chosen.journal)


def instrument_rooms(**providers: Any) -> RunGuard:
    """Instrument ``livekit.rtc`` alone, until :func:`instrument_agents` is called.

    For a program that has imported it and, so far, not ``livekit.agents``: whoever only joins rooms
    does not pay for the import of a framework.

    Args:
        **providers: As of :func:`instrument`.
    """
    global _active
    with _lock:
        if _active is None:
            _active = _compose(Settings.load(), **providers, rooms_alone=True)
        return _active


def instrument_agents(**providers: Any) -> RunGuard:
    """:func:`instrument`, in place of what :func:`instrument_rooms` has set up.

    Args:
        **providers: As of :func:`instrument`.
    """
    with _lock:
        if _active is not None and _active._rooms_alone:
            uninstrument()
        return instrument(**providers)


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
        payload: ``settings`` (all of the worker's settings), ``worker`` (the worker's name)
            and ``extras`` (``hub``: the address of the worker's telemetry hub). Settings alone
            instrument a process that will be a worker.
    """
    try:
        values = payload.get("settings")
        # Not checked again: what the worker has decided, a job takes as it is.
        guard = _started(Settings(**values)) if values else instrument()
        if guard._services is not None and payload.get("worker"):
            guard._services.worker = payload["worker"]
            guard._services.under_worker = True
        hub = payload.get("extras", {}).get("hub")
        if hub and guard._telemetry is not None:
            guard._telemetry.use_hub(hub)
    except Exception:  # runs while a job process unpickles: it must come up anyway
        logger.exception("this job process runs without runguard; the call itself is fine")


def load() -> None:
    """Import all that ``instrument()`` needs, and read what is the same in every process."""
    import importlib

    from runguard_otel.adapters.livekit import modules
    from runguard_otel.adapters.livekit.process import late  # noqa: F401
    from runguard_otel.claims import service  # noqa: F401
    from runguard_otel.claims.registries import open
    from runguard_otel.cost import build as cost  # noqa: F401
    from runguard_otel.cost import lasting  # noqa: F401
    from runguard_otel.cost.pricebook import PriceBook
    from runguard_otel.journal import build as journal
    from runguard_otel.telemetry import build as telemetry_of  # noqa: F401
    from runguard_otel.telemetry.providers import version

    for name in modules():
        with contextlib.suppress(ImportError, AttributeError):  # install() says what is missing
            importlib.import_module(name)
    version()
    PriceBook.load()
    # Of `instrument(claims_url=..., journal=...)` nothing is known: a job does it itself.
    if os.environ.get(f"{ENV_PREFIX}JOURNAL", "").strip():
        from runguard_otel.telemetry.hub import tape  # noqa: F401

        journal.load()
    open.load(os.environ.get(f"{ENV_PREFIX}CLAIMS_URL", ""))


def _compose(
    settings: Settings,
    tracer_provider: TracerProvider | None = None,
    meter_provider: MeterProvider | None = None,
    logger_provider: LoggerProvider | None = None,
    *,
    rooms_alone: bool = False,
) -> RunGuard:
    if settings.disabled:
        logger.info("runguard is disabled (RUNGUARD_DISABLED); nothing is patched")
        return RunGuard(settings)
    try:
        from runguard_otel.adapters.livekit import patches as host_patches
        from runguard_otel.adapters.livekit import unusable
        from runguard_otel.adapters.livekit.facts.job import agent_name, session_key
        from runguard_otel.adapters.livekit.process.late import adopt
        from runguard_otel.adapters.livekit.services import Services
        from runguard_otel.claims.service import ClaimService
        from runguard_otel.cost import build as cost
        from runguard_otel.cost import use_meter
        from runguard_otel.cost.lasting import PeriodPricer
        from runguard_otel.journal.build import journal_of
        from runguard_otel.telemetry import build as telemetry_of

        telemetry = telemetry_of.build(
            settings,
            tracer_provider=tracer_provider,
            meter_provider=meter_provider,
            logger_provider=logger_provider,
            agent_name=agent_name,
        )
        kept = journal_of(settings, telemetry, session_key, agent_name)
        recorder, meter = cost.build(
            settings, kept.recorder, session_key, show=telemetry.begin_period
        )
        use_meter(meter)
        telemetry.watch_periods(PeriodPricer(meter, telemetry.recorder, kept.booked))
        _watch_loops(settings, telemetry)
        services = Services(settings, recorder, kept.policies, lifecycle=telemetry, usage=meter)
        services.on_close.append(kept.close)
        services.on_close.append(lambda: use_meter(None))
        settle = (lambda: meter.settle(force=True), recorder.settle)
        services.before_flush.extend(settle)
        services.on_close.append(services.settle)
        services.claims = ClaimService(settings, lambda: services.worker)
        services.bring_up = instrument_process
        broken = None if rooms_alone else unusable()
        if broken is not None:
            logger.error(
                "livekit-agents is installed and cannot be imported (%s: %s): only rooms are "
                "guarded. `python -c 'import livekit.agents'` shows where it fails",
                type(broken).__name__,
                broken,
            )
        only_rooms = rooms_alone or broken is not None
        patches = PatchSet(host_patches(services, rooms_alone=only_rooms))
        patches.install()
        adopt(services)
    except Exception as error:  # fail open, loudly: the call comes first
        if isinstance(error, ModuleNotFoundError) and (error.name or "").startswith("livekit"):
            logger.error(
                "nothing is patched: there is no %s here. `pip install runguard-otel` brings it; "
                "the guards alone work without",
                error.name,
            )
        else:
            logger.exception("runguard could not be installed; your agent runs without it")
        return RunGuard(settings)
    _warn_about_missing(patches)
    return RunGuard(settings, telemetry, patches, services, rooms_alone=rooms_alone)


def _watch_loops(settings: Settings, telemetry: Telemetry) -> None:
    """Have the worker tell of loops by itself, if anybody asked for it."""
    if not settings.notify_url:
        return
    from runguard_otel.notify import Address, Notifier

    try:
        telemetry.watch_counts(Notifier(Address.of(settings.notify_url, settings.notify_key)))
    except SettingsError as error:
        logger.warning("nobody is notified of loops: %s", error)


def _warn_about_missing(patches: PatchSet) -> None:
    """One warning per degraded guard: what the host lacks, and what is lost with it."""
    lost: dict[str, list[PatchReport]] = {}
    for report in patches.reports:
        if report.state == "missing":
            lost.setdefault(report.guard, []).append(report)
    for guard, rows in lost.items():
        logger.warning(
            "%s is degraded: this livekit-agents has no %s (see `runguard-otel doctor`). Lost: %s",
            guard,
            ", ".join(dict.fromkeys(row.name for row in rows)),
            "; ".join(dict.fromkeys(row.why.rstrip(".") for row in rows)),
        )
