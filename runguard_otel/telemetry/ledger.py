"""The hub's books: what each job process reported, and what to take back when it is gone."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from opentelemetry.context import Context
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    TraceFlags,
    set_span_in_context,
)

from runguard_otel.telemetry import wire
from runguard_otel.telemetry.catalogue import ATTRIBUTES, METRICS, Kind
from runguard_otel.telemetry.sink import Sink

__all__ = ["Account", "Ledger"]

_MAX_KNOWN = 4096
_NO_CONTEXT = Context()
_OUTCOMES = ATTRIBUTES["job_outcome"].values

Series = tuple[str, dict[str, str]]


@dataclass
class Account:
    """One connection: one job process."""

    rest: bytes = b""
    started: bool = False
    outcome: str = ""
    standing: dict[bytes, float] = field(default_factory=dict)
    """Sums of the up-down counters, which go back to zero when the job is gone."""


@dataclass
class _Batch:
    """Additions of one read, summed per series: exact, and one SDK call instead of many."""

    sums: dict[bytes, float] = field(default_factory=dict)
    traces: dict[bytes, bytes] = field(default_factory=dict)


class Ledger:
    """Counts what connections say into one sink. Not thread-safe: the hub's thread owns it.

    Args:
        sink: Instruments that live as long as the worker.
    """

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._known: dict[bytes, Series | None] = {}

    def read(self, account: Account, data: bytes) -> None:
        """Count what arrived; what is not whole yet waits in the account."""
        data = account.rest + data
        whole = wire.complete(data)
        account.rest = data[whole:]
        batch = _Batch()
        for record in wire.decode(data[:whole]):
            if isinstance(record, wire.Count):
                self._count(account, record, batch)
            elif isinstance(record, wire.Started):
                self._start(account)
            elif isinstance(record, wire.Ended):
                account.outcome = record.outcome if record.outcome in _OUTCOMES else "crashed"
            else:
                self.dropped(record.reason)
        for series, total in batch.sums.items():
            self._add(series, total, batch.traces.get(series, wire.NO_TRACE))

    def close(self, account: Account) -> None:
        """The stream ended: the process is gone, with or without a goodbye."""
        if account.rest:
            self.dropped("malformed")
        for series, total in account.standing.items():
            if total:
                self._add(series, -total, wire.NO_TRACE)
        account.standing.clear()
        if account.started:
            account.started = False
            self._sink.add("runguard.jobs", -1, {}, _NO_CONTEXT)
            ended = {"job_outcome": account.outcome or "killed"}
            self._sink.add("runguard.jobs.ended", 1, ended, _NO_CONTEXT)

    def dropped(self, reason: str) -> None:
        """One record given up."""
        self._sink.add("runguard.events.dropped", 1, {"drop": reason}, _NO_CONTEXT)

    def _start(self, account: Account) -> None:
        if not account.started:
            account.started = True
            self._sink.add("runguard.jobs", 1, {}, _NO_CONTEXT)

    def _count(self, account: Account, record: wire.Count, batch: _Batch) -> None:
        series, value = record.series, record.value
        kind = self._kind(series)
        if kind is None or not math.isfinite(value) or (value < 0 and kind is not Kind.UPDOWN):
            self.dropped("malformed")
        elif kind is Kind.HISTOGRAM:
            self._add(series, value, record.trace)
        else:
            batch.sums[series] = batch.sums.get(series, 0) + value
            if record.trace != wire.NO_TRACE:
                batch.traces[series] = record.trace
            if kind is Kind.UPDOWN:
                account.standing[series] = account.standing.get(series, 0) + value

    def _kind(self, series: bytes) -> Kind | None:
        found = self._resolve(series)
        return None if found is None else METRICS[found[0]].kind

    def _resolve(self, series: bytes) -> Series | None:
        try:
            return self._known[series]
        except KeyError:
            found = wire.parse_series(series)
            if len(self._known) < _MAX_KNOWN:
                self._known[series] = found
            return found

    def _add(self, series: bytes, value: float, trace: bytes) -> None:
        found = self._resolve(series)
        if found is not None:
            self._sink.add(found[0], value, found[1], _context(trace))


def _context(trace: bytes) -> Context:
    """A context whose span is the job's, so that the exemplar leads to the call."""
    if trace == wire.NO_TRACE:
        return _NO_CONTEXT
    span = SpanContext(
        int.from_bytes(trace[:16], "big"),
        int.from_bytes(trace[16:24], "big"),
        is_remote=True,
        trace_flags=TraceFlags(trace[24]),
    )
    return set_span_in_context(NonRecordingSpan(span), _NO_CONTEXT)
