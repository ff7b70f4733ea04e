"""Alerts on what is being spent and on streams that nobody needs."""

from __future__ import annotations

from .model import Alert
from .promql import grouped, metric
from .recording import UNPRICED, wasted
from .tuning import Tuning

__all__ = ["money_alerts"]

_OF = "{{ if $labels.service_name }} ({{ $labels.service_name }}){{ end }}"
_DASHBOARD = "runguard-cost"


def money_alerts(tuning: Tuning) -> tuple[Alert, ...]:
    """The alerts, most urgent first."""
    return (
        # Shares of a 30-day budget and their windows: the usual ones of burn-rate alerts.
        _burn(tuning, "RunguardWasteBurnFast", "page", 0.02, "1h", ("5m", 12)),
        _burn(tuning, "RunguardWasteBurnSlow", "ticket", 0.05, "6h", ("30m", 12)),
        _over(tuning),
        _streams(tuning),
        _unpriced(),
    )


def _burn(
    t: Tuning, name: str, severity: str, part: float, long: str, short: tuple[str, int]
) -> Alert:
    limit = part * t.waste_usd_per_month
    window, times = short
    by = grouped()
    return Alert(
        name=name,
        severity=severity,
        expr=(
            f"sum by ({by}) ({wasted(long)}) > {limit:g}\n"
            f"  and sum by ({by}) ({wasted(window)}) * {times} > {limit:g}"
        ),
        summary=f"Loops are burning the budget for waste{_OF}.",
        description=(
            f'Loops that nothing stopped cost {{{{ printf "%.2f" $value }}}} USD in {long}: more '
            f"than {part:.0%} of what they may cost in 30 days ({t.waste_usd_per_month:g} USD). "
            "It goes on right now."
        ),
        dashboard=_DASHBOARD,
    )


def _over(t: Tuning) -> Alert:
    series = metric("runguard.cost.estimated", t.selector)
    return Alert(
        name="RunguardCostOverBudget",
        severity="ticket",
        expr=f"sum by ({grouped()}) (increase({series}[1h])) > {t.budget_usd_per_hour:g}",
        summary=f"The agents cost more than their budget{_OF}.",
        description=(
            'The last hour cost {{ printf "%.2f" $value }} USD, the budget is '
            f"{t.budget_usd_per_hour:g} USD. It need not be a loop: look at jobs and components."
        ),
        dashboard=_DASHBOARD,
        hold="10m",
    )


def _streams(t: Tuning) -> Alert:
    by = grouped()
    streams = f"sum by ({by}) ({metric('runguard.stt.streams', t.selector)})"
    jobs = f"sum by ({by}) ({metric('runguard.jobs', t.selector)})"
    return Alert(
        name="RunguardSttStreamsLeak",
        severity="ticket",
        expr=(
            f"{streams} > {t.streams_per_job:g} * {jobs}\nand\n  {streams} >= {t.streams_minimum:g}"
        ),
        summary=f"More STT streams are open than the jobs need{_OF}.",
        description=(
            '{{ printf "%.0f" $value }} STT streams are open, more than '
            f"{t.streams_per_job:g} per running job, for 5 minutes. Each is billed."
        ),
        dashboard="runguard-subscriptions",
        hold="5m",
    )


def _unpriced() -> Alert:
    return Alert(
        name="RunguardUsageUnpriced",
        severity="info",
        expr=f"sum by ({grouped('component', 'provider', 'model')}) ({UNPRICED}) > 0",
        summary=f"Something is used that has no price{_OF}.",
        description=(
            "{{ $labels.runguard_component }} of {{ $labels.gen_ai_provider_name }} "
            "{{ $labels.gen_ai_request_model }} is counted as unpriced: every figure of cost is "
            "too low by it."
        ),
        dashboard=_DASHBOARD,
        keep="1h",
    )
