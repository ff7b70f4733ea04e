"""What the guards saw and did in a test, and what it cost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from runguard_otel.core.verdict import Trip
from runguard_otel.instrumentor import RunGuard, instrument, uninstrument
from runguard_otel.settings import Settings

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from runguard_otel.settings_types import SettingsOverrides

__all__ = ["Recording", "recording"]

_FLUSH_SECONDS = 5.0


class Recording:
    """The guards at work, and what they report. :func:`recording` and the fixture make one.

    Args:
        guard: What ``instrument()`` returned; its trips must be added to ``tripped``.
        tripped: Every trip so far.
        spans: Where our spans, and LiveKit's, end up.
    """

    def __init__(self, guard: RunGuard, tripped: list[Trip], spans: InMemorySpanExporter) -> None:
        self.guard = guard
        self._tripped = tripped
        self._spans = spans

    @property
    def trips(self) -> list[Trip]:
        """Every trip, in order."""
        if self.guard._telemetry is not None:
            self.guard._telemetry.flush(_FLUSH_SECONDS)  # they come by a thread
        return list(self._tripped)

    @property
    def signatures(self) -> dict[str, dict[str, int]]:
        """How often each signature was seen, by outcome; only what was seen at all."""
        seen: dict[str, dict[str, float]] = self.guard.snapshot().get("signatures", {})
        counts = {n: {o: int(c) for o, c in by.items() if c} for n, by in seen.items()}
        return {name: by for name, by in counts.items() if by}

    def spans(self, name: str = "runguard.trip") -> list[dict[str, Any]]:
        """The attributes of every finished span with that name, oldest first."""
        finished = self._spans.get_finished_spans()
        return [dict(span.attributes or {}) for span in finished if span.name == name]

    def counted(self, metric: str, **attributes: str) -> float:
        """The sum of a metric over its series with these attributes.

        Args:
            metric: Its name, as in ``docs/telemetry.md``: ``runguard.room.connects``.
            **attributes: Short attribute names and values: ``connect="refused"``.
        """
        if self.guard._services is not None:
            self.guard._services.settle()  # what is billed when there is time for it
        series = self.guard.snapshot().get("metrics", {}).get(metric, ())
        wanted = attributes.items()
        return float(sum(one["value"] for one in series if wanted <= one["attributes"].items()))

    def cost(self, **attributes: str) -> Decimal:
        """USD that were spent, by list price. Models without a price are not in it.

        Args:
            **attributes: Only this part: ``component="llm"``, ``model="gpt-4.1-mini"``.
        """
        return self._usd("runguard.cost.estimated", attributes)

    def wasted(self, **attributes: str) -> Decimal:
        """USD that loops cost: ``guard="vad_misfire"``, ``component="llm"``."""
        return self._usd("runguard.cost.wasted", attributes)

    def avoided(self, **attributes: str) -> Decimal:
        """USD that guards demonstrably saved, with the same attributes."""
        return self._usd("runguard.cost.avoided", attributes)

    def assert_quiet(self) -> None:
        """Nothing tripped and nothing of ours failed: what a healthy call must look like."""
        assert not self.trips, "tripped: " + "; ".join(trip.explain() for trip in self.trips)
        failed = self.counted("runguard.internal_errors")
        assert not failed, f"{failed:g} internal errors of runguard; the log has them"

    def assert_tripped(self, guard: str, *, times: int = 1, action: str | None = None) -> Trip:
        """That guard tripped so often, and no other.

        Args:
            guard: ``room_reconnect``, ``vad_misfire``, ``job_dispatch``, ``track_subscribe`` or
                ``session_overrun``.
            times: How often.
            action: What it must have done (``suppress``, ``refuse_connect``, ...); default: any.

        Returns:
            The last of its trips.
        """
        trips = self.trips
        said = "; ".join(trip.explain() for trip in trips) or f"nothing; seen: {self.signatures}"
        assert [str(trip.guard) for trip in trips] == [guard] * times, f"tripped: {said}"
        if action is not None:
            assert {trip.action for trip in trips} == {action}, f"tripped: {said}"
        return trips[-1]

    def _usd(self, metric: str, attributes: dict[str, str]) -> Decimal:
        return Decimal(repr(round(self.counted(metric, **attributes), 12)))


@contextmanager
def recording(**settings: Unpack[SettingsOverrides]) -> Iterator[Recording]:
    """``instrument()`` for the length of a test, with nothing leaving the process.

    Reads no ``RUNGUARD_*`` variable, claims in memory and serves no ``/metrics``, unless
    ``settings`` say so.

    Args:
        **settings: As for ``instrument()``.

    Raises:
        RuntimeError: If the guards could not be installed: a test without guards must not pass
            for one with them.
    """
    uninstrument()
    spans = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(spans))
    tripped: list[Trip] = []
    given: Any = {"claims_url": "memory://", "metrics_port": 0, **settings}
    guard = instrument(Settings(**given), tracer_provider=provider, on_trip=tripped.append)
    try:
        if not guard.active and not guard.settings.disabled:
            raise RuntimeError("the guards could not be installed; the log above says why")
        yield Recording(guard, tripped, spans)
    finally:
        uninstrument()
        provider.shutdown()
