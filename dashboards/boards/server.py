"""What a LiveKit server shows of the agents, beside what the agents say themselves."""

from __future__ import annotations

from dashboards.boards.parts import each, how_to_read, lines, number
from dashboards.model import Board, Row
from dashboards.queries import hourly, increase, now, rate, series

__all__ = ["BOARD"]

BOARD = Board(
    "runguard-server",
    "Runguard / Server's view",
    "Loops that the LiveKit server shows, of agents in any language, beside the agents' own view.",
    (
        Row(
            4,
            (
                number(
                    "Rooms open",
                    "Rooms that are open on the server.",
                    f"sum ({series('runguard.server.rooms')})",
                    decimals=0,
                ),
                number(
                    "Agents",
                    "Agents in these rooms.",
                    f"sum ({series('runguard.server.participants', party='agent')})",
                    decimals=0,
                ),
                number(
                    "Callers",
                    "People, phones and connectors in these rooms.",
                    f"sum ({series('runguard.server.participants', party='caller')})",
                    decimals=0,
                ),
                number(
                    "Oldest room",
                    "How long the oldest room has been open.",
                    f"max ({series('runguard.server.rooms.oldest')})",
                    unit="s",
                    zero=False,
                    warn=4 * 3600,
                    bad=24 * 3600,
                ),
                number(
                    "Loops now",
                    "Loops that last on the server at this moment.",
                    now("runguard.guards.open", vantage="server"),
                    bad=1,
                    decimals=0,
                ),
                number(
                    "Questions that failed",
                    "Questions that the server did not answer; rooms are not confirmed meanwhile.",
                    increase("runguard.server.questions", answer="failed"),
                    warn=1,
                    decimals=0,
                ),
            ),
        ),
        Row(
            8,
            (
                lines(
                    "Seen from the server",
                    "Loops that the server shows per interval, by signature.",
                    each(
                        increase,
                        "runguard.trips",
                        "signature",
                        "$__rate_interval",
                        vantage="server",
                        exemplar=True,
                    ),
                    width=12,
                    bars=True,
                    stacked=True,
                    decimals=0,
                ),
                lines(
                    "Seen by the agents",
                    "The same by instrumented agents; what is missing here has no guard.",
                    each(
                        increase, "runguard.trips", "signature", "$__rate_interval", exemplar=True
                    ),
                    width=12,
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
                    "Loops that last",
                    "Loops on the server at each moment, by signature.",
                    each(now, "runguard.guards.open", "signature", vantage="server"),
                    width=6,
                    decimals=0,
                ),
                lines(
                    "Webhooks",
                    "Webhooks per second, by what became of them.",
                    each(rate, "runguard.server.webhooks", "webhook"),
                    width=6,
                    unit="eps",
                ),
                lines(
                    "Interventions",
                    "What `--act` did on the server per interval, and how it ended.",
                    each(increase, "runguard.server.acts", "action act", "$__rate_interval"),
                    width=6,
                    bars=True,
                    stacked=True,
                    decimals=0,
                ),
                lines(
                    "Watchers",
                    "Processes of `runguard-otel watch`, by which of them reports and may act.",
                    each(now, "runguard.server.watchers", "duty"),
                    width=6,
                    decimals=0,
                ),
            ),
        ),
        Row(
            7,
            (
                lines(
                    "Cost per hour",
                    "What people and agents in these rooms cost by the minute, estimated; not what "
                    "agents listen to, think and say.",
                    each(hourly, "runguard.cost.estimated", "component agent", vantage="server"),
                    width=24,
                    unit="currencyUSD",
                    stacked=True,
                ),
            ),
        ),
        how_to_read(
            "`runguard-otel watch` counts here, under its own service. A loop on the left without "
            "one on the right is of an agent without this package. The other dashboards show the "
            "agents' own view only, so nothing is counted twice. Which room it is: the spans of "
            "the trip, or `runguard-otel watch --once`."
        ),
    ),
)
