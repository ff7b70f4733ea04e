"""Alerts on the loops themselves: something tripped, or tripped and did not stop."""

from __future__ import annotations

from .model import Alert
from .promql import grouped, matcher, metric
from .recording import MISFIRES, RESULTS_HOUR, TRIPS, share
from .tuning import Tuning

__all__ = ["loop_alerts"]

_WHO = (
    "{{ if $labels.runguard_agent_name }}agent {{ $labels.runguard_agent_name }}"
    "{{ else }}agents{{ end }}"
)
_OF = "{{ if $labels.service_name }} ({{ $labels.service_name }}){{ end }}"


def loop_alerts(tuning: Tuning) -> tuple[Alert, ...]:
    """The alerts, most urgent first."""
    return (*_trips(tuning), _dispatch(tuning), _not_stopped(tuning), _share(tuning))


def _trip(
    tuning: Tuning, guard: str, name: str, severity: str, least: float, dashboard: str, what: str
) -> Alert:
    return Alert(
        name=name,
        severity=severity,
        expr=(
            f"sum by ({grouped('agent', 'guard', 'signature')}) (\n"
            f"  {TRIPS}{{{matcher('guard', guard)}}}\n"
            f") >= {least:g}"
        ),
        summary=f"{what} on {_WHO}{_OF}.",
        description=(
            'The {{ $labels.runguard_guard }} guard found {{ printf "%.0f" $value }} loop(s) of '
            "{{ $labels.runguard_signature }} in 5 minutes. In enforce mode the guard has stopped "
            "each of them; the cause is still there. The dashboard says since when and what it "
            "costs."
        ),
        dashboard=dashboard,
        keep=tuning.keep_firing,
    )


def _trips(t: Tuning) -> tuple[Alert, ...]:
    return (
        _trip(
            t,
            "room_reconnect",
            "RunguardReconnectLoop",
            t.reconnect_severity,
            t.reconnect_trips,
            "runguard-reconnects",
            "A room is joined again and again",
        ),
        _trip(
            t,
            "vad_misfire",
            "RunguardMisfireStorm",
            t.misfire_severity,
            t.misfire_trips,
            "runguard-misfires",
            "Noise or echo is taken for speech",
        ),
        _trip(
            t,
            "track_subscribe",
            "RunguardSubscriptionCascade",
            t.subscription_severity,
            t.subscription_trips,
            "runguard-subscriptions",
            "A track flaps and every subscription opens an STT stream",
        ),
    )


def _dispatch(t: Tuning) -> Alert:
    return Alert(
        name="RunguardDuplicateDispatch",
        severity=t.duplicate_dispatch_severity,
        expr=(
            f"sum by ({grouped('agent', 'signature')}) (\n"
            f"  {TRIPS}{{{matcher('guard', 'job_dispatch')}}}\n"
            f") >= {t.duplicate_dispatch_events:g}"
        ),
        summary=f"Rooms are dispatched to more than one job on {_WHO}{_OF}.",
        description=(
            '{{ printf "%.0f" $value }} jobs in 5 minutes were for a room that another job '
            "serves. In enforce mode they were refused before they joined."
        ),
        dashboard="runguard-claims",
        keep=t.keep_firing,
    )


def _not_stopped(t: Tuning) -> Alert:
    who = grouped("agent", "guard", "signature")
    # A duplicate has alerts of its own, and its guard stays open as long as the second call lasts.
    loops = matcher("guard", "job_dispatch", "!=")
    mode = matcher("mode", "observe")
    opened = metric("runguard.guards.open", t.selector)
    trips = f"sum by ({who}) ({TRIPS}{{{loops}}}"
    # One trip in each window is what many rooms with one stopped storm each look like.
    least = f">= {t.storm_trips:g}"
    return Alert(
        name="RunguardStormNotStopped",
        severity="page",
        expr=(
            f"sum by ({who}) (max_over_time({TRIPS}{{{loops}, {mode}}}[15m])) > 0\n"
            f"  and on ({grouped('agent', 'guard')})\n"
            f"    sum by ({grouped('agent', 'guard')}) ({opened}) > 0\n"
            f"or\n"
            f"  {trips}) {least}\n"
            f"    and {trips} offset 5m) {least}\n"
            f"    and {trips} offset 10m) {least}"
        ),
        summary=f"A storm does not stop on {_WHO}{_OF}.",
        description=(
            "{{ $labels.runguard_signature }}: either the {{ $labels.runguard_guard }} guard only "
            "observes, so nothing stops the loop, or it has been tripping again and again for a "
            "quarter of an hour because the cause comes back."
        ),
        dashboard="runguard-overview",
        hold="5m",
        keep=t.keep_firing,
    )


def _share(t: Tuning) -> Alert:
    return Alert(
        name="RunguardMisfireShareHigh",
        severity="ticket",
        expr=(
            f"{MISFIRES} > {t.misfire_share:g}\n"
            f"  and {share('misfires', '1h')} > {t.misfire_share:g}\n"
            f"  and {RESULTS_HOUR} >= {t.misfire_share_results:g}"
        ),
        summary=f"Too much of what the recogniser returns is not speech{_OF}.",
        description=(
            "{{ $value | humanizePercentage }} of the final STT results of the last 5 minutes "
            "were empty, uncertain or the agent's own words, and the last hour agrees."
        ),
        dashboard="runguard-misfires",
        hold="2m",
    )
