"""What the estimator is asked: ordinary traffic, the stack that is paid, and the loop."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from runguard_otel.errors import RunGuardError

__all__ = ["EstimateError", "Loop", "Stack", "Traffic"]


class EstimateError(RunGuardError, ValueError):
    """An input of the estimate cannot be used; the message says which, and what can."""


@dataclass(frozen=True)
class Traffic:
    """What is ordinary.

    Args:
        calls_per_day: Calls, by one human with one agent.
        minutes_per_call: Length of a call.
        days: Days of the month.
        turns_per_minute: Agent turns.
        prompt_tokens: Prompt of one turn, history included.
        output_tokens: Answer of one turn.
        characters: Characters spoken in one turn.
    """

    calls_per_day: Decimal = Decimal(100)
    minutes_per_call: Decimal = Decimal(6)
    days: Decimal = Decimal(30)
    turns_per_minute: Decimal = Decimal(4)
    prompt_tokens: Decimal = Decimal(1500)
    output_tokens: Decimal = Decimal(40)
    characters: Decimal = Decimal(75)

    @property
    def calls(self) -> Decimal:
        """Calls in the month."""
        return self.calls_per_day * self.days


@dataclass(frozen=True)
class Stack:
    """Who is paid.

    Args:
        plan: ``ship``, ``scale`` or ``self_hosted``.
        cloud_agents: Whether LiveKit Cloud hosts the agent.
        stt: ``provider/model``.
        llm: ``provider/model``.
        tts: ``provider/model``.
        kbps: For self-hosting: what the server sends for one call, both directions, kbit/s.
    """

    plan: str = "ship"
    cloud_agents: bool = True
    stt: str = "deepgram/nova-3"
    llm: str = "openai/gpt-4.1-mini"
    tts: str = "cartesia/sonic-3"
    kbps: Decimal = Decimal(80)


@dataclass(frozen=True)
class Loop:
    """What goes wrong.

    Args:
        kind: A key of :data:`LOOPS`.
        per_minute: How often, while it lasts: reconnects, fillers, extra jobs at once (for
            ``duplicate``) or republished tracks.
        minutes: For how long, in one call.
        share: Which share of all calls it happens to, 0 to 1.
        filler_characters: Length of the apology a misfire makes the agent say.
        open_minutes: For ``cascade``: how long an unclosed stream stays open; 180 is
            when AssemblyAI closes a socket itself.
    """

    kind: str
    per_minute: Decimal
    minutes: Decimal
    share: Decimal = Decimal("0.01")
    filler_characters: Decimal = Decimal(30)
    open_minutes: Decimal = Decimal(180)

    @property
    def events(self) -> Decimal:
        """How many, in one call; for ``duplicate`` it is the number of extra jobs."""
        return self.per_minute if self.kind == "duplicate" else self.per_minute * self.minutes
