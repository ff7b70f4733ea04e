"""Calls that nobody needs any more: who is alone, what is old, how calls end."""

from __future__ import annotations

from dashboards.boards.parts import each, guard_open, how_to_read, lines, number, times, trips_of
from dashboards.model import Board, Row, Target
from dashboards.queries import increase, label, legend, now, rate, series

__all__ = ["BOARD"]


def _oldest(by: str) -> str:
    return f"max by ({', '.join(label(a) for a in by.split())}) ({series('runguard.open.oldest')})"


BOARD = Board(
    "runguard-overruns",
    "Runguard / Overruns",
    "Calls that serve nobody: agents alone, old sessions, ends that do not come, and their cost.",
    (
        Row(
            4,
            (
                number(
                    "Alone now",
                    "Jobs connected to a room without a caller at this moment.",
                    now("runguard.jobs.alone"),
                    warn=1,
                    decimals=0,
                ),
                number(
                    "Oldest open session",
                    "How long the oldest session that is open has been.",
                    f"max ({series('runguard.open.oldest', period='session')})",
                    unit="s",
                    zero=False,
                    warn=3600,
                    bad=4 * 3600,
                ),
                number(
                    "Overruns",
                    "Calls that went on too long in the range shown.",
                    increase("runguard.trips", guard="session_overrun"),
                    warn=1,
                    decimals=0,
                ),
                number(
                    "Not stopped",
                    "Those of them that were only observed, as is the default.",
                    increase("runguard.trips", guard="session_overrun", mode="observe"),
                    bad=1,
                    decimals=0,
                ),
                number(
                    "Wasted",
                    "Dollars from the trip to the end of calls that nobody ended.",
                    increase("runguard.cost.wasted", guard="session_overrun"),
                    unit="currencyUSD",
                    warn=0.01,
                    to="runguard-cost",
                ),
                number(
                    "Ended as hung",
                    "Jobs whose end did not come by itself, in the range shown.",
                    increase("runguard.jobs.ended", job_outcome="hung"),
                    bad=1,
                    decimals=0,
                ),
            ),
        ),
        Row(
            8,
            (
                trips_of("session_overrun"),
                lines(
                    "Jobs alone",
                    "Jobs connected without a caller; a minute of dialling is healthy.",
                    each(now, "runguard.jobs.alone", words="alone"),
                    each(now, "runguard.jobs", words="all jobs"),
                    decimals=0,
                ),
            ),
        ),
        Row(
            8,
            (
                lines(
                    "Open sessions by age",
                    "Open sessions and jobs by age; what gathers at the top is never ended.",
                    each(now, "runguard.open", "period age"),
                    width=8,
                    stacked=True,
                    decimals=0,
                ),
                lines(
                    "Oldest open",
                    "Age of the oldest session and job that are open, by service.",
                    Target(
                        _oldest("cluster service period"), legend("cluster", "service", "period")
                    ),
                    width=8,
                    unit="s",
                ),
                lines(
                    "How jobs end",
                    "Jobs ended per interval, by how: alone and hung were nobody's wish.",
                    each(increase, "runguard.jobs.ended", "job_outcome", "$__rate_interval"),
                    width=8,
                    bars=True,
                    stacked=True,
                    decimals=0,
                ),
            ),
        ),
        Row(
            8,
            (
                lines(
                    "How long sessions last",
                    "Half of the sessions were shorter than p50, one in twenty longer than p95.",
                    times("runguard.session.duration", 0.5),
                    times("runguard.session.duration", 0.95),
                    times("runguard.session.idle", 0.95, words="of the longest silence"),
                    width=8,
                    unit="s",
                ),
                lines(
                    "Recognisers that reconnect",
                    "Connections of STT streams after their first, per second, by what was done.",
                    each(
                        rate,
                        "runguard.signatures",
                        "outcome",
                        signature="session_overrun:stt_reconnect",
                        exemplar=True,
                    ),
                    width=8,
                    unit="eps",
                ),
                guard_open("session_overrun", 8),
            ),
        ),
        how_to_read(
            "**Alone now** is every job without a caller, from its first second; it is an overrun "
            "after 30 s (120 s if nobody came). The guard observes unless "
            "`RUNGUARD_SESSION_OVERRUN_MODE=enforce`: then the job is asked to end, a recogniser "
            "that reconnects for ever fails, and a process that hangs is ended by its worker. "
            "**Oldest open session** names no room: the log line of the trip leads to it."
        ),
    ),
)
