"""What is known of each run, kept up to date by its events."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from runguard_otel.demo.scene import Storm
from runguard_otel.demo.usage import Used
from runguard_otel.demo.wire import Event

__all__ = ["Programme", "Run"]

ACTED = ("suppressed", "refused", "reused")


@dataclass
class Run:
    """One storm with the guards off or on.

    Args:
        storm: Which storm.
        guards: Whether the guards are on.
        state: ``waits``, ``boots``, ``running``, ``done`` or ``failed``.
    """

    storm: Storm
    guards: bool
    state: str = "waits"
    error: str = ""
    events: list[Event] = field(default_factory=list)
    trips: list[dict[str, Any]] = field(default_factory=list)
    curve: list[tuple[float, Used]] = field(default_factory=list)
    served: tuple[int, int] | None = None
    seconds: float = 0.0
    _totals: dict[int, Used] = field(default_factory=dict)
    _zero: float = 0.0

    @property
    def name(self) -> str:
        """Storm and guards in two words."""
        return f"{self.storm.name} {'on' if self.guards else 'off'}"

    @property
    def used(self) -> Used:
        """Totals of all its processes."""
        return sum(self._totals.values(), Used(jobs=0))

    @property
    def finished(self) -> bool:
        """Whether it came to its end."""
        return self.state == "done"

    def feed(self, event: Event) -> Event:
        """Take in one event; returns it with its time counted from the storm's beginning."""
        if event.kind == "ready":
            self._zero, self.state = event.at, "running"
        at = max(0.0, round(event.at - self._zero, 3))
        event = Event(event.kind, at, event.text, event.data)
        if self.state == "running":
            self.seconds = max(self.seconds, at)
        if event.kind == "used":
            self._totals[event.data["who"]] = Used.of(event.data)
            self.curve.append((at, self.used))
        elif event.kind == "served":
            had = self.served or (0, event.data["of"])
            # Two agents that understand one guest have not understood two guests.
            self.served = (max(had[0], event.data["served"]), event.data["of"])
        elif event.kind == "trip":
            self.trips.append({**event.data, "at": at, "explanation": event.text})
        elif event.kind == "done":
            self.state = "done"
        if event.kind not in ("used", "served"):
            self.events.append(event)
        return event

    def signatures(self) -> dict[tuple[str, str], int]:
        """How often each signature and outcome was seen."""
        counts: dict[tuple[str, str], int] = {}
        for event in self.events:
            if event.kind == "signature":
                key = (event.data["signature"], event.data["outcome"])
                counts[key] = counts.get(key, 0) + 1
        return counts


class Programme:
    """All runs, in the order of the storms.

    Args:
        storms: Which storms are played.
    """

    def __init__(self, storms: tuple[Storm, ...]) -> None:
        self.storms = storms
        self.runs = [Run(storm, guards) for storm in storms for guards in (False, True)]

    def pair(self, storm: Storm) -> tuple[Run, Run]:
        """The runs of a storm without and with guards."""
        off, on = (run for run in self.runs if run.storm is storm)
        return off, on

    def cost(self, guards: bool) -> Decimal:
        """USD of all runs without, or with, guards so far."""
        return sum((r.used.cost for r in self.runs if r.guards is guards), Decimal(0))
