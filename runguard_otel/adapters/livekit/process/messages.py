"""What a user reads in the log about us when nothing is wrong, and when we came too late."""

from __future__ import annotations

import logging
from collections import Counter

from runguard_otel.adapters.livekit.facts.recognisers import imported, judged, meaning_of
from runguard_otel.adapters.livekit.services import Services
from runguard_otel.core.signatures import GuardName
from runguard_otel.core.verdict import Mode

__all__ = ["say_started", "say_too_late"]

logger = logging.getLogger("runguard_otel")

IN_A_JOB = "instrument() was called inside a running job"
NOT_IN_THE_WORKER = "this job's worker is not instrumented"

_SCOPES = {"memory": "this process", "sqlite": "this host"}


def say_started(services: Services, *, console: bool) -> None:
    """One line when a worker, or the console, begins to run.

    Args:
        services: Of the process that runs it.
        console: Whether it is the console, whose room is its own.
    """
    parts = [_modes(services)]
    if console:
        parts += ["no claims and no /metrics in the console"]
    else:
        parts += [_claims(services)]
        parts += services.lifecycle.destinations if services.lifecycle is not None else ()
    parts += _words_alone(services)
    logger.info("runguard is on: %s", "; ".join(parts))


def say_too_late(services: Services, what: str) -> None:
    """One warning per process if no worker stands behind its jobs.

    Args:
        services: Of the process that runs jobs.
        what: :data:`IN_A_JOB` or :data:`NOT_IN_THE_WORKER`.
    """
    if services.under_worker or services.said_too_late:
        return
    services.said_too_late = True
    logger.warning(
        "%s: guards act from here on, but counts stay in this process, without /metrics, and a "
        "duplicate job may go unnoticed. Call instrument() at the top of the agent's module, "
        "outside functions and `if __name__`",
        what,
    )


def _modes(services: Services) -> str:
    """The mode that most guards are in, and what differs from it."""
    modes = {guard: services.mode(guard) for guard in GuardName}
    common = Counter(modes.values()).most_common(1)[0][0]
    others = [f"{guard} ({mode})" for guard, mode in modes.items() if mode is not common]
    return f"all guards {common}" + (f", except {', '.join(others)}" if others else "")


def _words_alone(services: Services) -> list[str]:
    """Whose results the misfire guard judges by their words alone, if any was imported."""
    if services.mode(GuardName.VAD_MISFIRE) is Mode.OFF:
        return []
    names = [f"{name} ({meaning_of(name)})" for name in imported() if not judged(name)]
    if not names:
        return []
    return [f"judged by words, for their number is no confidence: {', '.join(names)}"]


def _claims(services: Services) -> str:
    if services.claims is None or services.mode(GuardName.JOB_DISPATCH) is Mode.OFF:
        return "no claims"
    backend = services.claims.backend
    return f"claims in {backend} ({_SCOPES.get(backend, 'every host')})"
