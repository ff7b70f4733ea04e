"""The demonstration as lines of text, for logs and pipes."""

from __future__ import annotations

from collections.abc import Callable

from runguard_otel.demo.runs import Plan, Run
from runguard_otel.demo.scene import PHASES
from runguard_otel.demo.verdict import explain
from runguard_otel.demo.wire import Event

__all__ = ["PlainView"]

_SHOWN = ("ready", "input", "signature", "trip", "done", "failed")


class PlainView:
    """Writes a line per event; with guards off only the beginning and the end.

    Args:
        plan: What is played.
        write: Takes one line.
        side_by_side: How many runs play at a time.
    """

    def __init__(
        self, plan: Plan, write: Callable[[str], None] = print, side_by_side: int = 6
    ) -> None:
        self._plan = plan
        self._side_by_side = side_by_side
        self._write = write

    def __call__(self, run: Run, event: Event) -> None:
        """Hear one event."""
        if event.kind not in _SHOWN or (event.kind in ("input", "signature") and not run.guards):
            return
        self._write(f"{event.at:6.1f} s  {run.name:<13}  {self._words(run, event)}")

    def _words(self, run: Run, event: Event) -> str:
        if event.kind == "ready":
            return f"begins. {run.storm.story}"
        if event.kind == "signature":
            return f"  {event.data['signature']}: {event.data['outcome']}"
        if event.kind == "trip":
            return f"TRIP {event.data['guard']}: {explain(run.trips[-1])}"
        if event.kind == "done":
            left = self._plan.seconds_left(PHASES, self._side_by_side)
            then = f"; about {left:.0f} s left" if left else ""
            return f"ends after {event.at:.1f} s, ${run.used.cost:.4f}{then}"
        return f"  {event.text}" if event.kind == "input" else event.text
