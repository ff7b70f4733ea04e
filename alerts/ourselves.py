"""Alerts on runguard itself: no telemetry, less telemetry, wrong telemetry."""

from __future__ import annotations

from .model import Alert
from .promql import Promql, matcher
from .recording import ALIVE, DROPPED, ERRORS, MISSING
from .tuning import Tuning
from .words import COUNT, of

__all__ = ["own_alerts"]

_DASHBOARD = "runguard-itself"


def own_alerts(tuning: Tuning) -> tuple[Alert, ...]:
    """The alerts, most urgent first."""
    return (
        _absent(tuning),
        _down(tuning),
        _stuck(tuning),
        _dropped(tuning),
        _errors(tuning),
        _overflow(tuning),
        Alert(
            name="RunguardWatchdog",
            severity="none",
            expr="vector(1)",
            summary="Always firing; proves the way from Prometheus to the receiver.",
            description="A dead man's switch outside is to complain when this stops arriving.",
            dashboard=_DASHBOARD,
        ),
    )


def _absent(t: Tuning) -> Alert:
    return Alert(
        name="RunguardTelemetryAbsent",
        severity="page",
        expr=f"{MISSING} unless {ALIVE}",
        summary=f"No worker has been heard of{of(t)}.",
        description=(
            f"All {COUNT} worker(s) fell silent without having been asked to end. Either no worker "
            "runs, and then no call is answered, or its telemetry does not arrive, and then nobody "
            "would see a loop."
        ),
        dashboard=_DASHBOARD,
    )


def _down(t: Tuning) -> Alert:
    return Alert(
        name="RunguardWorkersDown",
        severity="ticket",
        expr=f"{MISSING} >= {t.workers_down_share:g} * ({MISSING} + {ALIVE})",
        summary=f"Workers have died and nothing replaced them{of(t)}.",
        description=(
            f"{COUNT} worker(s) fell silent without having been asked to end. The others answer "
            "all calls there are, as far as they can."
        ),
        dashboard=_DASHBOARD,
    )


def _stuck(t: Tuning) -> Alert:
    q = Promql(t)
    beat = q.metric("runguard.worker.heartbeat")
    return Alert(
        name="RunguardWorkerStuck",
        severity="ticket",
        expr=(
            f"count by ({q.by()}) (\n"
            f"  time() - {beat} > {t.heartbeat_seconds:g} and on (job, instance) up == 1\n"
            f") > 0"
        ),
        summary=f"A worker answers scrapes but does not count{of(t)}.",
        description=(
            f"{COUNT} worker(s) export a heartbeat that stands still. The thread that counts for "
            "the jobs has stopped."
        ),
        dashboard=_DASHBOARD,
    )


def _dropped(t: Tuning) -> Alert:
    return Alert(
        name="RunguardEventsDropped",
        severity="ticket",
        expr=f"max_over_time({DROPPED}[{t.stopped_memory}]) > 0",
        summary=f"Events were dropped before they were counted{of(t)}.",
        description=(
            f"{COUNT} event(s) were given up in 5 minutes ({{{{ $labels.runguard_drop }}}}). With "
            "`journal` only recorded calls lack them; else every count is too low by them."
        ),
        dashboard=_DASHBOARD,
    )


def _errors(t: Tuning) -> Alert:
    return Alert(
        name="RunguardInternalErrors",
        severity="ticket",
        expr=f"max_over_time({ERRORS}[{t.stopped_memory}]) > 0",
        summary=f"runguard failed inside {{{{ $labels.runguard_where }}}}{of(t)}.",
        description=(
            f"{COUNT} failure(s) of our own code in 5 minutes. The calls went on as if runguard "
            "were not there; that guard may be blind."
        ),
        dashboard=_DASHBOARD,
    )


def _overflow(t: Tuning) -> Alert:
    ours = '__name__=~"runguard_.+"'
    rows = [
        (ours, t.selector, matcher(attribute, "other"))
        for attribute in ("agent", "provider", "model", "where")
    ]
    rows.append((ours, t.selector, 'otel_metric_overflow="true"'))
    joined = "\n  or ".join("{" + ", ".join(m for m in row if m) + "}" for row in rows)
    return Alert(
        name="RunguardCardinalityOverflow",
        severity="ticket",
        expr=f"count by ({Promql(t).by()}) (\n  {joined}\n) > 0",
        summary=f"More label values than metrics keep apart{of(t)}.",
        description=(
            f"{COUNT} series count under `other`; agents, providers or models beyond the cap are "
            "no longer told apart. Totals are right."
        ),
        dashboard=_DASHBOARD,
    )
