"""Recording rules: per worker to per service, once, so that alerts and runbooks read short.

Alerts hold their state in these, and in nothing that a restart of Prometheus forgets: no alert has
``for`` or ``keep_firing_for``.
"""

from __future__ import annotations

from dataclasses import dataclass

from .model import Group, Record
from .promql import LOOP, Promql, matcher, records
from .tuning import Tuning

__all__ = ["SERVER", "STOPPED", "UNSTOPPED", "recordings"]

AWAKE = "runguard:rules:awake"
TRIPS = records("runguard.trips", "events5m")
SIGNATURES = records("runguard.signatures", "events5m")
CLAIM_CALLS = records("runguard.job.claim.duration", "events5m")
DROPPED = records("runguard.events.dropped", "events5m")
ERRORS = records("runguard.internal_errors", "events5m")
UNPRICED = records("runguard.cost.unpriced", "events5m")
RESULTS = records("runguard.stt.results", "events5m")
ENDED = records("runguard.jobs.ended", "events5m")
WASTED = records("runguard.cost.wasted", "usd5m")
SPENT = records("runguard.cost.estimated", "usd5m")
JOBS = records("runguard.jobs", "now")
OPEN = records("runguard.guards.open", "now")
UNSTOPPED = "service:runguard_loops:unstopped"
STOPPED = "service:runguard_loops:stopped"
MISFIRES_5M, MISFIRES_1H = (f"service:runguard_misfires:share{w}" for w in ("5m", "1h"))
UNVERIFIED_5M, UNVERIFIED_1H = (
    f"service:runguard_unverified_claims:share{w}" for w in ("5m", "1h")
)
CLAIMS_HOUR = "service:runguard_claims_decided:events1h"
SERVER = "service:runguard_server_loops:unseen"
STREAMS = "service:runguard_stt_streams:per_job"
REGISTRY = "service:runguard_claim_calls:failing"
ALIVE = "service:runguard_workers:alive"
DEAD = "service:runguard_workers:dead"
MISSING = "service:runguard_workers:missing"

_DECIDED = "job_claim:(acquired|reentered|handed_off|taken_over|passed_on|unverified)"
DECIDED = f"{{{matcher('signature', _DECIDED, '=~')}}}"


@dataclass(frozen=True)
class Loops:
    """When the loops of one guard are told of.

    Args:
        guard: Which.
        trips: How many that were stopped ...
        share: ... and, besides all of these but one, which share of the calls of the window.
        window: ``5m`` or ``1h``.
        unstopped: Share of the running calls that loops which nobody stops must have.
    """

    guard: str
    trips: float
    share: float
    window: str
    unstopped: float


def over(recording: str, window: str, selector: str = "") -> str:
    """The sum of a recording of five minutes over a longer window, in whole steps."""
    return f"sum_over_time({recording}{selector}[{window}:5m])"


def recordings(t: Tuning) -> tuple[Group, ...]:
    """The groups of recordings."""
    q = Promql(t)
    return (
        Group("runguard-awake", (Record(AWAKE, "vector(1)", "these rules are running"),)),
        # One group: what reads another group's records may wait a whole interval for its own turn.
        Group("runguard-state", (*_events(q), *_state(q, t))),
        Group("runguard-shares", tuple(_shares(q))),
        Group("runguard-workers", tuple(_workers(q, t))),
    )


def _events(q: Promql) -> list[Record]:
    rows = (
        (TRIPS, "runguard.trips", LOOP, "", "loops found"),
        (SIGNATURES, "runguard.signatures", ("signature", "outcome", "agent"), "", "their events"),
        (CLAIM_CALLS, "runguard.job.claim.duration", ("backend", "result"), "_count",
         "calls to the claim registry"),
        (DROPPED, "runguard.events.dropped", ("drop",), "", "events given up"),
        (ERRORS, "runguard.internal_errors", ("where",), "", "our own failures"),
        (UNPRICED, "runguard.cost.unpriced", ("component", "provider", "model"), "",
         "usage without a price"),
        (RESULTS, "runguard.stt.results", ("kind",), "", "final STT results"),
        (ENDED, "runguard.jobs.ended", ("agent",), "", "calls that ended"),
        (WASTED, "runguard.cost.wasted", ("guard", "agent"), "", "dollars that loops cost"),
        (SPENT, "runguard.cost.estimated", ("agent",), "", "dollars that were spent"),
    )  # fmt: skip
    return [Record(name, q.events(m, by, suffix=s), why) for name, m, by, s, why in rows]


def _shares(q: Promql) -> list[Record]:
    def row(name: str, part: str, whole: str) -> Record:
        expr = f"sum by ({q.by()}) ({part})\n  / (sum by ({q.by()}) ({whole}) > 0)"
        return Record(name, expr, "a share")

    misfire = f"{{{matcher('kind', 'genuine|duplicate', '!~')}}}"
    unverified = f"{{{matcher('signature', 'job_claim:unverified')}}}"
    hour = over(SIGNATURES, "1h", DECIDED)
    return [
        row(MISFIRES_5M, RESULTS + misfire, RESULTS),
        row(MISFIRES_1H, over(RESULTS, "1h", misfire), over(RESULTS, "1h")),
        row(UNVERIFIED_5M, SIGNATURES + unverified, SIGNATURES + DECIDED),
        row(UNVERIFIED_1H, over(SIGNATURES, "1h", unverified), hour),
        Record(CLAIMS_HOUR, f"sum by ({q.by()}) ({hour})", "claims that were decided"),
    ]


def loops(t: Tuning) -> tuple[Loops, ...]:
    """The thresholds of each guard."""
    return (
        Loops("room_reconnect", t.reconnect_trips, t.reconnect_share, "5m", 0),
        Loops("job_dispatch", t.duplicate_dispatch_events, t.duplicate_dispatch_share, "1h", 0),
        Loops("vad_misfire", t.misfire_trips, t.misfire_trips_share, "1h", t.unstopped_share),
        Loops(
            "track_subscribe", t.subscription_trips, t.subscription_share, "1h", t.unstopped_share
        ),
        Loops("session_overrun", t.overrun_trips, t.overrun_share, "1h", t.unstopped_share),
    )


def _state(q: Promql, t: Tuning) -> list[Record]:
    by, agent = q.by(*LOOP), q.by("agent")
    opened = q.metric("runguard.guards.open", matcher("mode", "", "!="))
    older = q.metric("runguard.guards.open", matcher("mode", ""))
    streams, jobs = q.metric("runguard.stt.streams"), q.metric("runguard.jobs")
    failed = f"sum by ({q.by('backend')}) ({CLAIM_CALLS}{{{matcher('result', 'error')}}})"
    return [
        Record(JOBS, f"sum by ({agent}) ({jobs})", "calls that run"),
        Record(
            OPEN,
            f"sum by ({by}) ({opened})\n"
            # Workers of 0.1 do not say the mode; their trips do.
            f"or\n"
            f"  0 * sum by ({by}) ({q.metric('runguard.trips')} > 0)\n"
            f"    + on ({q.by('agent', 'guard')}) group_left ()\n"
            f"  sum by ({q.by('agent', 'guard')}) ({older})",
            "loops that last",
        ),
        Record(UNSTOPPED, "\nor\n".join(_unstopped(q, row) for row in loops(t)), "by nobody"),
        Record(STOPPED, "\nor\n".join(_stopped(q, row) for row in loops(t)), "by a guard"),
        Record(SERVER, _unseen(q), "loops that only the server's view shows"),
        Record(
            STREAMS,
            f"(sum by ({q.by()}) ({streams}) >= {t.streams_minimum:g})\n"
            f"  / sum by ({q.by()}) ({jobs})",
            "streams for each call, where there are many",
        ),
        Record(
            REGISTRY,
            f"{failed} >= {t.registry_errors:g}\n"
            f"  and {failed} > {t.registry_error_share:g} * sum by ({q.by('backend')}) "
            f"({CLAIM_CALLS})",
            "failed calls, where they are most",
        ),
    ]


def _unseen(q: Promql) -> str:
    """Loops that a server shows and no agent of that name tells of: one loop counts once."""
    shown = q.metric("runguard.guards.open", matcher("vantage", "server"))
    cluster, _ = q.owner
    same = ", ".join([cluster, q.label("agent"), q.label("guard")])
    told = f"({OPEN} > 0 or {TRIPS} > 0)"
    return f"(sum by ({q.by(*LOOP)}) ({shown}) > 0)\n  unless on ({same}) {told}"


def _unstopped(q: Promql, row: Loops) -> str:
    selector = f"{{{matcher('guard', row.guard)}, {matcher('mode', 'observe')}}}"
    # A loop may be over before anybody scrapes: it lasts until its five minutes are over.
    lasting = f"({OPEN}{selector} > 0 or {TRIPS}{selector} > 0)"
    return q.at_least(lasting, row.unstopped, JOBS)


def _stopped(q: Promql, row: Loops) -> str:
    selector = f"{{{matcher('guard', row.guard)}, {matcher('mode', 'enforce')}}}"
    trips = TRIPS + selector if row.window == "5m" else over(TRIPS, row.window, selector)
    ended = ENDED if row.window == "5m" else over(ENDED, row.window)
    # A share alone is chance where calls are few: with 2,000 a day and a noisy line in 200 of them,
    # there is an hour with three on more than every other day. So the first ones do not count.
    besides = row.trips - 1
    return q.at_least(f"{trips} >= {row.trips:g}", row.share, f"({ended} + {JOBS})", besides)


def _workers(q: Promql, t: Tuning) -> list[Record]:
    worker = q.worker
    beat = q.metric("runguard.worker.heartbeat")
    started = f"last_over_time({q.metric('runguard.worker.start')}[{t.heartbeat_memory}])"
    last = f"last_over_time({beat}[{t.heartbeat_memory}])"
    expected = f"last_over_time({q.metric('runguard.worker.expected')}[{t.heartbeat_memory}])"
    died = f"({last} < time() - {t.heartbeat_seconds:g})"
    dead = (
        f"((\n"
        # Scraped: whatever finds the targets still lists it. What is not listed is not wanted.
        f"    {died} and on (job, instance) up == 0\n"
        f"  or\n"
        # Pushed: there never was a target.
        f"    {died} unless on (job, instance) last_over_time(up[{t.heartbeat_memory}])\n"
        f") unless on ({worker}) {expected} == 0)"
    )
    # Right after a start of Prometheus everything is old.
    awake = f"and on () last_over_time({AWAKE}[90s] offset 2m)"
    by = q.by()
    return [
        Record(
            ALIVE,
            # A series that has ended may be that of a worker whose next one is about to start.
            f"count by ({by}) (\n"
            f"  last_over_time({beat}[{t.heartbeat_seconds:.0f}s])"
            f" > time() - {t.heartbeat_seconds:g}\n"
            f"    unless on ({worker}) {expected} == 0\n"
            f")",
            "workers that were heard of",
        ),
        Record(DEAD, f"count by ({by}) ({dead} {awake})", "workers that died and are missed"),
        Record(
            MISSING,
            f"{DEAD}\n"
            f"  - (count by ({by}) (\n"
            # Those that were born since, and may have died again, are not missed twice.
            f"      {started} > on ({by}) group_left () min by ({by}) ({dead})\n"
            f"    ) or 0 * {DEAD})\n"
            f"  > 0",
            "dead workers that no younger one replaces",
        ),
    ]
