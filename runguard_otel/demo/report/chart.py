"""A storm on a time line: what both runs cost, and what the guards saw.

The lines are an SVG that stretches with its box (strokes do not); labels and marks are HTML over
it, so that they keep their size on a telephone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from html import escape
from typing import Final

from runguard_otel.demo.runs import ACTED, Run

__all__ = ["chart", "nice_ticks"]

_WIDTH: Final = 1000
_HEIGHT: Final = 300
_LANE_ROOM: Final = 1.04  # of the highest cost: the line must not touch the frame

Point = tuple[float, Decimal]
Scale = Callable[[float], float]


def nice_ticks(top: float, wanted: int = 4) -> list[float]:
    """Round numbers from 0 up to ``top``, about ``wanted`` of them.

    Args:
        top: The highest value shown, > 0.
        wanted: Roughly how many steps.
    """
    raw = top / wanted
    magnitude = 10.0 ** math.floor(math.log10(raw))
    step = next(m * magnitude for m in (1, 2, 2.5, 5, 10) if m * magnitude >= raw * 0.999)
    return [round(step * n, 10) for n in range(int(top / step * 1.0001) + 1)]


def chart(off: Run, on: Run) -> str:
    """The figure of one storm, as HTML."""
    seconds = max(off.seconds, on.seconds, 1.0)
    top = float(max([cost for run in (off, on) for _, cost in run.curve], default=Decimal(1)))
    top = (top or 1.0) * _LANE_ROOM

    def x(at: float) -> float:
        return min(at, seconds) / seconds

    def y(cost: float) -> float:
        return 1 - cost / top

    grid = "".join(
        f'<i class="grid" style="top:{100 * y(tick):.2f}%"><b>${tick:.{_digits(top)}f}</b></i>'
        for tick in nice_ticks(top)
    )
    axis = "".join(
        f'<span style="left:{100 * x(tick):.2f}%">{tick:g} s</span>'
        for tick in nice_ticks(seconds)
        if x(tick) < 0.97
    )
    trips = "".join(
        f'<i class="trip" style="left:{100 * x(trip["at"]):.2f}%"'
        f' title="{escape(trip["explanation"])}"><b>trip</b></i>'
        for trip in on.trips
    )
    lines = _line("off", off.curve, seconds, x, y) + _line("on", on.curve, seconds, x, y)
    return (
        f'<figure><div class="plot" role="img" aria-label="{_summary(off, on)}">{grid}'
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" preserveAspectRatio="none" aria-hidden="true">'
        f"{lines}</svg>{trips}</div>"
        f'<div class="lane" aria-hidden="true">{_marks(on, x)}</div>'
        f'<div class="axis" aria-hidden="true">{axis}</div></figure>'
    )


def _line(name: str, curve: Sequence[Point], seconds: float, x: Scale, y: Scale) -> str:
    """A step line: cost is what had been used at each moment."""
    if not curve:
        return ""
    path, last = f"M{0:.1f} {_HEIGHT * y(0):.1f}", 0.0
    for at, cost in [*curve, (seconds, curve[-1][1])]:
        path += f"L{_WIDTH * x(at):.1f} {_HEIGHT * y(last):.1f}"
        path += f"L{_WIDTH * x(at):.1f} {_HEIGHT * y(float(cost)):.1f}"
        last = float(cost)
    return f'<path class="{name}" d="{path}" vector-effect="non-scaling-stroke"/>'


def _marks(on: Run, x: Scale) -> str:
    """A mark per signature event: hollow where it passed, filled where the guard acted."""
    seen: Iterable[str] = (
        f'<i class="{"acted" if e.data["outcome"] in ACTED else "passed"}"'
        f' style="left:{100 * x(e.at):.2f}%" title="{e.at:.1f} s {escape(e.text)}"></i>'
        for e in on.events
        if e.kind == "signature"
    )
    return "".join(seen)


def _digits(top: float) -> int:
    return 2 if top >= 0.04 else 3


def _summary(off: Run, on: Run) -> str:
    return escape(
        f"Cost over time: guards off ends at ${off.used.cost:.4f}, "
        f"guards on at ${on.used.cost:.4f} after {max(off.seconds, on.seconds):.0f} seconds."
    )
