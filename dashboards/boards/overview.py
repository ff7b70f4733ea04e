"""Which loop, which agent, since when, what does it cost, is it stopped: without scrolling."""

from __future__ import annotations

from dashboards.boards.parts import STOPPED, each, how_to_read, lines, number
from dashboards.model import Board, Kind, Panel, Row, Target
from dashboards.queries import hourly, increase, label, now, rate, series

__all__ = ["BOARD"]

_WHO = "cluster service agent guard signature mode action"


def _loops(window: str) -> str:
    """Loops in a window, by who, where and what was done."""
    return f"{increase('runguard.trips', _WHO, window)} > 0"


def _labels(attributes: str) -> str:
    return ", ".join(map(label, attributes.split()))


_GUARD = "cluster service agent guard"
_OF_GUARD = f"on ({_labels(_GUARD)}) group_left ()"


def _of_guard(metric: str) -> str:
    """Dollars of an agent's guard beside each of its loops, not split by signature."""
    return f"0 * ({_loops('$__range')}) + {_OF_GUARD} {increase(metric, _GUARD)}"


_WHICH = Panel(
    Kind.TABLE,
    "Which loop, which agent, since when, is it stopped",
    "Every loop found in the range shown, with the dollars of its guard in the same range.",
    targets=(
        Target(
            f"1000 * min_over_time(timestamp({_loops('5m')})[$__range:1m])",
            "First seen",
            instant=True,
            unit="dateTimeFromNow",
        ),
        Target(
            f"1000 * max_over_time(timestamp({_loops('5m')})[$__range:1m])",
            "Last seen",
            instant=True,
            unit="dateTimeFromNow",
        ),
        Target(_loops("$__range"), "Loops", instant=True, unit="none"),
        Target(_of_guard("runguard.cost.wasted"), "Wasted", instant=True, unit="currencyUSD"),
        Target(_of_guard("runguard.cost.avoided"), "Avoided", instant=True, unit="currencyUSD"),
    ),
    width=17,
    sort="Wasted",
    columns=(
        (label("signature"), "Loop"),
        (label("cluster"), "Cluster"),
        (label("service"), "Service"),
        (label("agent"), "Agent"),
        (label("mode"), "Stopped?"),
        (label("action"), "Action"),
    ),
    last=("Action",),
    mappings=(("Stopped?", STOPPED),),
)

_BEAT = series("runguard.worker.heartbeat")
_BEATING = f"time() - {_BEAT} < 60"
_BY_OWNER = "cluster service"
_OWNERS = Panel(
    Kind.TABLE,
    "Whose: every service now",
    "Each service that was heard of in the range shown: its workers, calls, loops and waste.",
    targets=(
        Target(
            f"count by ({_labels(_BY_OWNER)}) ({_BEATING})\n"
            f"  or 0 * count by ({_labels(_BY_OWNER)}) (last_over_time({_BEAT}[$__range]))",
            "Workers",
            instant=True,
            unit="none",
        ),
        Target(now("runguard.jobs", _BY_OWNER), "Calls", instant=True, unit="none"),
        Target(now("runguard.stt.streams", _BY_OWNER), "STT", instant=True, unit="none"),
        Target(now("runguard.guards.open", _BY_OWNER), "Looping", instant=True, unit="none"),
        Target(
            f"3600 * sum by ({_labels(_BY_OWNER)}) (rate({series('runguard.cost.wasted')}[5m]))",
            "Wasted/h",
            instant=True,
            unit="currencyUSD",
        ),
    ),
    width=9,
    sort="Wasted/h",
    columns=((label("cluster"), "Cluster"), (label("service"), "Service")),
    to="runguard-itself",
)

BOARD = Board(
    "runguard-overview",
    "Runguard / Overview",
    "Is anything looping now: which loop, which agent, since when, what it costs, is it stopped.",
    (
        Row(
            4,
            (
                number(
                    "Looping now",
                    "Guards that are open: rooms or sessions in a loop at this moment.",
                    now("runguard.guards.open"),
                    bad=1,
                    decimals=0,
                ),
                number(
                    "Loops, this range",
                    "Loops that guards found in the range shown.",
                    increase("runguard.trips"),
                    warn=1,
                    decimals=0,
                ),
                number(
                    "Not stopped, this range",
                    "Loops that were only observed, because the guard's mode says so.",
                    increase("runguard.trips", mode="observe"),
                    bad=1,
                    decimals=0,
                ),
                number(
                    "Wasted per hour",
                    "Dollars per hour that unstopped loops cost at this moment.",
                    f"3600 * sum (rate({series('runguard.cost.wasted')}[5m]))",
                    unit="currencyUSD",
                    warn=0.01,
                    bad=10,
                    to="runguard-cost",
                ),
                number(
                    "Avoided, this range",
                    "Dollars that guards demonstrably stopped in the range shown.",
                    increase("runguard.cost.avoided"),
                    unit="currencyUSD",
                    to="runguard-cost",
                ),
                number(
                    "Workers alive",
                    "Workers with a heartbeat in the last minute; 0 means nothing here is current.",
                    f"count ({_BEATING})",
                    bad=1,
                    below=True,
                    decimals=0,
                    to="runguard-itself",
                ),
            ),
        ),
        Row(
            7,
            (
                _WHICH,
                lines(
                    "Loops found",
                    "When guards found loops, by signature; points lead to the trace of one call.",
                    each(
                        increase, "runguard.trips", "signature", "$__rate_interval", exemplar=True
                    ),
                    width=7,
                    bars=True,
                    stacked=True,
                    decimals=0,
                ),
            ),
        ),
        Row(
            7,
            (
                lines(
                    "Events of loops",
                    "Events that belong to a loop, per second: some are normal, storms stand out.",
                    each(
                        rate,
                        "runguard.signatures",
                        "signature",
                        exemplar=True,
                        signature="~room_reconnect|track_subscribe|vad_misfire:.+"
                        "|job_claim:(refused|unverified|lost|taken_over)",
                    ),
                    width=8,
                    unit="eps",
                ),
                lines(
                    "Dollars per hour",
                    "What loops cost and what guards saved, at the rate of each moment.",
                    each(hourly, "runguard.cost.wasted", words="wasted"),
                    each(hourly, "runguard.cost.avoided", words="avoided"),
                    width=7,
                    unit="currencyUSD",
                    to="runguard-cost",
                ),
                _OWNERS,
            ),
        ),
        how_to_read(
            "**Looping now** above 0: the table says which loop and which agent, since when, and "
            "whether the guard *stopped* it or only observes (`RUNGUARD_MODE=observe`). Open the "
            "dashboard of that loop from the menu **Runguard**. **Workers alive** at 0: nothing "
            "here is current, look at *Runguard itself* first. Dollars are estimates from list "
            "prices; *wasted* is what was seen and not stopped, *avoided* what a guard stopped.",
            3,
        ),
    ),
)
