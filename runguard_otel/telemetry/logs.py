"""One structured log record per trip."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, cast

from runguard_otel.core.ports import AttributeValue
from runguard_otel.core.verdict import Trip
from runguard_otel.telemetry.privacy import Privacy
from runguard_otel.telemetry.providers import version
from runguard_otel.telemetry.spans import trip_attributes

if TYPE_CHECKING:
    from opentelemetry.context import Context

__all__ = ["TripLog"]

logger = logging.getLogger("runguard_otel.trips")


class TripLog:
    """Says a trip in standard logging, and as an OpenTelemetry record where there is a provider.

    Args:
        privacy: Hashes whom it happened to; a log record never carries a name.
        logger_provider: An OpenTelemetry ``LoggerProvider``; ``None`` uses the global one if set.
    """

    def __init__(self, privacy: Privacy, logger_provider: Any | None = None) -> None:
        self._privacy = privacy
        self._provider = logger_provider

    def trip(self, trip: Trip, agent: str, context: object | None) -> None:
        """One record. Fields for JSON loggers are in ``extra`` under the names spans use."""
        fields: dict[str, AttributeValue] = {
            "runguard.guard": str(trip.guard),
            "runguard.signature": trip.signature,
            **trip_attributes(trip, self._privacy),
        }
        if trip.subject.room:
            fields["runguard.room.hash"] = self._privacy.hash(trip.subject.room)
        if trip.subject.job_id:
            fields["lk.job_id"] = trip.subject.job_id
        if agent:
            fields["runguard.agent.name"] = agent
        logger.warning(trip.explain(), extra=dict(fields))
        self._otel(trip.explain(), fields, context)

    def _otel(
        self, message: str, fields: dict[str, AttributeValue], context: object | None
    ) -> None:
        from opentelemetry import _logs

        provider = self._provider
        if provider is None:
            provider = _logs.get_logger_provider()
            if isinstance(provider, (_logs.NoOpLoggerProvider, _proxy_type())):
                return
            if _forwards_to_otel():
                return  # standard logging already goes there; twice is a lie in every count
        from opentelemetry._logs import SeverityNumber

        record = _record(
            severity_number=SeverityNumber.WARN,
            severity_text="WARN",
            body=message,
            attributes=fields,
            context=cast("Context | None", context),
        )
        provider.get_logger("runguard_otel", version()).emit(record)


def _proxy_type() -> type:
    from opentelemetry._logs._internal import ProxyLoggerProvider

    return ProxyLoggerProvider


def _record(*, context: Context | None, **fields: Any) -> Any:
    """A log record; before OpenTelemetry 1.35 it takes the ids of the span, not a context."""
    from opentelemetry import trace
    from opentelemetry._logs import LogRecord

    try:
        return LogRecord(context=context, **fields)
    except TypeError:
        span = trace.get_current_span(context).get_span_context()
        fields.update(trace_id=span.trace_id, span_id=span.span_id, trace_flags=span.trace_flags)
        return LogRecord(**fields)


def _forwards_to_otel() -> bool:
    """Whether a handler above our logger already turns records into OpenTelemetry's."""
    at: logging.Logger | None = logger
    while at is not None:
        for handler in at.handlers:
            if any("LoggingHandler" in kind.__name__ for kind in type(handler).__mro__):
                return True
        at = at.parent if at.propagate else None
    return False
