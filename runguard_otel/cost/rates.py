"""How usage becomes money: meters, rounding and the charge of one use. Decimal only.

A provider meters in one of four ways; a row of the price book names the meters it bills, and with
that the group. The other groups of the same usage are not billed (an STT that is paid by the open
second also reports audio and tokens).
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import ROUND_CEILING, Context, Decimal
from typing import Final, NamedTuple

__all__ = [
    "FEMTO",
    "GROUPS",
    "METERS",
    "Charge",
    "Rounding",
    "charge",
    "exact",
    "femtos",
    "group_of",
    "in_dollars",
    "natural_units",
    "plus",
    "whole_rates",
]

GROUPS: Final[dict[str, tuple[str, ...]]] = {
    "token": (
        "input_tokens",
        "cached_input_tokens",
        "cache_write_tokens",
        "output_tokens",
        "input_audio_tokens",
        "cached_audio_tokens",
        "output_audio_tokens",
        "input_image_tokens",
        "cached_image_tokens",
        "unsplit_tokens",  # in a total and in none of its parts; no row has a price for them
    ),
    "character": ("characters",),
    "audio": ("audio_seconds",),
    "open": ("open_seconds",),
    "connection": ("connection_seconds",),
    "gigabyte": ("gigabytes",),
    "request": ("requests",),
}
"""Meters by group. The meters of one group add up; two groups describe the same use twice."""

METERS: Final = tuple(meter for meters in GROUPS.values() for meter in meters)
_GROUP: Final = {meter: group for group, meters in GROUPS.items() for meter in meters}
EACH_TOKEN: Final = dict.fromkeys(GROUPS["token"], 1)
"""In the place of rates in :func:`femtos`, it counts the tokens of a use without a price."""
_UNIT: Final = {
    "token": ("token", Decimal(1)),
    "character": ("character", Decimal(1)),
    "audio": ("second", Decimal(1)),
    "open": ("second", Decimal(1)),
    "connection": ("minute", Decimal(60)),
    "gigabyte": ("gigabyte", Decimal(1)),
    "request": ("request", Decimal(1)),
}
_ZERO: Final = Decimal(0)
FEMTO: Final = 10**15
_MOST: Final = 10**39  # what 40 digits hold
_EXACT: Final = Context(prec=40)
"""A month of tokens at a millionth of a cent each stays exact, whatever context the host has set.

Its methods compute in it without entering it, which would copy it for every use.
"""


def group_of(meter: str) -> str:
    """The group a meter belongs to.

    Raises:
        KeyError: If there is no such meter.
    """
    return _GROUP[meter]


def exact(value: float | int | str | Decimal) -> Decimal:
    """The decimal number a person reads: ``0.1`` is 0.1, not its binary neighbour.

    Raises:
        ValueError: If it is negative, infinite or not a number. Usage is never negative.
    """
    if type(value) is int and value >= 0:  # tokens and characters: exact as they are
        return Decimal(value)
    number = value if isinstance(value, Decimal) else Decimal(str(value))
    if not number.is_finite() or number < 0:
        raise ValueError(f"usage must be a finite number >= 0, got {value!r}")
    return number


class Rounding(NamedTuple):
    """How a single use is rounded up before it is billed, in units of its meter.

    Args:
        increment: Billed in whole steps of this; 0 bills exactly.
        minimum: Billed at least this, even for a use of 0.
    """

    increment: Decimal = Decimal(0)
    minimum: Decimal = Decimal(0)

    def billable(self, quantity: Decimal) -> Decimal:
        """What a use of ``quantity`` is billed as; never less than it."""
        quantity = max(quantity, self.minimum)
        if self.increment:
            steps = _EXACT.divide(quantity, self.increment)
            steps = steps.to_integral_value(rounding=ROUND_CEILING, context=_EXACT)
            quantity = _EXACT.multiply(steps, self.increment)
        return quantity


class Charge(NamedTuple):
    """What one use costs.

    Args:
        amount: In the book's currency.
        unpriced: What could not be priced, by unit (``token``, ``second``, ...).
    """

    amount: Decimal = Decimal(0)
    unpriced: Mapping[str, Decimal] | None = None


def charge(
    rates: Mapping[str, Decimal],
    per: Decimal,
    rounding: Rounding,
    quantities: Mapping[str, float | Decimal],
) -> Charge:
    """Price one use by one row.

    Only the row's groups are billed, and of those every meter that was used must have a rate: a
    row without a price for cached tokens leaves cached tokens unpriced, it does not guess.

    Args:
        rates: Price of ``per`` units, by meter.
        per: How many units a rate buys.
        rounding: Applied to each metered quantity.
        quantities: What was used, by meter.

    Raises:
        ValueError: If a quantity is negative or not a number.
        KeyError: If a meter does not exist.
    """
    amount = _ZERO
    billed = False
    others: dict[str, Decimal] = {}
    for meter, quantity in quantities.items():
        if not (quantity or rounding.minimum):
            continue
        rate = rates.get(meter)
        if rate is None:
            others[meter] = exact(quantity)
            continue
        billed = True
        price = _EXACT.multiply(rounding.billable(exact(quantity)), rate)
        amount = _EXACT.add(amount, _EXACT.divide(price, per))
    missing: dict[str, Decimal] = {}
    if others:
        groups = {group_of(meter) for meter in rates}
        for meter, number in others.items():
            if group_of(meter) in groups:
                billed = True
                _add(missing, meter, number)
    if not billed and "open_seconds" in rates and "open_seconds" in quantities:
        return Charge()  # a reply of a model that tells how long it was open when it closes
    if not billed:  # paid by something this use does not report
        return Charge(_ZERO, natural_units(others) or None)
    return Charge(amount, missing or None)


def whole_rates(
    rates: Mapping[str, Decimal], per: Decimal, rounding: Rounding
) -> dict[str, int] | None:
    """The rates in whole :data:`FEMTO` of a dollar for one unit, where they are whole.

    Args:
        rates: Price of ``per`` units, by meter.
        per: How many units a rate buys.
        rounding: How a use is rounded.

    Returns:
        ``None`` if a rate is not whole, or a use is rounded: then only :func:`charge` is exact.
    """
    if rounding.increment or rounding.minimum:
        return None
    found = {}
    for meter, rate in rates.items():
        units = _EXACT.divide(_EXACT.multiply(rate, Decimal(FEMTO)), per)
        if units != int(units):
            return None
        found[meter] = int(units)
    return found


def femtos(units: Mapping[str, int], quantities: Mapping[str, float | Decimal]) -> int:
    """:func:`charge` for whole rates and whole quantities: tokens, characters, requests.

    Args:
        units: From :func:`whole_rates`.
        quantities: What was used, by meter.

    Returns:
        The amount of :func:`charge` in :data:`FEMTO` of a dollar; 0 if that one has to say (a
        fraction, a meter without a rate, a use of nothing, a number that cannot be).
    """
    amount = 0
    for meter, quantity in quantities.items():
        # No subclass, and no text: times a rate it is a text of that length.
        if type(quantity) is not int or quantity < 0 or meter not in units:
            return 0
        amount += quantity * units[meter]
    return amount if amount < _MOST else 0


def in_dollars(amount: int) -> Decimal:
    """Whole :data:`FEMTO` of a dollar as dollars, to the last digit."""
    return Decimal(amount).scaleb(-15, _EXACT)


def plus(one: Decimal | int, other: Decimal | int) -> Decimal:
    """The sum, whatever context the host has set."""
    return _EXACT.add(one, other)


def natural_units(quantities: Mapping[str, float | Decimal]) -> dict[str, Decimal]:
    """A use without a price, in the unit it is most likely paid by: one group, never two.

    Raises:
        ValueError: If a quantity is negative or not a number.
        KeyError: If a meter does not exist.
    """
    sums: dict[str, Decimal] = {}
    for meter, quantity in quantities.items():
        if quantity:
            group, number = _GROUP[meter], exact(quantity)
            sums[group] = _EXACT.add(sums[group], number) if group in sums else number
    for group in GROUPS if len(sums) > 1 else sums:
        if group in sums:
            unit, size = _UNIT[group]
            return {unit: _EXACT.divide(sums[group], size)}
    return {}


def _add(into: dict[str, Decimal], meter: str, quantity: Decimal) -> None:
    unit, size = _UNIT[group_of(meter)]
    into[unit] = _EXACT.add(into.get(unit, _ZERO), _EXACT.divide(quantity, size))
