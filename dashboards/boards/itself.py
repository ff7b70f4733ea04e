"""Runguard's own health: may one believe the other dashboards?"""

from __future__ import annotations

from dashboards.boards.parts import how_to_read, lines, number
from dashboards.model import Board, Row, Target
from dashboards.queries import FILTERS, increase, label, legend, rate, series

__all__ = ["BOARD"]

_BEAT = series("runguard.worker.heartbeat")
_TIME = "runguard.guard.duration"
_SERIES = f'{{__name__=~"runguard_.+", {FILTERS}}}'


def _quantile(q: float) -> str:
    buckets = rate(_TIME, "guard", "_bucket").replace(
        f"({label('guard')})", f"(le, {label('guard')})"
    )
    return f"histogram_quantile({q}, {buckets})"


BOARD = Board(
    "runguard-itself",
    "Runguard / Runguard itself",
    "Whether runguard counts everything, fails nowhere and stays out of the way.",
    (
        Row(
            4,
            (
                number(
                    "Workers alive",
                    "Workers with a heartbeat in the last minute.",
                    f"count (time() - {_BEAT} < 60)",
                    bad=1,
                    below=True,
                    decimals=0,
                ),
                number(
                    "Oldest heartbeat",
                    "Age of the oldest heartbeat of any worker; more than a minute is not normal.",
                    f"max (time() - {_BEAT})",
                    unit="s",
                    warn=60,
                    bad=300,
                ),
                number(
                    "Internal errors",
                    "Failures of our own code in the range; the host never saw them.",
                    increase("runguard.internal_errors"),
                    bad=1,
                    decimals=0,
                ),
                number(
                    "Events dropped",
                    "Events given up before they were counted, in the range shown.",
                    increase("runguard.events.dropped"),
                    bad=1,
                    decimals=0,
                ),
                number(
                    "Overhead, 99 of 100",
                    "Time that 99 of 100 decisions took in the host's path, upper bound.",
                    f"histogram_quantile(0.99, sum by (le) (rate({series(_TIME, '_bucket')}"
                    "[$__rate_interval])))",
                    unit="s",
                    warn=0.0001,
                    bad=0.001,
                ),
                number(
                    "Series",
                    "Series of all workers together; it must not grow with rooms.",
                    f"count ({_SERIES})",
                    decimals=0,
                ),
            ),
        ),
        Row(
            8,
            (
                lines(
                    "Overhead by guard",
                    "Time that half and 99 of 100 decisions of a guard took in the host's path.",
                    Target(_quantile(0.5), "p50 " + legend("guard")),
                    Target(_quantile(0.99), "p99 " + legend("guard"), exemplar=True),
                    unit="s",
                ),
                lines(
                    "Age of heartbeats",
                    "Age of the newest and of the oldest heartbeat of each service's workers.",
                    Target(f"min by (service_name) (time() - {_BEAT})", "newest {{service_name}}"),
                    Target(f"max by (service_name) (time() - {_BEAT})", "oldest {{service_name}}"),
                    unit="s",
                ),
            ),
        ),
        Row(
            8,
            (
                lines(
                    "Internal errors",
                    "Failures of our own code per second, by the wrapper they happened in.",
                    Target(rate("runguard.internal_errors", "where"), legend("where")),
                    unit="eps",
                    width=8,
                ),
                lines(
                    "Events dropped",
                    "Events given up per second, by reason.",
                    Target(rate("runguard.events.dropped", "drop"), legend("drop")),
                    unit="eps",
                    width=8,
                ),
                lines(
                    "Series by service",
                    "Series over time; a rise with traffic means that a label is not bounded.",
                    Target(f"count by (service_name) ({_SERIES})", "{{service_name}}"),
                    width=8,
                    decimals=0,
                ),
            ),
        ),
        how_to_read(
            "Read this before you believe an empty dashboard. **Workers alive** is what Prometheus "
            "hears from, not what runs. **Events dropped** and **Internal errors** should be 0: "
            "any other value means that the other dashboards show too little. **Overhead** is the "
            "time our code adds to a call, in buckets of 10 us, 100 us and 1 ms."
        ),
    ),
)
