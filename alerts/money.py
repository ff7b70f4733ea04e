"""Alerts on what is being spent and on streams that nobody needs."""

from __future__ import annotations

from .model import Alert
from .promql import Promql
from .recording import SPENT, STREAMS, UNPRICED, WASTED, over
from .tuning import Tuning
from .words import of

__all__ = ["money_alerts"]

_DASHBOARD = "runguard-cost"
_DOLLARS = '{{ printf "%.2f" $value }} USD'


def money_alerts(tuning: Tuning) -> tuple[Alert, ...]:
    """The alerts, most urgent first."""
    return (
        # Shares of a 30-day budget and their windows: the usual ones of burn-rate alerts.
        _burn(tuning, "RunguardWasteBurnFast", "page", 0.02, "1h", f"12 * {WASTED}"),
        _burn(tuning, "RunguardWasteBurnSlow", "ticket", 0.05, "6h", f"12 * {over(WASTED, '30m')}"),
        _over(tuning),
        _streams(tuning),
        _unpriced(tuning),
    )


def _burn(t: Tuning, name: str, severity: str, part: float, long: str, short: str) -> Alert:
    limit = part * t.waste_usd_per_month
    by = Promql(t).by()
    return Alert(
        name=name,
        severity=severity,
        expr=(
            f"sum by ({by}) ({over(WASTED, long)}) > {limit:g}\n"
            f"  and sum by ({by}) ({short}) > {limit:g}"
        ),
        summary=f"Loops are burning the budget for waste{of(t)}.",
        description=(
            f"Loops that nothing stopped cost {_DOLLARS} in {long}, more "
            f"than {part:.0%} of what they may cost in 30 days ({t.waste_usd_per_month:g} USD). "
            "It goes on right now."
        ),
        dashboard=_DASHBOARD,
    )


def _over(t: Tuning) -> Alert:
    return Alert(
        name="RunguardCostOverBudget",
        severity="ticket",
        expr=f"sum by ({Promql(t).by()}) ({over(SPENT, '1h')}) > {t.budget_usd_per_hour:g}",
        summary=f"The agents cost more than their budget{of(t)}.",
        description=(
            f"The last hour cost {_DOLLARS}, the budget is {t.budget_usd_per_hour:g} USD. It need "
            "not be a loop; look at jobs and components."
        ),
        dashboard=_DASHBOARD,
    )


def _streams(t: Tuning) -> Alert:
    return Alert(
        name="RunguardSttStreamsLeak",
        severity="ticket",
        expr=f"min_over_time({STREAMS}[5m]) > {t.streams_per_job:g}\n  and {STREAMS} offset 5m",
        summary=f"More STT streams are open than the calls need{of(t)}.",
        description=(
            '{{ printf "%.1f" $value }} STT streams are open for each running call, more than '
            f"{t.streams_per_job:g}, for 5 minutes. Each is billed."
        ),
        dashboard="runguard-subscriptions",
    )


def _unpriced(t: Tuning) -> Alert:
    return Alert(
        name="RunguardUsageUnpriced",
        severity="info",
        expr=f"max_over_time({UNPRICED}[1h]) > 0",
        summary=f"Something is used that has no price{of(t)}.",
        description=(
            "{{ $labels.runguard_component }} of {{ $labels.gen_ai_provider_name }} "
            "{{ $labels.gen_ai_request_model }} is counted as unpriced, so every figure of cost is "
            "too low by it."
        ),
        dashboard=_DASHBOARD,
    )
