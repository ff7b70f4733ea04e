"""What lasts in the jobs of a worker, priced while it lasts.

A job shows its worker when a connection or a stream began, and how much audio went into it; that
outlives the job's SIGKILL. The amounts are those of the job's own bill, by the same arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple, Protocol

from runguard_otel.core.ports import Recorder
from runguard_otel.cost.meter import Meter, Running

__all__ = ["Booking", "Lasting", "PeriodPricer"]


class Lasting(Protocol):
    """Something that lasts or lasted in a job process.

    Args:
        kind: ``connection``, ``stt_stream`` or ``waste``; others are not priced.
        attributes: The ``job`` it belongs to, and what its price depends on.
        began: When, monotonic seconds.
        amount: Seconds of audio that went into it.
        ended: When; ``None`` while it lasts.
    """

    kind: str
    attributes: dict[str, str]
    began: float
    amount: float
    ended: float | None

    def seconds(self, now: float) -> float:
        """How long it has lasted at ``now``."""


@dataclass(slots=True)
class _Line:
    """One line of a bill, and how much of it is counted."""

    running: Running
    estimated: Decimal = Decimal(0)
    wasted: Decimal = Decimal(0)
    before: Decimal | None = None
    """What it had come to when the waste began."""


class Booking(NamedTuple):
    """What was counted for a job.

    Args:
        job: Its id.
        metric: As in the catalogue.
        amount: In its unit.
        labels: Short attribute names.
    """

    job: str
    metric: str
    amount: float
    labels: Mapping[str, str]


def _nobody(bookings: Sequence[Booking]) -> None:
    pass


class PeriodPricer:
    """Counts ``runguard.cost.*`` of what lasts; a watcher of the hub's periods.

    Args:
        meter: Knows the prices and the plan.
        recorder: Counts.
        booked: Told after each look, of all that it counted, whose it is.
    """

    def __init__(
        self,
        meter: Meter,
        recorder: Recorder,
        booked: Callable[[Sequence[Booking]], None] = _nobody,
    ) -> None:
        self._meter = meter
        self._recorder = recorder
        self._booked = booked
        self._bookings: list[Booking] = []
        self._lines: dict[int, tuple[Lasting, list[_Line]]] = {}
        self._wasting: dict[str, Lasting] = {}

    def __call__(self, periods: Sequence[Lasting], now: float) -> None:
        """Count what has accrued since the last call."""
        for period in periods:
            if period.kind == "waste":
                self._wasting.setdefault(period.attributes.get("job", ""), period)
        for period in periods:
            if period.kind in ("connection", "stt_stream"):
                self._price(period, now)
        for job, waste in list(self._wasting.items()):
            if waste.ended is not None:
                del self._wasting[job]
                for period, lines in self._lines.values():
                    if period.attributes.get("job", "") == job:
                        for line in lines:
                            line.before, line.wasted = None, Decimal(0)
        bookings, self._bookings = self._bookings, []
        self._booked(bookings)

    def _price(self, period: Lasting, now: float) -> None:
        key = id(period)
        if key not in self._lines:
            known = self._meter.lines_of(period.kind, period.attributes)
            self._lines[key] = period, [_Line(running) for running in known]
        waste = self._wasting.get(period.attributes.get("job", ""))
        for line in self._lines[key][1]:
            self._count(line, period, waste, now)
        if period.ended is not None:
            del self._lines[key]

    def _count(self, line: _Line, period: Lasting, waste: Lasting | None, now: float) -> None:
        running = line.running
        amount, unpriced = running.come_to(period.seconds(now), period.amount)
        labels = running.account.labels
        delta, line.estimated = amount - line.estimated, max(amount, line.estimated)
        if delta > 0:
            self._add(period, "runguard.cost.estimated", delta, labels)
        self._count_unpriced(line, period, unpriced, labels)
        if waste is None:
            return
        if line.before is None:
            lasted = max(0.0, waste.began - period.began)
            by_time = running.meter != "audio_seconds"
            line.before = running.come_to(lasted, 0)[0] if by_time else line.estimated - delta
        until = now if waste.ended is None else waste.ended
        wasted = running.come_to(period.seconds(until), period.amount)[0] - line.before
        if wasted > line.wasted:
            guard = waste.attributes.get("guard", "")
            by = {"guard": guard, "component": labels["component"]}
            self._add(period, "runguard.cost.wasted", wasted - line.wasted, by)
            line.wasted = wasted

    def _count_unpriced(
        self,
        line: _Line,
        period: Lasting,
        total: Mapping[str, Decimal],
        labels: Mapping[str, str],
    ) -> None:
        for unit, quantity in total.items():
            delta, line.running.unpriced = quantity - line.running.unpriced, quantity
            if delta > 0:
                self._add(period, "runguard.cost.unpriced", delta, {**labels, "unit": unit})

    def _add(
        self, period: Lasting, metric: str, amount: Decimal, labels: Mapping[str, str]
    ) -> None:
        self._recorder.add(metric, float(amount), **labels)
        job = period.attributes.get("job", "")
        self._bookings.append(Booking(job, metric, float(amount), labels))
