"""A Recorder that remembers what adapters reported."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from runguard_otel.core.ports import AttributeValue, Count
from runguard_otel.core.verdict import Outcome, Subject, Trip
from runguard_otel.telemetry.catalogue import METRICS, Kind


@dataclass
class Event:
    signature: str
    outcome: Outcome
    subject: Subject
    attributes: dict[str, AttributeValue]


@dataclass
class MemoryRecorder:
    """Implements ``core.ports.Recorder``; internal errors fail the test unless ``tolerant``."""

    tolerant: bool = False
    events: list[Event] = field(default_factory=list)
    trips: list[Trip] = field(default_factory=list)
    counts: Counter[tuple[str, tuple[tuple[str, str], ...]]] = field(default_factory=Counter)
    values: list[tuple[str, float, dict[str, str]]] = field(default_factory=list)
    errors: list[tuple[str, BaseException | None]] = field(default_factory=list)
    open_guards: Counter[str] = field(default_factory=Counter)

    def event(
        self,
        signature: str,
        outcome: Outcome,
        subject: Subject,
        *,
        attributes: Mapping[str, AttributeValue] | None = None,
        context: object | None = None,
    ) -> None:
        self.events.append(Event(signature, outcome, subject, dict(attributes or {})))

    def trip(self, trip: Trip, *, context: object | None = None) -> None:
        self.trips.append(trip)

    def guard_opened(self, guard: str, signature: str = "", mode: str = "") -> None:
        self.open_guards[str(guard)] += 1

    def guard_closed(self, guard: str, signature: str = "", mode: str = "") -> None:
        self.open_guards[str(guard)] -= 1

    def add(self, metric: str, amount: float = 1, /, **attributes: str) -> None:
        key = (metric, tuple(sorted(attributes.items())))
        self.counts[key] += amount  # type: ignore[assignment]

    def observe(self, metric: str, value: float, /, **attributes: str) -> None:
        self.values.append((metric, value, attributes))

    def bind(self, metric: str, /, **attributes: str) -> Count:
        of_values = METRICS[metric].kind is Kind.HISTOGRAM
        measure = self.observe if of_values else self.add
        return lambda amount: measure(metric, amount, **attributes)

    def internal_error(self, where: str) -> None:
        error = sys.exc_info()[1]
        self.errors.append((where, error))
        if not self.tolerant and error is not None:
            raise AssertionError(f"internal error in {where}: {error!r}") from error

    def signatures(self) -> list[tuple[str, str]]:
        return [(e.signature, str(e.outcome)) for e in self.events]

    def count(self, metric: str, **attributes: str) -> float:
        wanted = set(attributes.items())
        return sum(n for (m, a), n in self.counts.items() if m == metric and wanted <= set(a))
