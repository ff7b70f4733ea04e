"""Recording rules: per worker to per service, once, so that alerts and runbooks read short."""

from __future__ import annotations

from .model import Group, Record
from .promql import AWAKE, events, grouped, matcher, metric, records
from .tuning import Tuning

__all__ = ["MISFIRES", "SIGNATURES", "TRIPS", "recordings"]

TRIPS = records("runguard.trips", "events5m")
SIGNATURES = records("runguard.signatures", "events5m")
CLAIM_CALLS = records("runguard.job.claim.duration", "events5m")
DROPPED = records("runguard.events.dropped", "events5m")
ERRORS = records("runguard.internal_errors", "events5m")
UNPRICED = records("runguard.cost.unpriced", "events5m")
RESULTS_HOUR = records("runguard.stt.results", "increase1h")
CLAIMS_HOUR = "service:runguard_claims_decided:increase1h"

_DECIDED = "job_claim:(acquired|reentered|handed_off|taken_over|unverified)"


def share(of: str, window: str) -> str:
    """The recording of one share over one window."""
    return f"service:runguard_{of}:share{window}"


def wasted(window: str) -> str:
    """The recording of dollars wasted in one window."""
    return records("runguard.cost.wasted", f"usd{window}")


MISFIRES = share("misfires", "5m")


def recordings(tuning: Tuning) -> tuple[Group, ...]:
    """The groups of recordings."""
    return (
        Group("runguard-awake", (Record(AWAKE, "vector(1)", "these rules are running"),)),
        Group("runguard-events", tuple(_events(tuning.selector))),
        Group("runguard-shares", tuple(_shares(tuning.selector))),
        Group("runguard-cost", tuple(_cost(tuning.selector))),
    )


def _events(sel: str) -> list[Record]:
    return [
        Record(
            TRIPS,
            events("runguard.trips", ("guard", "signature", "mode", "agent"), sel),
            "loops found",
        ),
        Record(
            SIGNATURES,
            events("runguard.signatures", ("signature", "outcome", "agent"), sel),
            "events of loops",
        ),
        Record(
            CLAIM_CALLS,
            events("runguard.job.claim.duration", ("backend", "result"), sel, suffix="_count"),
            "calls to the claim registry",
        ),
        Record(DROPPED, events("runguard.events.dropped", ("drop",), sel), "events given up"),
        Record(ERRORS, events("runguard.internal_errors", ("where",), sel), "our own failures"),
        Record(
            UNPRICED,
            events("runguard.cost.unpriced", ("component", "provider", "model"), sel),
            "usage without a price",
        ),
    ]


def _shares(sel: str) -> list[Record]:
    out = []
    results = "runguard.stt.results"
    misfire = metric(results, sel, (matcher("kind", "genuine", "!="),))
    signatures = "runguard.signatures"
    unverified = metric(signatures, sel, (matcher("signature", "job_claim:unverified"),))
    decided = metric(signatures, sel, (matcher("signature", _DECIDED, "=~"),))
    for window in ("5m", "1h"):
        for name, part, whole in (
            ("misfires", misfire, metric(results, sel)),
            ("unverified_claims", unverified, decided),
        ):
            expr = (
                f"sum by ({grouped()}) (rate({part}[{window}]))\n"
                f"  /\n"
                f"sum by ({grouped()}) (rate({whole}[{window}]))"
            )
            out.append(Record(share(name, window), expr, f"share of {name.replace('_', ' ')}"))
    for name, whole in ((RESULTS_HOUR, metric(results, sel)), (CLAIMS_HOUR, decided)):
        out.append(
            Record(name, f"sum by ({grouped()}) (increase({whole}[1h]))", "traffic of the shares")
        )
    return out


def _cost(sel: str) -> list[Record]:
    series = metric("runguard.cost.wasted", sel)
    return [
        Record(
            wasted(window),
            f"sum by ({grouped('guard')}) (increase({series}[{window}]))",
            "dollars that loops cost",
        )
        for window in ("5m", "30m", "1h", "6h")
    ]
