"""Alerts on the right to serve a room."""

from __future__ import annotations

from .model import Alert
from .promql import Promql, matcher
from .recording import (
    CLAIMS_HOUR,
    DECIDED,
    REGISTRY,
    SIGNATURES,
    STOPPED,
    UNSTOPPED,
    UNVERIFIED_1H,
    UNVERIFIED_5M,
    over,
)
from .tuning import Tuning
from .words import COUNT, WHO, of

__all__ = ["claim_alerts"]

_DASHBOARD = "runguard-claims"
_DUPLICATES = f"{{{matcher('guard', 'job_dispatch')}}}"


def claim_alerts(tuning: Tuning) -> tuple[Alert, ...]:
    """The alerts, most urgent first."""
    return (
        _unreachable(tuning),
        _lost(tuning),
        _twice(tuning),
        _refused(tuning),
        _unverified(tuning),
    )


def _unreachable(t: Tuning) -> Alert:
    return Alert(
        name="RunguardClaimRegistryUnreachable",
        severity="page",
        expr=f"max_over_time({REGISTRY}[{t.ended_memory}])",
        summary=f"The claim registry does not answer the workers{of(t)}.",
        description=(
            f"{COUNT} calls to {{{{ $labels.runguard_backend }}}} failed in 5 minutes, most of all "
            "there were. Calls are served without proof of the right to (or refused, if the policy "
            "says so), so a room may get two agents."
        ),
        dashboard=_DASHBOARD,
    )


def _lost(t: Tuning) -> Alert:
    q = Promql(t)
    kind = f"{{{matcher('signature', 'job_claim:lost')}}}"
    agent, by = q.by("agent"), q.by("agent", "signature")
    return Alert(
        name="RunguardClaimLost",
        severity="page",
        expr=(
            f"sum by ({by}) (max_over_time({SIGNATURES}{kind}[{t.stopped_memory}])) > 0\n"
            f"unless\n"
            f"  sum by ({by}) ({over(SIGNATURES, '1h', kind)} or {SIGNATURES}{kind})\n"
            f"    < on ({agent}) group_left ()\n"
            f"  ({t.claims_lost_share:g} * sum by ({agent}) ({over(SIGNATURES, '1h', DECIDED)}))"
        ),
        summary=f"A job lost the room it was serving on {WHO}{of(t)}.",
        description=(
            f"{COUNT} claim(s) were superseded or ran out in 5 minutes. Two agents may have spoken "
            "in one room for some seconds."
        ),
        dashboard=_DASHBOARD,
    )


def _twice(t: Tuning) -> Alert:
    return Alert(
        name="RunguardDuplicateWork",
        severity="page",
        expr=f"max_over_time({UNSTOPPED}{_DUPLICATES}[{t.ended_memory}])",
        summary=f"Two jobs serve one room on {WHO}{of(t)}, and nothing stops it.",
        description=(
            f"{COUNT} job(s) went on although another job held the room, because the guard only "
            "observes (mode observe). Every one is billed in full, for as long as it serves; this "
            "alert lasts as long."
        ),
        dashboard=_DASHBOARD,
    )


def _refused(t: Tuning) -> Alert:
    return Alert(
        name="RunguardDuplicateDispatch",
        severity=t.duplicate_dispatch_severity,
        expr=f"max_over_time({STOPPED}{_DUPLICATES}[{t.ended_memory}])",
        summary=(
            f"Rooms are dispatched to more than one job on {WHO}{of(t)}; the second is refused."
        ),
        description=(
            f"{COUNT} jobs in an hour were for a room that another job serves. They were refused "
            "before they joined (mode enforce), so no caller hears two agents; whoever dispatches "
            "them does it twice."
        ),
        dashboard=_DASHBOARD,
    )


def _unverified(t: Tuning) -> Alert:
    return Alert(
        name="RunguardClaimsUnverified",
        severity="ticket",
        expr=(
            f"{UNVERIFIED_5M} > {t.unverified_share:g}\n"
            f"  and {UNVERIFIED_1H} > {t.unverified_share:g}\n"
            f"  and {CLAIMS_HOUR} >= {t.unverified_share_claims:g}"
        ),
        summary=f"Calls are served without a verified claim{of(t)}.",
        description=(
            "{{ $value | humanizePercentage }} of the claims of the last 5 minutes got no answer "
            "from the registry, and the last hour agrees."
        ),
        dashboard=_DASHBOARD,
    )
