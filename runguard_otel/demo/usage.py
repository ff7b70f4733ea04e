"""What a run used, and what that costs at list prices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final

from runguard_otel.cost.price import Price
from runguard_otel.cost.pricebook import PriceBook

__all__ = ["PRICED_AS", "Used", "price_notes"]

PLAN: Final = "ship"
_METERED: Final = (
    "connection_seconds",
    "open_seconds",
    "input_tokens",
    "output_tokens",
    "characters",
)
_SPANS: Final = {60: "minute", 3600: "hour"}
PRICED_AS: Final[Mapping[str, tuple[str, str]]] = {
    # component: provider and model whose list price stands for it
    "transport": ("livekit-cloud", "participant"),
    "agent": ("livekit-cloud", "agent-session"),
    "stt": ("assemblyai", "universal-streaming-english"),
    "llm": ("openai", "gpt-4.1-mini"),
    "tts": ("cartesia", "sonic-3"),
}
"""The demonstration's providers are stand-ins and cost nothing; a team would pay these."""


@dataclass(frozen=True)
class Used:
    """Totals of one run so far.

    Args:
        llm_calls: Requests to the language model.
        llm_input_tokens: Their prompts, in tokens.
        llm_output_tokens: Their answers, in tokens.
        tts_characters: Characters turned into speech.
        stt_sessions: Recogniser streams opened.
        stt_seconds: How long they were open, in seconds, all together.
        connections: Times an agent joined the room; each is billed from one minute up.
        further_minutes: Minutes that these connections began after their first.
        jobs: Agents in the room at once, at the most.
    """

    llm_calls: int = 0
    llm_input_tokens: int = 0
    llm_output_tokens: int = 0
    tts_characters: int = 0
    stt_sessions: int = 0
    stt_seconds: float = 0.0
    connections: int = 0
    further_minutes: int = 0
    jobs: int = 1

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Used:
        """Read what :meth:`as_dict` wrote."""
        return cls(**{f.name: data[f.name] for f in fields(cls) if f.name in data})

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    def __add__(self, other: Used) -> Used:
        mine, theirs = self.as_dict(), other.as_dict()
        return Used(**{name: mine[name] + theirs[name] for name in mine})

    def costs(self) -> dict[str, Decimal]:
        """USD by component, at list prices.

        Every connection is one started minute at least.
        """
        started = self.connections + self.further_minutes
        used: dict[str, list[dict[str, float]]] = {
            "transport": [{"connection_seconds": 1}] * started,
            "agent": [{"connection_seconds": 1}] * started,
            "stt": [{"open_seconds": self.stt_seconds}],
            "llm": [
                {"input_tokens": self.llm_input_tokens, "output_tokens": self.llm_output_tokens}
            ],
            "tts": [{"characters": self.tts_characters}],
        }
        prices = _prices()
        return {
            name: sum((prices[name].charge(one).amount for one in uses), Decimal(0))
            for name, uses in used.items()
        }

    @property
    def cost(self) -> Decimal:
        """USD in all."""
        return sum(self.costs().values(), Decimal(0))


@lru_cache(maxsize=1)
def _prices() -> dict[str, Price]:
    book = PriceBook.load()
    found = {name: book.find(name, *row, PLAN) for name, row in PRICED_AS.items()}
    missing = [name for name, price in found.items() if price is None]
    if missing:
        raise LookupError(f"the price book has no row for {', '.join(missing)}: fix PRICED_AS")
    return {name: price for name, price in found.items() if price is not None}


def price_notes() -> list[str]:
    """Where the prices come from, a line each."""
    lines = []
    for name, price in _prices().items():
        rates = ", ".join(
            f"${_usd(rate)} per {_unit(int(price.per), meter)}"
            for meter, rate in price.rates.items()
            if meter in _METERED
        )
        lines.append(f"{name}: {' '.join(PRICED_AS[name])}, {rates} (as of {price.day})")
    return lines


def _usd(rate: Decimal) -> str:
    """At least cents: ``0.40``, but ``0.0005``."""
    plain = f"{rate.normalize():f}"
    return plain if len(plain.partition(".")[2]) >= 2 else f"{rate:.2f}"


def _unit(per: int, meter: str) -> str:
    """``60``, ``open_seconds`` -> ``open minute``."""
    words = meter.replace("_", " ")
    if per in _SPANS:
        return words.replace("seconds", _SPANS[per])
    return f"{per // 1_000_000} million {words}" if per >= 1_000_000 else f"{per} {words}"
