"""An estimate, and what models cost, as tables for people and as data for programs."""

from __future__ import annotations

import json
import os
from decimal import Decimal
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from runguard_otel.cli.cost.models import Use
from runguard_otel.cost.estimate import COMPONENTS, Estimate, total
from runguard_otel.cost.page import rates, usd
from runguard_otel.cost.price import Price
from runguard_otel.cost.pricebook import PriceBook
from runguard_otel.cost.scenario import Loop, Stack, Traffic

__all__ = ["as_data", "show", "show_uses"]

_NO_ROW = "no row has this model: put what you pay into RUNGUARD_PRICES"


def show(answer: Estimate, traffic: Traffic, loop: Loop) -> None:
    """Print the table, the sentence, the formulas and the notes."""
    table = Table(title="USD a month", title_justify="left")
    table.add_column("")
    for name in ("without the loop", "with the loop", "with the guard"):
        table.add_column(name, justify="right")
    bills = (answer.normal, answer.loop, answer.guarded)
    for component in COMPONENTS:
        table.add_row(component, *(usd(b[component]) for b in bills))
    table.add_section()
    table.add_row("total", *(f"[bold]{usd(total(b))}[/]" for b in bills))
    console = Console()
    console.print(table)
    affected = traffic.calls * loop.share
    console.print(
        f"The loop adds [bold red]{usd(answer.extra)}[/] a month: {affected:,.0f} calls x "
        f"{usd(total(answer.call_extra))} on top of {usd(total(answer.call))} for a healthy call.\n"
        f"The guard stops [bold green]{usd(answer.saved)}[/] of it.\n",
        highlight=False,
    )
    for name, formula in answer.formulas.items():
        console.print(f"[dim]{name:<10} {formula}[/]", highlight=False, soft_wrap=True)
    for note in answer.notes:
        console.print(f"[dim]note: {escape(note)}[/]", highlight=False, soft_wrap=True)


def as_data(answer: Estimate, traffic: Traffic, stack: Stack, loop: Loop) -> dict[str, Any]:
    """Inputs, bills, formulas and sources; amounts as text, so that nothing is rounded."""

    def bill(amounts: Any) -> dict[str, str]:
        named = {c: amounts.get(c, Decimal(0)) for c in COMPONENTS}
        return {c: f"{a:f}" for c, a in {**named, "total": total(named)}.items()}

    return {
        "currency": "USD",
        "inputs": {
            "traffic": {k: str(v) for k, v in vars(traffic).items()},
            "stack": {k: v if isinstance(v, bool) else str(v) for k, v in vars(stack).items()},
            "loop": {k: str(v) for k, v in vars(loop).items()},
        },
        "month": {
            "without_loop": bill(answer.normal),
            "with_loop": bill(answer.loop),
            "with_guard": bill(answer.guarded),
            "loop_adds": f"{answer.extra:f}",
            "guard_stops": f"{answer.saved:f}",
        },
        "call": {
            "healthy": bill(answer.call),
            "loop_adds": bill(answer.call_extra),
            "guard_lets_through": bill(answer.call_guarded),
        },
        "formulas": dict(answer.formulas),
        "sources": [
            {"price": f"{p.provider} {p.models[0]}", "source": p.source, "date": str(p.day)}
            for p in answer.sources
        ],
        "notes": list(answer.notes),
    }


def show_uses(book: PriceBook, uses: list[Use], agent: Path | None, as_json: bool) -> None:
    """Print each model that is used with its price, or why it has none.

    Args:
        book: The prices. Of LiveKit Cloud's plans that of ``RUNGUARD_COST_PLAN`` holds, else Ship.
        uses: The models.
        agent: The file they are named in; ``None``: the installed plugins use them by default.
        as_json: As data.
    """
    plan = os.environ.get("RUNGUARD_COST_PLAN", "") or "ship"
    priced = [(use, _priced(book, use, plan)) for use in uses]
    if as_json:
        print(json.dumps({"plan": plan, "models": [_as_row(*one) for one in priced]}, indent=2))
        return
    console = Console()
    if not priced:
        where = "no plugin of LiveKit is installed" if agent is None else f"{agent} names none"
        console.print(f"Nothing to price: {where}.", highlight=False, markup=False)
        return
    title = "What the installed plugins use by default" if agent is None else f"Models in {agent}"
    table = Table(title=escape(title), title_justify="left")
    for name in ("", "what", "model", "USD", "where" if agent else "release"):
        table.add_column(name, overflow="fold")
    for use, row in priced:
        cost = rates(row.rates, row.per) if row is not None else f"[yellow]unpriced[/]: {_why(use)}"
        model = f"{use.provider} {use.model}".replace("unknown", "?")
        table.add_row(use.component, escape(use.what), escape(model), cost, use.where)
    console.print(table)
    missing = sum(row is None for _, row in priced)
    if missing:
        Console(stderr=True).print(
            f"[yellow]warning[/] {missing} of {len(priced)} have no price: what they use counts in "
            "runguard.cost.unpriced, and in no amount",
            highlight=False,
            soft_wrap=True,
        )


def _priced(book: PriceBook, use: Use, plan: str) -> Price | None:
    return book.find(use.component, use.provider, use.model, plan)


def _why(use: Use) -> str:
    return escape(use.unpriced or _NO_ROW)


def _as_row(use: Use, row: Price | None) -> dict[str, Any]:
    found: dict[str, Any] = {
        "component": use.component,
        "what": use.what,
        "provider": use.provider,
        "model": use.model,
        "where": use.where,
    }
    if row is None:
        return {**found, "unpriced": use.unpriced or _NO_ROW}
    return {
        **found,
        "rates": {meter: str(rate) for meter, rate in row.rates.items()},
        "per": str(row.per),
        "source": row.source,
        "date": row.day.isoformat(),
    }
