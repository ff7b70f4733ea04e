"""One model on the bill of one session: its price, and the series that count it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from decimal import Decimal
from typing import Final

from runguard_otel.core.ports import Count, Recorder
from runguard_otel.cost.ledger import Ledger
from runguard_otel.cost.pricebook import Model
from runguard_otel.cost.rates import EACH_TOKEN, FEMTO, Charge, femtos, natural_units

__all__ = ["Account"]

logger = logging.getLogger("runguard_otel")

_OF_A_TURN: Final = "llm"
"""Whose requests are counted as turns of the agent."""
_TOKEN: Final = "token"


class Account:
    """Prices what one model is used for, and puts it on the bill.

    Args:
        ledger: The session's bill.
        component: What the model does there.
        model: As the price book knows it.
        recorder: Gets ``runguard.cost.estimated``, ``.unpriced`` and ``.wasted``.
        lock: Of the meter, held while something is put on a bill.
    """

    __slots__ = (
        "_counts",
        "_lock",
        "_recorder",
        "_warned",
        "_whole",
        "component",
        "labels",
        "ledger",
        "model",
    )

    def __init__(
        self,
        ledger: Ledger,
        component: str,
        model: Model,
        recorder: Recorder,
        lock: threading.RLock,
    ) -> None:
        self.ledger = ledger
        self.component = component
        self.model = model
        self.labels = {
            "component": component,
            "provider": model.provider,
            "model": model.name,
        }
        """As metrics carry them."""
        self._recorder = recorder
        self._lock = lock
        self._whole = model.price.whole() if model.price is not None else EACH_TOKEN
        self._warned = False
        self._counts: dict[str, Count] = {}  # by unit; "" is money

    def use(self, quantities: Mapping[str, float], turn: str = "") -> None:
        """Bill one request.

        Args:
            quantities: Amount by meter, not all of them 0. One that cannot be (negative, not a
                number) makes it a request without a price.
            turn: Names the agent's turn it belongs to, where that is known.
        """
        with self._lock:
            whole = femtos(self._whole, quantities) if self._whole else 0
            if not whole:
                self._use_any(quantities, turn)
            elif self.model.price is None:
                self.ledger.add_unpriced(self.component, _TOKEN, whole)
                (self._counts.get(_TOKEN) or self._bind(_TOKEN))(float(whole))
            else:
                self.ledger.add_femtos(self.component, whole)
                self._spent(whole / FEMTO)
                if self.component == _OF_A_TURN:
                    self.ledger.add_turn(turn)

    def charge(self, quantities: Mapping[str, float | Decimal]) -> Charge:
        """What one use costs.

        Args:
            quantities: Amount by meter.

        Raises:
            ValueError: If a quantity is negative or not a number.
            KeyError: If a meter does not exist.
        """
        price = self.model.price
        if price is None:
            return Charge(unpriced=natural_units(quantities))
        return price.charge(quantities)

    def book(self, charge: Charge, *, counted: bool = True) -> None:
        """Put a charge on the bill.

        Args:
            charge: What was charged; of a negative amount, which is a correction, nothing is put.
            counted: Whether it is counted here; where not, the worker does.
        """
        if charge.amount > 0:
            self.ledger.add(self.component, charge.amount)
            if counted:
                self._spent(float(charge.amount))
        if charge.unpriced:
            for unit, quantity in charge.unpriced.items():
                if quantity > 0:
                    self.ledger.add_unpriced(self.component, unit, quantity)
                    if counted:
                        (self._counts.get(unit) or self._bind(unit))(float(quantity))

    def _use_any(self, quantities: Mapping[str, float], turn: str) -> None:
        """A use that is not all whole numbers, each of them with a whole rate."""
        try:
            charge = self.charge(quantities)
        except (ValueError, ArithmeticError):
            self._warn_once(quantities)
            charge = Charge(unpriced={"request": Decimal(1)})
        self.book(charge)
        if charge.amount and self.component == _OF_A_TURN:
            self.ledger.add_turn(turn)

    def _spent(self, amount: float) -> None:
        """Count money. A counter takes floats; nowhere else does money become one."""
        (self._counts.get("") or self._bind(""))(amount)
        wasting = self.ledger.wasting
        if wasting:
            self._recorder.add(
                "runguard.cost.wasted", amount, guard=wasting, component=self.component
            )

    def _warn_once(self, quantities: Mapping[str, float]) -> None:
        if not self._warned:
            self._warned = True
            logger.warning(
                "%s %s reported usage that cannot be: %s; counted as unpriced",
                self.model.provider,
                self.model.name,
                dict(quantities),
            )

    def _bind(self, unit: str) -> Count:
        if unit:
            count = self._recorder.bind("runguard.cost.unpriced", **self.labels, unit=unit)
        else:
            count = self._recorder.bind("runguard.cost.estimated", **self.labels)
        self._counts[unit] = count
        return count
