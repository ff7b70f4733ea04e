"""A Recorder that knows prices: adds what guards saved, or would have, to what they report."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from decimal import Decimal

from runguard_otel.core.keyed import BoundedMap
from runguard_otel.core.ports import AttributeValue, Count, Recorder
from runguard_otel.core.signatures import GuardName, guard_of
from runguard_otel.core.verdict import Clock, Mode, Outcome, Subject, Trip
from runguard_otel.cost.avoided import (
    ANSWERED,
    TURN_SECONDS,
    Saving,
    Shadow,
    one_connection,
    one_turn,
)
from runguard_otel.cost.meter import Meter

__all__ = ["PricedRecorder"]

AVOIDED = "runguard.cost.avoided"
WASTED = "runguard.cost.wasted"
WINDOWS = {  # the defaults of the settings
    GuardName.ROOM_RECONNECT: 60.0,
    GuardName.VAD_MISFIRE: 120.0,
    GuardName.JOB_DISPATCH: 60.0,
    GuardName.TRACK_SUBSCRIBE: 30.0,
    GuardName.SESSION_OVERRUN: 0.0,
}
_EACH_SECOND = "runguard.stt.audio"
"""Counted each second for as long as a stream is open, reused or not."""
STT_RECONNECT = "session_overrun:stt_reconnect"
_ACTED = (Outcome.SUPPRESSED, Outcome.REUSED, Outcome.REFUSED)


@dataclasses.dataclass
class _Watch:
    """What is known of one key of one guard."""

    guard: GuardName
    window: float  # how long the guard stays open without another event, in seconds
    seen: float = float("-inf")  # last observed event that has not been counted
    counted_turn: float = float("-inf")
    open_until: float = float("-inf")  # observe mode: until when the guard would be open
    shadows: list[Shadow] = dataclasses.field(default_factory=list)
    metric: str = AVOIDED


class PricedRecorder:
    """Implements ``core.ports.Recorder`` around another one.

    *Avoided* is counted for events a guard acted on. *Wasted* is counted in observe mode, for
    the events from a trip on until that guard would have closed again: those, and only those, it
    would have stopped.

    Args:
        inner: Gets everything; only ``Trip.cost`` is added.
        meter: Knows prices and the session's bill.
        windows: How long each guard stays open without another event, in seconds; a trip says it
            itself.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        inner: Recorder,
        meter: Meter,
        *,
        windows: Mapping[GuardName, float] | None = None,
        clock: Clock = time.monotonic,
    ) -> None:
        self._inner = inner
        self._meter = meter
        self._clock = clock
        known = {**WINDOWS, **(windows or {})}
        self._watches: BoundedMap[tuple[GuardName, str], _Watch] = BoundedMap(
            lambda key: _Watch(key[0], known[key[0]]), 10_000
        )
        self._shadowed: dict[int, _Watch] = {}
        self._open: dict[str, int] = {}

    def event(
        self,
        signature: str,
        outcome: Outcome,
        subject: Subject,
        *,
        attributes: Mapping[str, AttributeValue] | None = None,
        context: object | None = None,
    ) -> None:
        """See :class:`~runguard_otel.core.ports.Recorder`."""
        self._inner.event(signature, outcome, subject, attributes=attributes, context=context)
        try:
            self._price(signature, outcome, subject)
        except (ArithmeticError, LookupError, ValueError):
            self._inner.internal_error("cost")

    def trip(self, trip: Trip, *, context: object | None = None) -> None:
        """See :class:`~runguard_otel.core.ports.Recorder`."""
        try:
            trip = dataclasses.replace(trip, cost=self._costs(trip))
            if trip.mode is not Mode.ENFORCE:
                self._tripped(trip)
        except (ArithmeticError, LookupError, ValueError):
            self._inner.internal_error("cost")
        self._inner.trip(trip, context=context)

    def guard_opened(self, guard: str, signature: str = "", mode: str = "") -> None:
        """See :class:`~runguard_otel.core.ports.Recorder`."""
        self._open[str(guard)] = self._open.get(str(guard), 0) + 1
        self._inner.guard_opened(guard, signature, mode)

    def guard_closed(self, guard: str, signature: str = "", mode: str = "") -> None:
        """See :class:`~runguard_otel.core.ports.Recorder`."""
        self._inner.guard_closed(guard, signature, mode)
        name = str(guard)
        if name == GuardName.SESSION_OVERRUN and signature != STT_RECONNECT:
            self._meter.waste_over(name)
        self._open[name] = max(0, self._open.get(name, 0) - 1)
        if not self._open[name]:  # the call has no key: only when none is open, all are closed
            self.settle()
            for watch in self._watches:
                if str(watch.guard) == name:
                    watch.open_until = watch.seen = float("-inf")
                    watch.shadows.clear()
                    self._shadowed.pop(id(watch), None)

    def add(self, metric: str, amount: float = 1, /, **attributes: str) -> None:
        """See :class:`~runguard_otel.core.ports.Recorder`."""
        self._inner.add(metric, amount, **attributes)
        if self._shadowed:
            self.settle()

    def settle(self) -> None:
        """Count what reused streams have saved up to now."""
        for watch in list(self._shadowed.values()):
            self._settle(watch, self._clock())

    def observe(self, metric: str, value: float, /, **attributes: str) -> None:
        """See :class:`~runguard_otel.core.ports.Recorder`."""
        self._inner.observe(metric, value, **attributes)

    def bind(self, metric: str, /, **attributes: str) -> Count:
        """See :class:`~runguard_otel.core.ports.Recorder`."""
        bound = self._inner.bind(metric, **attributes)
        if metric != _EACH_SECOND:
            return bound

        def count(amount: float) -> None:
            bound(amount)
            if self._shadowed:
                self.settle()

        return count

    def internal_error(self, where: str) -> None:
        """See :class:`~runguard_otel.core.ports.Recorder`."""
        self._inner.internal_error(where)

    # -- inside ---------------------------------------------------------------------------------

    def _price(self, signature: str, outcome: Outcome, subject: Subject) -> None:
        guard = guard_of(signature)
        if guard is GuardName.SESSION_OVERRUN:
            return  # how long it would have gone on is unknown: it saves nothing here
        if guard is GuardName.JOB_DISPATCH:
            self._price_claim(signature, outcome)
            return
        watch, now = self._watches.get((guard, subject.key)), self._clock()
        self._settle(watch, now)
        if outcome in _ACTED:
            self._count(AVOIDED, guard, signature, watch, now)
        elif outcome is Outcome.OBSERVED:
            if now < watch.open_until:
                watch.open_until = now + watch.window
                self._count(WASTED, guard, signature, watch, now)
            else:
                watch.seen = now

    def _price_claim(self, signature: str, outcome: Outcome) -> None:
        guard = GuardName.JOB_DISPATCH
        if signature == "job_claim:refused" and outcome is Outcome.REFUSED:
            self._add(AVOIDED, guard, one_connection(self._meter))
        elif signature == "job_claim:refused":
            # Observed only: the duplicate goes on, so from here on all it costs is waste.
            self._meter.waste(str(guard))
        elif signature in (
            "job_claim:acquired",
            "job_claim:taken_over",
            "job_claim:passed_on",
        ):
            self._meter.waste_over(str(guard))

    def _tripped(self, trip: Trip) -> None:
        if trip.guard is GuardName.SESSION_OVERRUN:
            if trip.signature != STT_RECONNECT:  # the rest: everything from here on is waste
                self._meter.waste(str(trip.guard))
            return
        watch, now = self._watches.get((trip.guard, trip.key)), self._clock()
        watch.window = trip.window_seconds
        watch.open_until = now + trip.window_seconds
        if now - watch.seen <= 1.0:  # the event that tripped was reported just before the trip
            watch.seen = float("-inf")
            self._count(WASTED, trip.guard, trip.signature, watch, now)

    def _count(
        self, metric: str, guard: GuardName, signature: str, watch: _Watch, now: float
    ) -> None:
        if guard is GuardName.ROOM_RECONNECT:
            self._add(metric, guard, one_connection(self._meter))
        elif guard is GuardName.VAD_MISFIRE:
            if signature in ANSWERED and now - watch.counted_turn >= TURN_SECONDS:
                watch.counted_turn = now
                self._add(metric, guard, one_turn(self._meter.average_turn()))
        else:
            stream = self._meter.open_stream_price()
            for shadow in watch.shadows:
                shadow.until = now + watch.window
            if stream is not None and len(watch.shadows) < 100:
                watch.metric = metric
                watch.shadows.append(Shadow(stream[2], now, now + watch.window))
                self._shadowed[id(watch)] = watch

    def _settle(self, watch: _Watch, now: float) -> None:
        if watch.shadows and self._meter.open_stream_price() is None:
            watch.shadows.clear()  # the shared stream has ended: nothing more is saved
        for shadow in list(watch.shadows):
            self._add(watch.metric, watch.guard, Saving({"stt": shadow.settle(now)}, {}))
            if now >= shadow.until:
                watch.shadows.remove(shadow)
        if not watch.shadows:
            self._shadowed.pop(id(watch), None)

    def _add(self, metric: str, guard: GuardName, saving: Saving) -> None:
        for component, amount in saving.amounts.items():
            if amount > 0:
                self._inner.add(metric, float(amount), guard=str(guard), component=component)

    def _costs(self, trip: Trip) -> dict[str, str]:
        """The session's bill and the inputs of the formula, for the trip's span."""
        bill = self._meter.session_cost()
        costs = {c: _usd(a) for c, a in bill.by_component().items()}
        costs["total"] = _usd(bill.total)
        if trip.guard is GuardName.VAD_MISFIRE:
            costs.update(one_turn(self._meter.average_turn()).inputs)
        elif trip.guard is GuardName.TRACK_SUBSCRIBE:
            stream = self._meter.open_stream_price()
            costs["formula"] = "open seconds of the stream that was not opened"
            if stream is not None:
                rate = stream[2].rates["open_seconds"] / stream[2].per * 60
                costs["stream_minute"] = f"{rate:.8f}"
        elif trip.guard is not GuardName.SESSION_OVERRUN:  # how much more is unknown
            costs.update(one_connection(self._meter).inputs)
        return costs


def _usd(amount: Decimal) -> str:
    return f"{amount:.8f}"
