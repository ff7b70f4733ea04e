"""Alerts on the right to serve a room."""

from __future__ import annotations

from .model import Alert
from .promql import grouped, matcher
from .recording import CLAIM_CALLS, CLAIMS_HOUR, SIGNATURES, TRIPS, share
from .tuning import Tuning

__all__ = ["claim_alerts"]

_DASHBOARD = "runguard-claims"
_OF = "{{ if $labels.service_name }} ({{ $labels.service_name }}){{ end }}"


def claim_alerts(tuning: Tuning) -> tuple[Alert, ...]:
    """The alerts, most urgent first."""
    return (_unreachable(tuning), _lost(tuning), _twice(tuning), _unverified(tuning))


def _unreachable(t: Tuning) -> Alert:
    by = grouped("backend")
    failed = f"{CLAIM_CALLS}{{{matcher('result', 'error')}}}"
    return Alert(
        name="RunguardClaimRegistryUnreachable",
        severity="page",
        expr=(
            f"sum by ({by}) ({failed})\n"
            f"  > {t.registry_error_share:g} * sum by ({by}) ({CLAIM_CALLS})\n"
            f"and\n"
            f"  sum by ({by}) ({failed}) >= {t.registry_errors:g}"
        ),
        summary=f"The claim registry does not answer the workers{_OF}.",
        description=(
            '{{ printf "%.0f" $value }} calls to {{ $labels.runguard_backend }} failed in 5 '
            "minutes, most of all there were. Calls are served without proof of the right to "
            "(or refused, if the policy says so), so a room may get two agents."
        ),
        dashboard=_DASHBOARD,
        keep="5m",
    )


def _lost(t: Tuning) -> Alert:
    lost = matcher("signature", "job_claim:lost")
    by = grouped("agent", "signature")
    return Alert(
        name="RunguardClaimLost",
        severity="page",
        expr=f"sum by ({by}) ({SIGNATURES}{{{lost}}}) > 0",
        summary=f"A job lost the room it was serving{_OF}.",
        description=(
            '{{ printf "%.0f" $value }} claim(s) were superseded or ran out in 5 minutes. Two '
            "agents may have spoken in one room for some seconds."
        ),
        dashboard=_DASHBOARD,
        keep=t.keep_firing,
    )


def _twice(t: Tuning) -> Alert:
    twice = f"{matcher('guard', 'job_dispatch')}, {matcher('mode', 'observe')}"
    by = grouped("agent", "signature")
    return Alert(
        name="RunguardDuplicateWork",
        severity="page",
        expr=f"sum by ({by}) ({TRIPS}{{{twice}}}) > 0",
        summary=f"Two jobs serve one room{_OF}.",
        description=(
            '{{ printf "%.0f" $value }} job(s) in 5 minutes went on although another job held '
            "the room, because the guard only observes. Every one is billed in full."
        ),
        dashboard=_DASHBOARD,
        keep=t.keep_firing,
    )


def _unverified(t: Tuning) -> Alert:
    return Alert(
        name="RunguardClaimsUnverified",
        severity="ticket",
        expr=(
            f"{share('unverified_claims', '5m')} > {t.unverified_share:g}\n"
            f"  and {share('unverified_claims', '1h')} > {t.unverified_share:g}\n"
            f"  and {CLAIMS_HOUR} >= {t.unverified_share_claims:g}"
        ),
        summary=f"Calls are served without a verified claim{_OF}.",
        description=(
            "{{ $value | humanizePercentage }} of the claims of the last 5 minutes got no answer "
            "from the registry, and the last hour agrees."
        ),
        dashboard=_DASHBOARD,
        hold="2m",
    )
