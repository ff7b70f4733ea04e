"""Spans: one per signature event, and one per trip, linked to the events that led to it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import cast

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanContext, Status, StatusCode, Tracer
from opentelemetry.util.types import AttributeValue as SpanValue

from runguard_otel.core.keyed import BoundedMap
from runguard_otel.core.ports import AttributeValue
from runguard_otel.core.signatures import guard_of
from runguard_otel.core.verdict import Outcome, Subject, Trip
from runguard_otel.telemetry.privacy import Privacy

__all__ = ["Spans"]

_MAX_LINKS = 16


class Spans:
    """Makes spans that are never current: tasks that host code starts must not inherit them.

    Args:
        tracer: Answers with the tracer to use now, or ``None`` for no spans at all. Asked per span,
            because an application may set its provider long after ``instrument()``.
        privacy: Decides how names are written.
        max_keys: For how many (guard, subject) pairs the events before a trip are remembered.
    """

    def __init__(
        self, tracer: Callable[[], Tracer | None], privacy: Privacy, max_keys: int = 10_000
    ) -> None:
        self._tracer = tracer
        self._privacy = privacy
        self._recent: BoundedMap[tuple[str, str], deque[SpanContext]] = BoundedMap(
            lambda _: deque(maxlen=_MAX_LINKS), max_keys
        )

    def event(
        self,
        signature: str,
        outcome: Outcome,
        subject: Subject,
        agent: str,
        attributes: Mapping[str, AttributeValue] | None,
        context: object | None,
    ) -> Context | None:
        """One span ``runguard.<class>``, begun and ended; the context that holds it."""
        tracer = self._tracer()
        if tracer is None:
            return cast("Context | None", context)
        guard = str(guard_of(signature))
        found: dict[str, SpanValue] = {
            "runguard.signature": signature,
            "runguard.outcome": str(outcome),
            "runguard.guard": guard,
            **self._privacy.span_attributes(subject),
        }
        if agent:
            found["runguard.agent.name"] = agent
        if attributes:
            found.update(self._privacy.named(dict(attributes)))
        span = self._start(tracer, f"runguard.{signature.partition(':')[0]}", found, context)
        span.end()
        if span.get_span_context().is_valid:
            self._recent.get((guard, subject.key)).append(span.get_span_context())
        return trace.set_span_in_context(span, cast("Context | None", context))

    def trip(self, trip: Trip, agent: str, context: object | None) -> Context | None:
        """The span ``runguard.trip``: status error, linked to the remembered events."""
        tracer = self._tracer()
        if tracer is None:
            return cast("Context | None", context)
        found: dict[str, SpanValue] = {
            "runguard.guard": str(trip.guard),
            "runguard.signature": trip.signature,
            **self._privacy.span_attributes(trip.subject),
            **trip_attributes(trip, self._privacy),
            "runguard.trip.evidence": [
                " ".join(filter(None, (f"-{e.seconds_before:.1f}s", e.signature, e.detail)))
                for e in trip.evidence
            ],
        }
        if agent:
            found["runguard.agent.name"] = agent
        found.update(
            self._privacy.named(
                {"lk.pii.runguard.signature_with_key": trip.signature_with_key} if trip.key else {}
            )
        )
        led = self._recent.pop((str(trip.guard), trip.subject.key)) or ()
        span = self._start(tracer, "runguard.trip", found, context, [Link(one) for one in led])
        span.set_status(Status(StatusCode.ERROR, trip.explain()))
        span.end()
        return trace.set_span_in_context(span, cast("Context | None", context))

    @staticmethod
    def _start(
        tracer: Tracer,
        name: str,
        attributes: dict[str, SpanValue],
        context: object | None,
        links: list[Link] | None = None,
    ) -> Span:
        return tracer.start_span(
            name, context=cast("Context | None", context), attributes=attributes, links=links
        )


def trip_attributes(trip: Trip, privacy: Privacy) -> dict[str, AttributeValue]:
    """A trip in the words that spans and log records share; holds no names."""
    found: dict[str, AttributeValue] = {
        "runguard.trip.count": trip.count,
        "runguard.trip.window_seconds": trip.window_seconds,
        "runguard.trip.threshold": trip.threshold,
        "runguard.mode": str(trip.mode),
        "runguard.action": trip.action,
    }
    if trip.key:
        kind = trip.signature.partition(":")[0]
        found["runguard.signature_with_key.hash"] = f"{kind}:{privacy.hash(trip.key)}"
    for component, usd in (trip.cost or {}).items():
        found[f"runguard.cost.{component}"] = usd
    return found
