"""The estimate as one HTML page: self-contained, light and dark, readable on paper."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from html import escape
from string import Template
from typing import Final

from runguard_otel import pages
from runguard_otel.cost.estimate import COMPONENTS, Bill, Estimate, total
from runguard_otel.cost.scenario import Loop, Stack, Traffic

__all__ = ["page", "usd"]

LABELS: Final = {
    "transport": "Transport",
    "agent": "Agent",
    "stt": "Speech to text",
    "llm": "Language model",
    "tts": "Voice",
}
TITLES: Final = {
    "reconnect": "A room reconnect loop",
    "misfire": "A VAD misfire storm",
    "duplicate": "A job dispatched twice",
    "cascade": "A track subscription cascade",
}


def usd(amount: Decimal) -> str:
    """Money for people: cents from a dollar on, more digits below."""
    if amount == 0:
        return "$0"
    if abs(amount) >= 1:
        return f"${amount:,.2f}"
    if abs(amount) >= Decimal("0.01"):
        return f"${amount:.3f}"
    return f"${amount:.5f}"


def page(estimate: Estimate, traffic: Traffic, stack: Stack, loop: Loop, today: date) -> str:
    """The page.

    Args:
        estimate: What to show.
        traffic: Its inputs.
        stack: Its inputs.
        loop: Its inputs.
        today: For the age of the prices.
    """
    call_loop = _plus(estimate.call, estimate.call_extra)
    call_guarded = _plus(estimate.call, estimate.call_guarded)
    affected = traffic.calls * loop.share
    factor = total(call_loop) / total(estimate.call) if total(estimate.call) else Decimal(1)
    filled = Template(pages.fragment("runguard_otel.cost")).substitute(
        title=escape(TITLES[loop.kind]),
        lead=escape(_lead(traffic, loop)),
        extra=usd(estimate.extra),
        saved=usd(estimate.saved),
        left=f"${estimate.extra - estimate.saved:,.2f}",
        factor=f"{factor:.1f}",
        affected=f"{affected:,.0f}",
        call_chart=_bars(
            [
                ("Healthy", estimate.call),
                ("With the loop", call_loop),
                ("With the guard", call_guarded),
            ],
        ),
        month_chart=_bars(
            [
                ("Without the loop", estimate.normal),
                ("With the loop", estimate.loop),
                ("With the guard", estimate.guarded),
            ],
        ),
        legend="".join(
            f'<span class="key"><i class="c-{c}"></i>{LABELS[c]}</span>' for c in COMPONENTS
        ),
        rows=_rows(estimate),
        formulas=_formulas(estimate),
        inputs=_inputs(traffic, stack, loop),
        sources=_sources(estimate, today),
        notes="".join(f"<li>{escape(n)}</li>" for n in estimate.notes),
    )
    return pages.framed(f"{TITLES[loop.kind]}: what it costs", filled)


def _lead(traffic: Traffic, loop: Loop) -> str:
    share = f"{loop.share * 100:f}".rstrip("0").rstrip(".")
    what = {
        "reconnect": f"one reconnect every {60 / loop.per_minute:.3g} s for {loop.minutes:f} min",
        "misfire": f"{loop.events:.3g} answers to noise in {loop.minutes:f} min",
        "duplicate": f"{loop.events:f} more agent(s) in the room for {loop.minutes:f} min",
        "cascade": f"{loop.events:.3g} more speech streams that are never closed",
    }[loop.kind]
    return f"{share} % of {traffic.calls:,.0f} calls a month: {what}."


def _plus(bill: Bill, more: Bill) -> dict[str, Decimal]:
    return {c: bill.get(c, Decimal(0)) + more.get(c, Decimal(0)) for c in COMPONENTS}


def _bars(bills: Sequence[tuple[str, Bill]]) -> str:
    """Stacked bars of boxes: text keeps its size on a phone, which in an SVG it would not."""
    longest = max((total(bill) for _, bill in bills), default=Decimal(0)) or Decimal(1)
    parts = []
    for name, bill in bills:
        amount = total(bill)
        boxes = "".join(
            f'<span class="c-{c}" style="flex-grow:{bill[c] / longest * 1000:.2f}" '
            f'title="{LABELS[c]}: {usd(bill[c])}"></span>'
            for c in COMPONENTS
            if bill.get(c, Decimal(0)) > 0
        )
        parts.append(
            f'<div class="row" style="--part:{amount / longest:.4f}">'
            f'<div class="name">{escape(name)}</div>'
            f'<div class="bar" aria-hidden="true">{boxes}</div>'
            f'<div class="amount">{usd(amount)}</div></div>'
        )
    return "".join(parts)


def _rows(estimate: Estimate) -> str:
    bills = (estimate.normal, estimate.loop, estimate.guarded)
    rows = [
        f'<tr><th><i class="c-{c}"></i>{LABELS[c]}</th>'
        + "".join(f"<td>{usd(bill[c])}</td>" for bill in bills)
        + "</tr>"
        for c in COMPONENTS
    ]
    sums = "".join(f"<td>{usd(total(bill))}</td>" for bill in bills)
    return "".join([*rows, f'<tr class="sum"><th>Total</th>{sums}</tr>'])


def _formulas(estimate: Estimate) -> str:
    return "".join(
        f"<tr><th>{escape(LABELS.get(name, name.capitalize()))}</th>"
        f"<td>{escape(formula).replace(' x ', ' &times; ')}</td></tr>"
        for name, formula in estimate.formulas.items()
    )


def _inputs(traffic: Traffic, stack: Stack, loop: Loop) -> str:
    hosting = "LiveKit Cloud hosts the agents" if stack.cloud_agents else "you host the agents"
    pairs = {
        "Traffic": f"{traffic.calls_per_day:f} calls a day, {traffic.minutes_per_call:f} min each, "
        f"{traffic.days:f} days",
        "A turn": f"{traffic.turns_per_minute:f} a minute, {traffic.prompt_tokens:f} prompt and "
        f"{traffic.output_tokens:f} answer tokens, {traffic.characters:f} characters",
        "Transport": f"{stack.plan.replace('_', '-')}, {hosting}",
        "Models": f"{stack.stt}, {stack.llm}, {stack.tts}",
        "Loop": f"{loop.kind}, {loop.events:.3g} in one call",
    }
    return "".join(f"<tr><th>{n}</th><td>{escape(v)}</td></tr>" for n, v in pairs.items())


def _sources(estimate: Estimate, today: date) -> str:
    return "".join(
        f"<tr{' class=stale' if p.stale(today) else ''}><th>{escape(p.provider)} "
        f"{escape(p.models[0])}</th><td>{escape(rates(p.rates, p.per))}</td>"
        f"<td>{p.day}, {_days(p.age_days(today))} old</td><td>{escape(p.source)}</td></tr>"
        for p in estimate.sources
    )


def _days(number: int) -> str:
    return f"{number} day" if number == 1 else f"{number} days"


def rates(by_meter: dict[str, Decimal] | Bill, per: Decimal) -> str:
    """A row's prices for people: ``0.40 / 1.60 per 1,000,000 input / output tokens``."""
    names = [m.replace("_", " ") for m in by_meter]
    amounts = " / ".join(f"{a.normalize():f}" for a in by_meter.values())
    return f"{amounts} per {per:,f} {' / '.join(names)}"
