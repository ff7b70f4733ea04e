"""What it costs: prices with a source, the running bill of a session, and what guards saved.

Money is ``Decimal`` everywhere in here; it becomes a float only where a metric takes it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runguard_otel.cost.ledger import SessionCost
    from runguard_otel.cost.meter import Meter

__all__ = ["current_session_cost", "use_meter"]

_meter: Meter | None = None


def current_session_cost() -> SessionCost:
    """What the session this code runs in has cost so far, by component.

    Call it from anywhere inside a job: an agent, a tool, an ``on_trip`` callback. An estimate from
    list prices; what could not be priced is in ``unpriced``. All zero before ``instrument()``.
    """
    from runguard_otel.cost.ledger import SessionCost

    return _meter.session_cost() if _meter is not None else SessionCost()


def use_meter(meter: Meter | None) -> None:
    """Set by the composition root: the meter :func:`current_session_cost` asks."""
    global _meter
    _meter = meter
