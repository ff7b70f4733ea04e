"""One price: whose, of what, read where and when, and what a use of it costs."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Final, NamedTuple

from runguard_otel.cost.rates import (
    Charge,
    Rounding,
    charge,
    natural_units,
    whole_rates,
)
from runguard_otel.errors import RunGuardError

__all__ = ["OURS", "STALE_DAYS", "Price", "PriceBookError"]

STALE_DAYS: Final = 180
OURS: Final = "built in"
_PROMPT: Final = ("input_tokens", "cached_input_tokens", "cache_write_tokens")


class PriceBookError(RunGuardError, ValueError):
    """A price file cannot be used. The message names the file, the row and what to write."""


class Price(NamedTuple):
    """One row.

    Args:
        component: ``transport``, ``agent``, ``stt``, ``llm`` or ``tts``.
        provider: Our name of the provider, lower case.
        models: Names or shell patterns.
        rates: USD for ``per`` units, by meter.
        source: Where the price was read.
        day: When, or when the source's author verified it.
        plan: Only for this LiveKit Cloud plan; ``""`` for any.
        per: How many units a rate buys.
        rounding: How a single use is rounded.
        max_prompt: Longer requests (in prompt tokens) are not priced by this row; 0: no limit.
        note: What to know about it.
        origin: The file it came from.
    """

    component: str
    provider: str
    models: tuple[str, ...]
    rates: Mapping[str, Decimal]
    source: str
    day: date
    plan: str = ""
    per: Decimal = Decimal(1)
    rounding: Rounding = Rounding()
    max_prompt: int = 0
    note: str = ""
    origin: str = OURS

    def age_days(self, today: date) -> int:
        """Days since the source was read."""
        return (today - self.day).days

    def stale(self, today: date) -> bool:
        """Whether it is time to look at the source again."""
        return self.age_days(today) > STALE_DAYS

    def charge(self, quantities: Mapping[str, float | Decimal]) -> Charge:
        """Price one use.

        Raises:
            ValueError: If a quantity is negative or not a number.
            KeyError: If a meter does not exist.
        """
        if self.max_prompt:
            prompt = sum(q for m, q in quantities.items() if m in _PROMPT)
            if prompt > self.max_prompt:
                return Charge(unpriced=natural_units(quantities))
        return charge(self.rates, self.per, self.rounding, quantities)

    def whole(self) -> dict[str, int] | None:
        """The rates for :func:`~runguard_otel.cost.rates.femtos`, which is quicker.

        Returns:
            ``None`` if only :meth:`charge` can price what this row is for.
        """
        return None if self.max_prompt else whole_rates(self.rates, self.per, self.rounding)
