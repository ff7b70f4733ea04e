"""The demonstration as lines of text, for logs and pipes."""

from __future__ import annotations

from collections.abc import Callable

from runguard_otel.demo.runs import Programme, Run
from runguard_otel.demo.verdict import explain
from runguard_otel.demo.wire import Event

__all__ = ["PlainView"]

_SHOWN = ("ready", "input", "signature", "trip", "done", "failed")


class PlainView:
    """Writes a line per event; with guards off only the beginning and the end.

    Args:
        programme: What is played.
        write: Takes one line.
    """

    def __init__(self, programme: Programme, write: Callable[[str], None] = print) -> None:
        self._programme = programme
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
            off, on = self._programme.cost(False), self._programme.cost(True)
            return (
                f"ends after {event.at:.1f} s, ${run.used.cost:.4f}; "
                f"so far off ${off:.4f}, on ${on:.4f}"
            )
        return f"  {event.text}" if event.kind == "input" else event.text
