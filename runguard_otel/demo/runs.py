"""What is known of each run, kept up to date by its events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from runguard_otel.demo.scene import Storm
from runguard_otel.demo.usage import Used
from runguard_otel.demo.wire import Event

__all__ = ["Plan", "Run"]

ACTED = ("suppressed", "refused", "reused")


@dataclass
class Run:
    """One storm with the guards off or on.

    Args:
        storm: Which storm.
        guards: Whether the guards are on.
        state: ``waits``, ``boots``, ``running``, ``done`` or ``failed``.
        error: Why it failed, in one line.
        log: Where its log was kept, if it failed.
    """

    storm: Storm
    guards: bool
    state: str = "waits"
    error: str = ""
    log: Path | None = None
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

    @property
    def over(self) -> bool:
        """Whether it has ended, well or not."""
        return self.state in ("done", "failed")

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


class Plan:
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

    @property
    def whole(self) -> bool:
        """Whether every run came to its end: only then do sums say anything."""
        return all(run.finished and not run.error for run in self.runs)

    def seconds_left(self, phases: Sequence[Sequence[str]], side_by_side: int = 6) -> float:
        """About how long it will still take, by what each storm takes on an idle machine.

        Args:
            phases: What is played one after the other.
            side_by_side: How many runs play at a time.
        """
        left = 0.0
        for phase in phases:
            runs = [run for run in self.runs if run.storm.name in phase and not run.over]
            rest = sorted((max(1.0, run.storm.seconds - run.seconds) for run in runs), reverse=True)
            left += sum(rest[::side_by_side])  # each group takes as long as its longest
        return left

    def cost(self, guards: bool) -> Decimal:
        """USD of all runs without, or with, guards so far."""
        return sum((r.used.cost for r in self.runs if r.guards is guards), Decimal(0))
