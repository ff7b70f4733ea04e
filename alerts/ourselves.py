"""Alerts on runguard itself: no telemetry, less telemetry, wrong telemetry."""

from __future__ import annotations

from .model import Alert
from .promql import grouped, matcher, metric
from .recording import DROPPED, ERRORS
from .tuning import Tuning

__all__ = ["own_alerts"]

_OF = "{{ if $labels.service_name }} ({{ $labels.service_name }}){{ end }}"
_DASHBOARD = "runguard-itself"


def own_alerts(tuning: Tuning) -> tuple[Alert, ...]:
    """The alerts, most urgent first."""
    return (
        _absent(tuning),
        _stuck(tuning),
        _dropped(tuning),
        _errors(tuning),
        _overflow(tuning),
        Alert(
            name="RunguardWatchdog",
            severity="none",
            expr="vector(1)",
            summary="Always firing: proves the way from Prometheus to the receiver.",
            description="A dead man's switch outside is to complain when this stops arriving.",
            dashboard=_DASHBOARD,
        ),
    )


def _absent(t: Tuning) -> Alert:
    beat = metric("runguard.worker.heartbeat", t.selector)
    return Alert(
        name="RunguardTelemetryAbsent",
        severity="page",
        # Not absent(): it knows no service, and job processes come and go but workers stay.
        expr=(
            f"max by ({grouped()}) (last_over_time({beat}[{t.heartbeat_memory}]))\n"
            f"  < time() - {t.heartbeat_seconds:g}"
        ),
        summary=f"No worker has been heard of{_OF}.",
        description=(
            "The last heartbeat came at {{ $value | humanizeTimestamp }}. Either no worker runs, "
            "and then no call is answered, or its telemetry does not arrive, and then nobody "
            "would see a loop."
        ),
        dashboard=_DASHBOARD,
    )


def _stuck(t: Tuning) -> Alert:
    beat = metric("runguard.worker.heartbeat", t.selector)
    return Alert(
        name="RunguardWorkerStuck",
        severity="ticket",
        expr=f"count by ({grouped()}) (time() - {beat} > {t.heartbeat_seconds:g}) > 0",
        summary=f"A worker answers scrapes but does not count{_OF}.",
        description=(
            '{{ printf "%.0f" $value }} worker(s) export a heartbeat that stands still: the '
            "thread that counts for the jobs has stopped."
        ),
        dashboard=_DASHBOARD,
        hold="2m",
    )


def _dropped(t: Tuning) -> Alert:
    return Alert(
        name="RunguardEventsDropped",
        severity="ticket",
        expr=f"sum by ({grouped('drop')}) ({DROPPED}) > 0",
        summary=f"Events were dropped before they were counted{_OF}.",
        description=(
            '{{ printf "%.0f" $value }} event(s) were given up in 5 minutes '
            "({{ $labels.runguard_drop }}): every count is too low by them."
        ),
        dashboard=_DASHBOARD,
        keep=t.keep_firing,
    )


def _errors(t: Tuning) -> Alert:
    return Alert(
        name="RunguardInternalErrors",
        severity="ticket",
        expr=f"sum by ({grouped('where')}) ({ERRORS}) > 0",
        summary=f"runguard failed inside {{{{ $labels.runguard_where }}}}{_OF}.",
        description=(
            '{{ printf "%.0f" $value }} failure(s) of our own code in 5 minutes. The calls went '
            "on as if runguard were not there; that guard may be blind."
        ),
        dashboard=_DASHBOARD,
        keep=t.keep_firing,
    )


def _overflow(t: Tuning) -> Alert:
    ours = '__name__=~"runguard_.+"'
    selectors = [
        metric_free(ours, t.selector, matcher(attribute, "other"))
        for attribute in ("agent", "provider", "model", "where")
    ]
    selectors.append(metric_free(ours, t.selector, 'otel_metric_overflow="true"'))
    joined = "\n  or ".join(selectors)
    return Alert(
        name="RunguardCardinalityOverflow",
        severity="ticket",
        expr=f"count by ({grouped()}) (\n  {joined}\n) > 0",
        summary=f"More label values than metrics keep apart{_OF}.",
        description=(
            '{{ printf "%.0f" $value }} series count under `other`: agents, providers or models '
            "beyond the cap are no longer told apart. Totals are right."
        ),
        dashboard=_DASHBOARD,
        hold="5m",
    )


def metric_free(*matchers: str) -> str:
    """A selector without a metric's name."""
    return "{" + ", ".join(m for m in matchers if m) + "}"
