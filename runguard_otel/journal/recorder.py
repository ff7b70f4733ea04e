"""A recorder that writes down what it hands on."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from runguard_otel.core.ports import AttributeValue, Count, Recorder
from runguard_otel.core.verdict import Clock, Outcome, Subject, Trip
from runguard_otel.journal.book import Book, to_line
from runguard_otel.journal.record import TIMED, Tail, tail_of, timed
from runguard_otel.journal.schema import Row

__all__ = ["TapedRecorder"]

_REMEMBERED: Final = 1024
_COUNTED: Final = frozenset(
    {
        "runguard.cost.estimated",
        "runguard.cost.wasted",
        "runguard.cost.avoided",
        "runguard.cost.unpriced",
        "runguard.room.connects",
        "runguard.room.disconnects",
        "runguard.room.reconnect_episodes",
        "runguard.jobs.alone",
    }
)
"""What a history needs of what is counted; the rest follows from other lines."""
_ATTRIBUTES: Final = {
    "runguard.reason": "reason",
    "runguard.claim.cause": "cause",
    "runguard.claim.token": "token",
    "runguard.claim.holder_token": "holder_token",
    "runguard.claim.waited_seconds": "waited_seconds",
    "gen_ai.provider.name": "provider",
    "gen_ai.request.model": "model",
}
"""Attributes that are kept. A closed list: what is added to spans one day may hold a name."""


class TapedRecorder:
    """Implements ``core.ports.Recorder`` around another one, which hears everything first.

    Args:
        inner: The recorder.
        book: Keeps the lines.
        hash_name: A short word that groups a name, and does not tell it.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        inner: Recorder,
        book: Book,
        hash_name: Callable[[str], str],
        clock: Clock = time.monotonic,
    ) -> None:
        self._inner = inner
        self._book = book
        self._write = book.write
        self._hash = hash_name
        self._clock = clock
        self._events: dict[tuple[Any, ...], Tail] = {}
        self._add = inner.add
        self.observe = inner.observe
        self.internal_error = inner.internal_error

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
        # Not outcome.value, which is a property written in Python.
        key = (signature, outcome._value_, subject, *(attributes.items() if attributes else ()))
        tail = self._events.get(key)
        if tail is None:
            tail = self._event(key, signature, outcome, subject, attributes or {})
        self._write(timed(TIMED, self._clock()), tail, subject.job_id)

    def trip(self, trip: Trip, *, context: object | None = None) -> None:
        """See :class:`~runguard_otel.core.ports.Recorder`."""
        self._inner.trip(trip, context=context)
        row = {
            "t": self._clock(),
            "e": "trip",
            "guard": str(trip.guard),
            "signature": trip.signature,
            "count": trip.count,
            "window_seconds": trip.window_seconds,
            "threshold": trip.threshold,
            "mode": str(trip.mode),
            "action": trip.action,
            "evidence": [one._asdict() for one in trip.evidence],
            "reason": trip.reason,
            "cost": trip.cost,
            **self._whose(trip.subject),
        }
        self._book.put({k: v for k, v in row.items() if v not in ("", None)}, trip.subject.job_id)

    def guard_opened(self, guard: str, signature: str = "", mode: str = "") -> None:
        """See :class:`~runguard_otel.core.ports.Recorder`."""
        self._inner.guard_opened(guard, signature, mode)
        self._guard("open", guard, signature, mode)

    def guard_closed(self, guard: str, signature: str = "", mode: str = "") -> None:
        """See :class:`~runguard_otel.core.ports.Recorder`."""
        self._inner.guard_closed(guard, signature, mode)
        self._guard("closed", guard, signature, mode)

    def add(self, metric: str, amount: float = 1, /, **attributes: str) -> None:
        """See :class:`~runguard_otel.core.ports.Recorder`."""
        self._add(metric, amount, **attributes)
        if metric in _COUNTED:
            self._counted(metric, attributes, amount)

    def bind(self, metric: str, /, **attributes: str) -> Count:
        """See :class:`~runguard_otel.core.ports.Recorder`."""
        bound = self._inner.bind(metric, **attributes)
        if metric not in _COUNTED:
            return bound

        def count(amount: float) -> None:
            bound(amount)
            self._counted(metric, attributes, amount)

        return count

    def _counted(self, metric: str, attributes: Mapping[str, str], amount: float) -> None:
        row = {"t": self._clock(), "e": "count", "metric": metric, **attributes}
        self._book.put({**row, "amount": amount})

    def _guard(self, state: str, guard: str, signature: str, mode: str) -> None:
        row = {"guard": str(guard), "signature": signature, "mode": str(mode)}
        self._book.put({"t": self._clock(), "e": "guard", "state": state, **row})

    def _event(
        self,
        key: tuple[Any, ...],
        signature: str,
        outcome: Outcome,
        subject: Subject,
        attributes: Mapping[str, AttributeValue],
    ) -> Tail:
        """Everything of an event's line but its time; remembered, for most events come again."""
        row: Row = {"e": "event", "signature": signature, "outcome": str(outcome)}
        row |= {short: attributes[k] for k, short in _ATTRIBUTES.items() if attributes.get(k)}
        tail = tail_of(to_line({**row, **self._whose(subject)})[1:])
        if len(self._events) < _REMEMBERED:
            self._events[key] = tail
        return tail

    def _whose(self, subject: Subject) -> dict[str, str]:
        names = {
            "room": self._hash(subject.room),
            "participant": self._hash(subject.participant),
            "session": self._hash(subject.session),
            "source": subject.track_source,
            "job": subject.job_id,
        }
        return {k: v for k, v in names.items() if v}
