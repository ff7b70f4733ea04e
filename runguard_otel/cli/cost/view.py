"""An estimate as a table for people and as data for programs."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from runguard_otel.cost.estimate import COMPONENTS, Estimate, total
from runguard_otel.cost.page import usd
from runguard_otel.cost.scenario import Loop, Stack, Traffic

__all__ = ["as_data", "show"]


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
