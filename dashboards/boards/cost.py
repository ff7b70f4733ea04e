"""What it costs, what loops cost, what guards saved."""

from __future__ import annotations

from typing import Any

from dashboards.boards.parts import each, how_to_read, lines, number
from dashboards.model import Board, Kind, Panel, Row, Target
from dashboards.queries import hourly, increase, label, owner, ratio

__all__ = ["BOARD"]

_USD = "currencyUSD"
_ALL, _WASTED, _AVOIDED = "runguard.cost.estimated", "runguard.cost.wasted", "runguard.cost.avoided"
_UNPRICED = "runguard.cost.unpriced"
_MODEL = "component provider model"
_OWNER, _WHAT = (
    tuple((label(name), name.capitalize()) for name in names.split())
    for names in (owner(_ALL), _MODEL)
)


def _total(title: str, description: str, expr: str, **more: Any) -> Panel:
    return number(title, description, expr, width=6, **{"unit": _USD, **more})


BOARD = Board(
    "runguard-cost",
    "Runguard / Cost",
    "Estimated cost of everything used, of loops, and of what guards stopped.",
    (
        Row(
            4,
            (
                _total(
                    "Estimated", "Estimated cost of everything used in the range.", increase(_ALL)
                ),
                _total(
                    "Wasted",
                    "The part of the estimated cost that was caused by loops left running.",
                    increase(_WASTED),
                    warn=0.01,
                    bad=10,
                ),
                _total(
                    "Avoided",
                    "Cost that guards demonstrably stopped, beyond the estimated cost.",
                    increase(_AVOIDED),
                ),
                _total(
                    "Waste, share of the bill",
                    "Wasted dollars as a share of all dollars in the range shown.",
                    ratio(increase(_WASTED), increase(_ALL)),
                    unit="percentunit",
                    zero=False,
                    warn=0.02,
                    bad=0.1,
                ),
            ),
        ),
        Row(
            8,
            (
                lines(
                    "Cost per hour by component",
                    "Where the money goes at each moment: transport, agent, STT, LLM, TTS.",
                    each(hourly, _ALL, "component"),
                    unit=_USD,
                    stacked=True,
                ),
                lines(
                    "Waste per hour by guard",
                    "What each kind of loop costs at each moment because nothing stops it.",
                    each(hourly, _WASTED, "guard"),
                    unit=_USD,
                    stacked=True,
                ),
            ),
        ),
        Row(
            8,
            (
                lines(
                    "Avoided per hour by guard",
                    "What each guard saves at each moment.",
                    each(hourly, _AVOIDED, "guard"),
                    unit=_USD,
                    stacked=True,
                ),
                Panel(
                    Kind.TABLE,
                    "By model",
                    "Estimated dollars in the range shown, by component, provider and model.",
                    unit=_USD,
                    targets=(
                        Target(
                            f"sort_desc({increase(_ALL, owner(_ALL, by=_MODEL))} > 0)",
                            "USD",
                            instant=True,
                            unit=_USD,
                        ),
                    ),
                    columns=(*_OWNER, *_WHAT),
                ),
            ),
        ),
        Row(
            6,
            (
                Panel(
                    Kind.TABLE,
                    "Used without a price",
                    "What no row of the price book covers; every figure above is too low by it.",
                    unit="none",
                    width=24,
                    targets=(
                        Target(
                            f"{increase(_UNPRICED, owner(_UNPRICED, by=f'{_MODEL} unit'))} > 0",
                            "Amount",
                            instant=True,
                            unit="none",
                        ),
                    ),
                    columns=(*_OWNER, *_WHAT, (label("unit"), "Unit")),
                ),
            ),
        ),
        how_to_read(
            "Dollars are estimates: usage times list price, with the provider's rounding. *Wasted* "
            "was spent in loops that a guard saw and did not stop, *avoided* was never spent. "
            "Prices of your contract go into a file named by `RUNGUARD_PRICES`; what has no "
            "price is listed, never counted as zero."
        ),
    ),
)
