"""A storm on a time line: what both runs used, and what the guards saw.

The lines are an SVG that stretches with its box (strokes do not); labels and marks are HTML over
it, so that they keep their size on a telephone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from html import escape
from itertools import zip_longest
from typing import Final

from runguard_otel.demo.runs import ACTED, Run

__all__ = ["chart", "nice_ticks"]

_WIDTH: Final = 1000
_HEIGHT: Final = 300
_ROOM: Final = 1.04  # of the highest value: the line must not touch the frame
_LABEL: Final = 0.2  # of the width: "2 trips" on a telephone
_MEASURES: Final = {
    "cost": "rough cost",
    "connections": "times the agent joined the room",
    "llm_calls": "LLM calls",
    "stt_seconds": "seconds that recogniser streams were open",
}

Point = tuple[float, float]
Scale = Callable[[float], float]


def nice_ticks(top: float, wanted: int = 4) -> list[float]:
    """Round numbers from 0 up to ``top``, about ``wanted`` of them.

    Args:
        top: The highest value shown, > 0.
        wanted: Roughly how many steps.
    """
    raw = top / wanted
    magnitude = 10.0 ** math.floor(math.log10(raw))
    step = next(m * magnitude for m in (1, 2, 2.5, 5, 10) if m * magnitude >= raw * 0.9)
    return [round(step * n, 10) for n in range(int(top / step * 1.0001) + 1)]


def chart(off: Run, on: Run) -> str:
    """The figure of one storm, as HTML."""
    seconds = max(off.seconds, on.seconds, 1.0)
    curves = {run.guards: _curve(run) for run in (off, on)}
    top = max((value for curve in curves.values() for _, value in curve), default=0.0)
    top = (top or 1.0) * _ROOM
    money = off.storm.measure == "cost"

    def x(at: float) -> float:
        return min(at, seconds) / seconds

    def y(value: float) -> float:
        return 1 - value / top

    values = [tick for tick in nice_ticks(top) if money or tick == int(tick)]
    labels = [f"${tick:.2f}" if money else f"{tick:g}" for tick in values]
    grid = "".join(
        f'<i class="grid" style="top:{100 * y(tick):.2f}%"><b>{label}</b></i>'
        for tick, label in zip(values, labels, strict=True)
    )
    axis = "".join(
        f'<span style="left:{100 * x(tick):.2f}%">{tick:g} s</span>'
        for tick in nice_ticks(seconds, 5)
        if x(tick) < 0.97
    )
    lines = _line("off", curves[False], seconds, x, y) + _line("on", curves[True], seconds, x, y)
    return (
        f"<figure><figcaption>{_MEASURES[off.storm.measure]}</figcaption>"
        f'<div class="plot" role="img" aria-label="{_summary(off, on, curves)}">{grid}'
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" preserveAspectRatio="none" aria-hidden="true">'
        f"{lines}</svg>{_trips(on, x)}</div>"
        f'<div class="lane" aria-hidden="true">{_marks(on, x)}</div>'
        f'<div class="axis" aria-hidden="true">{axis}</div></figure>'
    )


def _trips(on: Run, x: Scale) -> str:
    """A line per trip; those so close that their labels would overlap share the last one's."""
    drawn, together = "", 0
    trips = sorted(on.trips, key=lambda trip: float(trip["at"]))
    for trip, after in zip_longest(trips, trips[1:]):
        together += 1
        label = ""
        if after is None or x(after["at"]) - x(trip["at"]) > _LABEL:
            label = f"<b>{'trip' if together == 1 else f'{together} trips'}</b>"
            together = 0
        drawn += (
            f'<i class="trip" style="left:{100 * x(trip["at"]):.2f}%"'
            f' title="{escape(trip["explanation"])}">{label}</i>'
        )
    return drawn


def _line(name: str, curve: Sequence[Point], seconds: float, x: Scale, y: Scale) -> str:
    """A step line: what had been used at each moment."""
    if not curve:
        return ""
    path, last = f"M{0:.1f} {_HEIGHT * y(0):.1f}", 0.0
    for at, value in [*curve, (seconds, curve[-1][1])]:
        path += f"L{_WIDTH * x(at):.1f} {_HEIGHT * y(last):.1f}"
        path += f"L{_WIDTH * x(at):.1f} {_HEIGHT * y(value):.1f}"
        last = value
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


def _curve(run: Run) -> list[Point]:
    measure = run.storm.measure
    return [
        (at, float(used.cost if measure == "cost" else getattr(used, measure)))
        for at, used in run.curve
    ]


def _summary(off: Run, on: Run, curves: dict[bool, list[Point]]) -> str:
    last = {guards: curve[-1][1] if curve else 0.0 for guards, curve in curves.items()}
    return escape(
        f"{_MEASURES[off.storm.measure]} over {max(off.seconds, on.seconds):.0f} seconds: "
        f"{last[False]:g} with guards off, {last[True]:g} with guards on."
    )
