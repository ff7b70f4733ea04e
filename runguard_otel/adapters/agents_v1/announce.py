"""What a user reads in the log about us when nothing is wrong, and when we came too late."""

from __future__ import annotations

import logging

from runguard_otel.adapters.agents_v1.claim_reports import GUARD as DISPATCH
from runguard_otel.adapters.agents_v1.services import Services
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
        console: Whether it is the console, whose room nobody shares.
    """
    parts = [_modes(services)]
    if console:
        parts += ["no claims and no /metrics in the console"]
    else:
        parts += [_claims(services)]
        url = services.lifecycle.metrics_url if services.lifecycle is not None else None
        parts += [f"metrics at {url}"] if url else []
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
    by_mode: dict[Mode, list[str]] = {}
    for guard in GuardName:
        by_mode.setdefault(services.mode(guard), []).append(str(guard))
    if len(by_mode) == 1:
        return f"all guards {next(iter(by_mode))}"
    return ", ".join(f"{mode}: {' '.join(guards)}" for mode, guards in by_mode.items())


def _claims(services: Services) -> str:
    if services.claims is None or services.mode(DISPATCH) is Mode.OFF:
        return "no claims"
    backend = services.claims.backend
    return f"claims in {backend} ({_SCOPES.get(backend, 'every host')})"
