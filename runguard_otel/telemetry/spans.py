"""Spans: one per signature event, and one per trip, linked to the events that led to it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
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
_MAX_JOBS = 1000  # in one process: jobs that are threads


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
        self._jobs: dict[str, _Job] = {}
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
        context = self._inside_the_job(tracer, subject.job_id, context)
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
        context = self._inside_the_job(tracer, trip.subject.job_id, context)
        span = self._start(tracer, "runguard.trip", found, context, [Link(one) for one in led])
        span.set_status(Status(StatusCode.ERROR, trip.explain()))
        span.end()
        return trace.set_span_in_context(span, cast("Context | None", context))

    def job_started(self, job_id: str) -> None:
        """A job begins here: from now on its events are in one trace."""
        if len(self._jobs) < _MAX_JOBS:
            self._jobs[job_id] = _Job(time.time_ns())

    def job_ended(self, job_id: str) -> None:
        """It is over, and so is its span, if it needed one."""
        job = self._jobs.pop(job_id, None)
        if job is not None and job.own is not None:
            job.own.end()

    def _inside_the_job(self, tracer: Tracer, job_id: str, context: object | None) -> object | None:
        """The given context, or one that keeps the event in its job's trace.

        The host's spans exist only if somebody collects them, and some events come from outside of
        all of them: without a parent each would be a trace of its own.
        """
        job = self._jobs.get(job_id)
        if job is None and not job_id and len(self._jobs) == 1:
            job_id, job = next(iter(self._jobs.items()))
        if job is None:
            return context
        around = trace.get_current_span(cast("Context | None", context))
        if around.get_span_context().is_valid:
            if job.around is None:
                job.around = around
            return context
        if job.around is None:
            attributes: dict[str, SpanValue] = {"lk.job_id": job_id} if job_id else {}
            job.around = job.own = tracer.start_span(
                "runguard.job", Context(), attributes=attributes, start_time=job.began
            )
        return trace.set_span_in_context(job.around, cast("Context | None", context))

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


@dataclass(slots=True)
class _Job:
    began: int  # nanoseconds since 1970
    around: Span | None = None  # the first of the host's, or our own
    own: Span | None = None


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
        found[f"runguard.cost.{component}"] = _number(usd)
    return found


def _number(text: str) -> AttributeValue:
    """An amount as a number, which backends can sum and compare; a formula's words stay words."""
    try:
        return float(text)
    except ValueError:
        return text
