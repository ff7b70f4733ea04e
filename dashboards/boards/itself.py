"""Runguard's own health: may one believe the other dashboards?"""

from __future__ import annotations

from dashboards.boards.parts import each, how_to_read, lines, number, times
from dashboards.model import Board, Row, Target
from dashboards.queries import FILTERS, increase, legend, quantile_of_range, rate, series

__all__ = ["BOARD"]

_BEAT = series("runguard.worker.heartbeat")
_TIME = "runguard.guard.duration"
_SERIES = f'{{__name__=~"runguard_.+", {FILTERS}}}'
_OWNER = "cluster, service_name"


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
                    zero=False,
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
                    "In the range, 99 of 100 decisions took less than this in the host's path.",
                    quantile_of_range(0.99, _TIME),
                    unit="s",
                    zero=False,
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
                    times(_TIME, 0.5, "guard"),
                    times(_TIME, 0.99, "guard"),
                    unit="s",
                ),
                lines(
                    "Age of heartbeats",
                    "Age of the newest and of the oldest heartbeat of each service's workers.",
                    *(
                        Target(
                            f"{which} by ({_OWNER}) (time() - {_BEAT})",
                            f"{word} {legend('cluster', 'service')}",
                        )
                        for which, word in (("min", "newest"), ("max", "oldest"))
                    ),
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
                    each(rate, "runguard.internal_errors", "where"),
                    unit="eps",
                    width=8,
                ),
                lines(
                    "Events dropped",
                    "Events given up per second, by reason.",
                    each(rate, "runguard.events.dropped", "drop"),
                    unit="eps",
                    width=8,
                ),
                lines(
                    "Series by service",
                    "Series over time; a rise with traffic means that a label is not bounded.",
                    Target(f"count by ({_OWNER}) ({_SERIES})", legend("cluster", "service")),
                    width=8,
                    decimals=0,
                ),
            ),
        ),
        how_to_read(
            "Read this before you believe an empty dashboard. **Workers alive** is what Prometheus "
            "hears from, not what runs. **Events dropped** and **Internal errors** should be 0: "
            "any other value means that the other dashboards show too little (as `journal`: that "
            "journals do). **Overhead** is the time our "
            "code adds to a call, in buckets of 10 us, 100 us and 1 ms."
        ),
    ),
)
