"""What a guard stopped, in money: one conservative formula per guard.

The same formulas price what was only observed (waste), so that a team sees before it turns enforce
on what enforce would save. Worked through by hand in ``docs/cost.md``.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple

from runguard_otel.cost.ledger import Turn
from runguard_otel.cost.meter import Meter
from runguard_otel.cost.price import Price

__all__ = ["Saving", "Shadow", "one_connection", "one_turn"]

# Two results closer than this may belong to one user turn, which is answered once: LiveKit ends a
# turn after at most `max_endpointing_delay`, 3 s by default.
TURN_SECONDS = 3.0

# An empty transcript reaches the LLM only by way of preemptive generation or a manual commit; which
# of them would have happened cannot be known, so it saves nothing here.
ANSWERED = ("vad_misfire:low_confidence", "vad_misfire:echo")


class Saving(NamedTuple):
    """An amount per component, and the inputs it was made of, for the trip."""

    amounts: dict[str, Decimal]
    inputs: dict[str, str]


def one_turn(turn: Turn) -> Saving:
    """A suppressed result: one average agent turn of this very session, zero before its first."""
    return Saving(
        {"llm": turn.llm, "tts": turn.tts},
        {
            "formula": "average turn of this session",
            "turns": str(turn.turns),
            "turn_llm": f"{turn.llm:.8f}",
            "turn_tts": f"{turn.tts:.8f}",
        },
    )


def one_connection(meter: Meter) -> Saving:
    """A refused connect or a refused duplicate job: the least that joining a room costs.

    On LiveKit Cloud one started minute each of transport and, if it hosts the agent, of agent
    session. How long the connection or the job would have lasted is unknown: it counts nothing.
    """
    amounts: dict[str, Decimal] = {}
    for component, provider, model in meter.connection_parts():
        price = meter.find(component, provider, model)
        if price is not None:
            amounts[component] = price.charge({"connection_seconds": 0}).amount
    return Saving(
        amounts,
        {
            "formula": "the least one connection is billed",
            **{f"connection_{c}": f"{a:.8f}" for c, a in amounts.items()},
        },
    )


@dataclass
class Shadow:
    """A reused stream: the second socket that was not opened, while it would have been idle.

    It costs its open seconds (nothing where audio is metered: an idle socket carries none), from
    the reuse until the shared stream ends, the guard closes, or its window has passed without
    another event, whichever is first.

    Args:
        price: The row of the shared stream.
        since: When it was reused, monotonic seconds.
        until: When the guard will have closed by itself.
    """

    price: Price
    since: float
    until: float
    billed: Decimal = Decimal(0)

    def settle(self, now: float) -> Decimal:
        """What has been saved since the last call."""
        seconds = Decimal(str(max(0.0, min(now, self.until) - self.since)))
        amount = self.price.charge({"open_seconds": seconds}).amount
        delta, self.billed = amount - self.billed, max(self.billed, amount)
        return max(delta, Decimal(0))
