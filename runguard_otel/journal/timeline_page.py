"""A timeline as a page: light and dark, on a screen and on a telephone."""

from __future__ import annotations

from datetime import datetime, timezone
from html import escape
from string import Template
from typing import Final

from runguard_otel import pages
from runguard_otel.journal.timeline import (
    Lane,
    Span,
    TimedTrip,
    Timeline,
    clock_time,
    cost_so_far,
    usd,
)

__all__ = ["page"]

_TICKS: Final = 8
_STEPS: Final = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600)
"""Seconds from one time of the axis to the next."""
_ROW_PIXELS: Final = 20
_MOST_MARKS: Final = 2000


def page(call: Timeline) -> str:
    """The page of one call."""
    seconds = call.seconds or 1.0
    header = call.history.header
    began = datetime.fromtimestamp(call.history.wall(header["t"]), timezone.utc)
    ended = f"the job's process ended: {call.ended}" if call.ended else "no end is recorded"
    lead = [
        header.get("agent") or "an agent without a name",
        f"{began:%Y-%m-%d %H:%M:%S} UTC",
        ended,
    ]
    if not call.history.whole:
        lead.append("its beginning is not kept any more")
    if call.history.torn:
        lead.append(f"{call.history.torn} lines could not be read")
    figures = (
        (clock_time(call.seconds), "long"),
        (str(len(call.trips)), "trips"),
        (usd(call.money.total), "estimated cost"),
        (usd(sum(call.money.avoided.values())), "saved by guards"),
        (usd(sum(call.money.wasted.values())), "wasted while guards observed"),
    )
    filled = Template(pages.fragment("runguard_otel.journal")).substitute(
        job=escape(call.history.job),
        lead=escape("; ".join(lead)),
        sum="".join(f"<div><b>{value}</b><span>{name}</span></div>" for value, name in figures),
        lanes="".join(_lane(lane, seconds) for lane in call.lanes),
        money=_money(call, seconds),
        axis=_axis(seconds),
        trips="".join(map(_trip, call.trips)) or '<p class="soft">Nothing tripped.</p>',
        acted=_table(call.acted.items())
        or '<p class="soft">Nothing: every event went through.</p>',
        bill=_bill(call),
    )
    return pages.framed(f"{call.history.job}: timeline", filled)


def _lane(lane: Lane, seconds: float) -> str:
    if lane.name == "guards open":
        return _guards(lane, seconds)
    parts = [
        f'<s class="{span.style}" style="{_place(span, seconds)}" title="{_until(span)}"></s>'
        for span in lane.spans[:_MOST_MARKS]
    ]
    parts += [
        f'<i class="{mark.style}" style="left:{_share(mark.at, seconds)}" '
        f'title="{_when(mark.at, mark.says)}"></i>'
        for mark in lane.marks[:_MOST_MARKS]
    ]
    over = len(lane.spans) + len(lane.marks) - len(parts)
    name = f"{lane.name} (+{over})" if over else lane.name
    return f'<div class="lane"><span>{name}</span><div>{"".join(parts)}</div></div>\n'


def _guards(lane: Lane, seconds: float) -> str:
    """A row for each, with its name: a telephone shows no title."""
    rows = {says: n for n, says in enumerate(dict.fromkeys(span.says for span in lane.spans))}
    parts, named = [], set[str]()
    for span in lane.spans[:_MOST_MARKS]:
        top = f"top:{4 + _ROW_PIXELS * rows[span.says]}px"
        parts.append(
            f'<s class="bad open" style="{_place(span, seconds)};{top}" title="{_until(span)}"></s>'
        )
        if span.says not in named:
            named.add(span.says)
            late = span.start > seconds / 2  # its name then ends where the bar does
            where = f"right:{_share(seconds - span.end, seconds)}" if late else _left(span, seconds)
            parts.append(f'<b style="{where};{top}">{escape(span.says)}</b>')
    over = len(lane.spans) - _MOST_MARKS
    name = f"{lane.name} (+{over})" if over > 0 else lane.name
    high = 8 + _ROW_PIXELS * len(rows)
    return (
        f'<div class="lane"><span>{name}</span>'
        f'<div style="height:{high}px">{"".join(parts)}</div></div>\n'
    )


def _money(call: Timeline, seconds: float) -> str:
    """The bill as it grew; a step per booking, and level to the end."""
    money, top = call.money, call.money.total
    if not top:
        return '<em style="top:35px">nothing was priced</em>'
    path, before = ["M0 100"], 0.0
    for at, total in zip(money.times, money.sums, strict=True):
        x = 1000 * max(at, 0.0) / seconds
        path.append(f"L{x:.1f} {100 - 96 * before / top:.2f}L{x:.1f} {100 - 96 * total / top:.2f}")
        before = total
    path.append(f"L1000 {100 - 96 * before / top:.2f}")
    return (
        '<svg viewBox="0 0 1000 100" preserveAspectRatio="none" role="img" '
        f'aria-label="cost over time, up to {usd(top)}"><path d="{"".join(path)}"/></svg>'
        f'<em style="left:0;top:-2px">{usd(top)}</em>'
    )


def _axis(seconds: float) -> str:
    """Round times, and how long it all was at the end."""
    step = next((step for step in _STEPS if seconds / step <= _TICKS), seconds / _TICKS)
    most = int(seconds / step)
    ticks = [n * step for n in range(most + 1) if seconds - n * step >= step / 2 or not n]
    return "".join(
        f'<em style="left:{_share(at, seconds)}">{clock_time(at)}</em>' for at in (*ticks, seconds)
    )


def _trip(timed: TimedTrip) -> str:
    trip = timed.trip
    evidence = "".join(
        f'<tr><td class="n">{one.seconds_before:.1f} s before</td><td>{escape(one.signature)}</td>'
        f"<td>{escape(one.detail)}</td></tr>"
        for one in trip.evidence
    )
    spent = cost_so_far(trip)
    cost = f" The call had cost {spent}." if spent else ""
    return (
        f'<div class="tripped"><p><strong>{clock_time(timed.at)}</strong> '
        f"{escape(trip.explain())}.{cost}</p>"
        f'<div class="scroll"><table>{evidence}</table></div></div>'
    )


def _bill(call: Timeline) -> str:
    money = call.money
    rows = [(name, usd(amount)) for name, amount in money.by_component.most_common()]
    rows += [(f"saved: {guard}", usd(amount)) for guard, amount in money.avoided.items()]
    rows += [(f"wasted: {guard}", usd(amount)) for guard, amount in money.wasted.items()]
    rows += [(f"no price: {what}", f"{amount:g}") for what, amount in money.unpriced.items()]
    return _table(rows) or '<p class="soft">Nothing was used that has a price.</p>'


def _table(rows: object) -> str:
    body = "".join(
        f'<tr><th scope="row">{escape(str(name))}</th><td class="n">{escape(str(value))}</td></tr>'
        for name, value in rows  # type: ignore[attr-defined]
    )
    return f'<div class="scroll"><table>{body}</table></div>' if body else ""


def _left(span: Span, seconds: float) -> str:
    return f"left:{_share(span.start, seconds)}"


def _place(span: Span, seconds: float) -> str:
    return f"{_left(span, seconds)};width:{_share(span.end - span.start, seconds)}"


def _until(span: Span) -> str:
    return f"{_when(span.start, span.says)} until {clock_time(span.end)}"


def _share(part: float, whole: float) -> str:
    return f"{100 * part / whole:.3f}%"


def _when(at: float, says: str) -> str:
    return escape(f"{clock_time(at)} {says}")
