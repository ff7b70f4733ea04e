"""The recorder adapters report to: one event becomes a span and a count."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from runguard_otel.core.ports import AttributeValue, Count
from runguard_otel.core.verdict import Outcome, Subject, Trip
from runguard_otel.telemetry.callbacks import Callbacks
from runguard_otel.telemetry.catalogue import METRICS
from runguard_otel.telemetry.counts import Counts
from runguard_otel.telemetry.failures import Failures, quiet
from runguard_otel.telemetry.logs import TripLog
from runguard_otel.telemetry.spans import Spans

__all__ = ["Recorder"]

_OF_AN_AGENT = frozenset(name for name, metric in METRICS.items() if "agent" in metric.attributes)


class Recorder:
    """Implements ``core.ports.Recorder``. No method raises, blocks or does I/O in the caller.

    Args:
        counts: Takes the measurements.
        spans: Makes the spans.
        log: Says trips.
        callbacks: Told of trips.
        agent_name: LiveKit's name of the agent that is running here, or ``""``.
        on_refused: Told the job id when the claim of a job was refused.
    """

    def __init__(
        self,
        counts: Counts,
        spans: Spans,
        log: TripLog,
        callbacks: Callbacks,
        agent_name: Callable[[], str],
        on_refused: Callable[[str], None] = lambda job_id: None,
    ) -> None:
        self.counts = counts
        self._given = counts.given
        self._spans = spans
        self._log = log
        self._callbacks = callbacks
        self._agent_name = agent_name
        self._on_refused = on_refused
        self.failures = Failures()

    @quiet
    def event(
        self,
        signature: str,
        outcome: Outcome,
        subject: Subject,
        *,
        attributes: Mapping[str, AttributeValue] | None = None,
        context: object | None = None,
    ) -> None:
        """One signature event: a span and one ``runguard.signatures``."""
        agent = self._agent_name()
        labels = {"signature": signature, "outcome": str(outcome), "agent": agent}
        spanned = context
        try:
            spanned = self._spans.event(signature, outcome, subject, agent, attributes, context)
        finally:  # a broken tracer must not cost the count
            self._count("runguard.signatures", 1, labels, spanned)
        if signature == "job_claim:refused" and outcome is Outcome.REFUSED:
            self._on_refused(subject.job_id)

    @quiet
    def trip(self, trip: Trip, *, context: object | None = None) -> None:
        """One trip: span, count, log record, callbacks, in the same words."""
        agent = self._agent_name()
        labels = {
            "guard": str(trip.guard),
            "signature": trip.signature,
            "mode": str(trip.mode),
            "action": trip.action,
            "agent": agent,
        }
        spanned = context
        try:
            spanned = self._spans.trip(trip, agent, context)
        finally:
            self._count("runguard.trips", 1, labels, spanned)
            self.counts.trip(trip)
            self._callbacks.fire(trip)
        self.counts.sink.hurry()
        self._log.trip(trip, agent, spanned)

    def guard_opened(self, guard: str, signature: str = "", mode: str = "") -> None:
        """``runguard.guards.open`` goes up."""
        by = {"guard": str(guard), "signature": signature, "mode": str(mode)}
        self.add("runguard.guards.open", 1, **by)

    def guard_closed(self, guard: str, signature: str = "", mode: str = "") -> None:
        """``runguard.guards.open`` goes down."""
        by = {"guard": str(guard), "signature": signature, "mode": str(mode)}
        self.add("runguard.guards.open", -1, **by)

    def add(self, metric: str, amount: float = 1, /, **attributes: str) -> None:
        """Add to a counter or up-down counter of the catalogue."""
        try:
            if metric in _OF_AN_AGENT and "agent" not in attributes:
                attributes["agent"] = self._agent_name()
            series = self._given.get((metric, *attributes.items()))
            if series is not None:
                series.put(amount, None)
            else:
                self._count(metric, amount, attributes, None)
        except Exception:  # noqa: BLE001 - as `quiet`, without a call more: it is the hottest here
            self._failed("Recorder.add")

    observe = add
    """Record one value of a histogram of the catalogue: its row says what a number means."""

    def bind(self, metric: str, /, **attributes: str) -> Count:
        """The function that adds to one series of the catalogue, or records a value of it."""
        try:
            if metric in _OF_AN_AGENT and "agent" not in attributes:
                attributes["agent"] = self._agent_name()
            series = self.counts.series(metric, attributes)
        except Exception:  # noqa: BLE001 - as in `count`
            self._failed("Recorder.bind")
            return _count_nothing

        def count(amount: float) -> None:
            try:
                series.put(amount, None)
            except Exception:  # noqa: BLE001 - as `quiet`, without a call more
                self._failed("Recorder.bind")

        return count

    @quiet
    def internal_error(self, where: str) -> None:
        """Our own code failed: count it, and log it once per place."""
        try:
            self.failures.log(where)
        finally:
            self._count("runguard.internal_errors", 1, {"where": where}, None)

    def count_failure(self, where: str) -> None:
        """Count a failure of this recorder itself (used by ``quiet``); never raises."""
        try:
            self._count("runguard.internal_errors", 1, {"where": where}, None)
        except Exception:  # noqa: BLE001 - the sink is what is broken; it has been logged
            return

    def _failed(self, where: str) -> None:
        self.failures.log(where)
        self.count_failure(where)

    def _count(
        self, metric: str, amount: float, attributes: dict[str, str], context: object | None
    ) -> None:
        self.counts.add(metric, amount, attributes, context)


def _count_nothing(amount: float) -> None:
    return None
