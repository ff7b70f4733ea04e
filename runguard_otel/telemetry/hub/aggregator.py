"""The hub's books: what each job process counted, and what to take back when it is gone."""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from opentelemetry.context import Context
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    TraceFlags,
    set_span_in_context,
)

from runguard_otel.telemetry.catalogue import ATTRIBUTES, METRICS, Kind
from runguard_otel.telemetry.failures import Failures
from runguard_otel.telemetry.hub import wire
from runguard_otel.telemetry.hub.reader import BlockReader, Foreign, Period
from runguard_otel.telemetry.hub.tape import TapeKeeper, TapeReader
from runguard_otel.telemetry.sink import Put

__all__ = ["Account", "Aggregator", "PeriodWatcher"]

PeriodWatcher = Callable[[Sequence[Period], float], None]
"""``watch(periods, now)``: what lasts in any job process, and what ended since the last call.

Called by the hub about once a second, at each scrape and export, and when a job dies, never by two
threads at a time. ``now`` is ``time.monotonic()``. A period comes at every call while it lasts, as
the same object, and once more with ``ended`` set: so an amount that only grows with
``period.seconds(now)`` and ``period.amount`` is counted exactly by adding what it has grown by.
"""

_MAX_KNOWN = 4096
_BREATH = 64
"""Blocks read between two chances for other threads: a loop must not wait for all of them."""
_NO_CONTEXT = Context()
_OUTCOMES = ATTRIBUTES["job_outcome"].values

Bind = Callable[[str, dict[str, str]], Put]


@dataclass(eq=False)
class Account:
    """One connection: one job process."""

    rest: bytes = b""
    heard: bool = False
    started: bool = False
    outcome: str = ""
    end: Callable[[], None] | None = None
    """Ends the process at the other end; ``None`` where that is unknown."""
    block: BlockReader | None = None
    tape: TapeReader | None = None
    standing: dict[Series, float] = field(default_factory=dict)
    """Sums of the up-down counters that came as records; they end with the job."""


class Series:
    """One series of the worker: sums what its jobs add, to hand it on in one call.

    Args:
        kind: The metric's kind.
        put: Counts into the instrument.
        changed: Gets the series when there is something to hand on.
    """

    __slots__ = ("_changed", "_put", "_span", "_sum", "_values", "kind")

    def __init__(self, kind: Kind, put: Put, changed: Callable[[Series], None]) -> None:
        self.kind = kind
        self._put = put
        self._changed = changed
        self._sum: float | None = None
        self._values: list[tuple[float, Context]] = []
        self._span: tuple[int, int, int] | None = None

    def added(self, delta: float) -> None:
        """See :class:`~runguard_otel.telemetry.hub.reader.Target`."""
        if self._sum is None:
            self._sum = 0.0
            self._changed(self)
        self._sum += delta

    def seen(self, trace: int, span: int, flags: int) -> None:
        """See :class:`~runguard_otel.telemetry.hub.reader.Target`."""
        self._span = (trace, span, flags)

    def recorded(self, value: float, trace: int, span: int, flags: int) -> None:
        """See :class:`~runguard_otel.telemetry.hub.reader.Target`."""
        if not self._values:
            self._changed(self)
        self._values.append((value, _context(trace, span, flags)))

    def hand_on(self) -> None:
        """Count what has gathered, in as few calls as the instrument allows."""
        total, self._sum = self._sum, None
        values, self._values = self._values, []
        span, self._span = self._span, None
        if total:
            self._put(total, _context(*span) if span else _NO_CONTEXT)
        for value, context in values:
            self._put(value, context)


class Aggregator:
    """Counts for all jobs into one worker's instruments.

    Args:
        bind: Finds the function that counts one series.
        watcher: Told of what lasts in the jobs, see :data:`PeriodWatcher`.
    """

    def __init__(self, bind: Bind, watcher: PeriodWatcher | None = None) -> None:
        self._bind = bind
        self._watcher = watcher
        self._keeper: TapeKeeper | None = None
        self._known: dict[bytes, Series | None] = {}
        self._changed: list[Series] = []
        self._blocks: dict[tuple[int, int], Account] = {}
        self._failures = Failures()
        self._lock = threading.RLock()

    def watch(self, watcher: PeriodWatcher) -> None:
        """Tell ``watcher`` from now on."""
        self._watcher = watcher

    def keep(self, keeper: TapeKeeper) -> None:
        """Hand tapes to ``keeper`` from now on."""
        self._keeper = keeper

    # What connections say

    def read(self, account: Account, data: bytes, descriptors: Sequence[int] = ()) -> None:
        """Count what arrived; what is not whole yet waits in the account.

        Args:
            account: The connection's.
            data: Bytes as they came.
            descriptors: File descriptors that came with them. They are closed here.
        """
        given = list(descriptors)
        with self._lock:
            try:
                data = account.rest + data
                whole = wire.complete(data)
                account.rest = data[whole:]
                for record in wire.decode(data[:whole]):
                    self._heard(account, record, given)
            finally:
                for descriptor in given:
                    _close(descriptor)
                    self.dropped("malformed")
                self._hand_on()

    def close(self, account: Account) -> None:
        """The stream ended: the process is gone, with or without a goodbye."""
        with self._lock:
            if account.rest:
                self.dropped("malformed")
            if account.block is not None:
                self._close_block(account, account.block)
            if account.tape is not None:
                self._close_tape(account, account.tape)
            for series, total in account.standing.items():
                if total:
                    series.added(-total)
            account.standing.clear()
            self._hand_on()
            if account.started:
                account.started = False
                self._count("runguard.jobs", -1)
                self._count("runguard.jobs.ended", 1, job_outcome=account.outcome or "killed")
            self._hand_on()

    # What blocks hold

    def look(self) -> None:
        """Read every block. Any thread may ask; a series is handed on once for all jobs."""
        with self._lock:
            lasting: list[Period] = []
            watched = self._watcher is not None
            for number, account in enumerate(self._blocks.values(), 1):
                block = account.block
                if block is not None:
                    try:
                        block.read()
                        if watched:
                            lasting += block.periods()
                    except Exception:  # noqa: BLE001 - as in _read
                        self._failures.log("BlockReader.read")
                if account.tape is not None:
                    self._keep(account.tape)
                if number % _BREATH == 0:
                    time.sleep(0)  # lets the threads that wait for the interpreter run
            self._tell(lasting)
            self._hand_on()

    def dropped(self, reason: str) -> None:
        """One record or cell given up."""
        with self._lock:
            self._count("runguard.events.dropped", 1, drop=reason)
            self._hand_on()

    # Inside; the lock is held

    def _heard(self, account: Account, record: wire.Record, descriptors: list[int]) -> None:
        if isinstance(record, wire.Count):
            self._count_record(account, record)
        elif isinstance(record, wire.Started):
            if not account.started:
                account.started = True
                self._count("runguard.jobs", 1)
        elif isinstance(record, wire.Ended):
            account.outcome = record.outcome if record.outcome in _OUTCOMES else "crashed"
        elif isinstance(record, wire.Shared):
            self._open_block(account, descriptors.pop(0) if descriptors else -1)
        elif isinstance(record, wire.Hung):
            if account.end is not None:
                account.end()
        elif isinstance(record, wire.Taped):
            self._open_tape(account, descriptors.pop(0) if descriptors else -1)
        elif isinstance(record, wire.Look):
            if account.block is not None:
                self._read(account.block)
            if account.tape is not None:
                self._keep(account.tape)
        else:
            self.dropped(record.reason)

    def _open_block(self, account: Account, descriptor: int) -> None:
        if descriptor < 0 or account.block is not None:
            _close(descriptor)
            self.dropped("malformed")
            return
        try:
            block = BlockReader(descriptor, self._series, self._malformed)
        except Foreign:
            self.dropped("malformed")
            return
        former = self._blocks.get(block.identity)
        if former is not None and former.block is not None:
            # The job has a new connection, and the end of the old one was not read yet.
            self._close_block(former, former.block)
        account.block = block
        self._blocks[block.identity] = account

    def _close_block(self, account: Account, block: BlockReader) -> None:
        self._read(block, last=True)
        if self._watcher is not None:
            self._tell(block.periods(died=time.monotonic()))
        for series, total in block.standing():
            series.added(-total)
        self._blocks.pop(block.identity, None)
        account.block = None
        block.close()

    def _open_tape(self, account: Account, descriptor: int) -> None:
        if descriptor < 0 or account.tape is not None:
            _close(descriptor)
            self.dropped("malformed")
            return
        try:
            tape = TapeReader(descriptor)
        except Foreign:
            self.dropped("malformed")
            return
        if self._keeper is None:
            tape.close()
        else:
            account.tape = tape

    def _close_tape(self, account: Account, tape: TapeReader) -> None:
        self._keep(tape, last=True)
        account.tape = None
        if self._keeper is not None:
            with self._failures.logged("tape keeper"):
                self._keeper.ended(tape.identity, account.outcome or "killed")
        tape.close()

    def _keep(self, tape: TapeReader, *, last: bool = False) -> None:
        if self._keeper is None:
            return
        with self._failures.logged("tape keeper"):
            lines = tape.read(last=last)
            if lines:
                self._keeper.kept(tape.identity, lines)
            lost = tape.lost()
            if lost:
                self._keeper.lost(tape.identity, lost)
                self._count("runguard.events.dropped", lost, drop="journal")

    def _read(self, block: BlockReader, *, last: bool = False) -> None:
        try:
            block.read(last=last)
        except Exception:  # noqa: BLE001 - one job's memory must not cost the others' counts
            self._failures.log("BlockReader.read")

    def _tell(self, periods: Sequence[Period]) -> None:
        if periods and self._watcher is not None:
            try:
                self._watcher(periods, time.monotonic())
            except Exception:  # noqa: BLE001 - counting goes on without the price
                self._failures.log("period watcher")

    def _count_record(self, account: Account, record: wire.Count) -> None:
        series, value = self._series(record.series), record.value
        if (
            series is None
            or not math.isfinite(value)
            or (value < 0 and series.kind is not Kind.UPDOWN)
        ):
            self.dropped("malformed")
        elif series.kind is Kind.HISTOGRAM:
            series.recorded(value, *_ids(record.trace))
        else:
            series.added(value)
            if record.trace != wire.NO_TRACE:
                series.seen(*_ids(record.trace))
            if series.kind is Kind.UPDOWN:
                account.standing[series] = account.standing.get(series, 0) + value

    def _malformed(self) -> None:
        self._count("runguard.events.dropped", 1, drop="malformed")

    def _count(self, metric: str, value: float, **attributes: str) -> None:
        series = self._series(wire.encode_series(metric, attributes))
        assert series is not None
        series.added(value)

    def _series(self, name: bytes) -> Series | None:
        try:
            return self._known[name]
        except KeyError:
            found = wire.parse_series(name)
            series = None
            if found is not None:
                kind = METRICS[found[0]].kind
                series = Series(kind, self._bind(*found), self._changed.append)
            if len(self._known) < _MAX_KNOWN:
                self._known[name] = series
            return series

    def _hand_on(self) -> None:
        changed, self._changed[:] = list(self._changed), []
        for series in changed:
            try:
                series.hand_on()
            except Exception:  # noqa: BLE001 - the other series must be counted all the same
                self._failures.log("Hub")


def _possible(kind: Kind, value: float) -> bool:
    return math.isfinite(value) and (value >= 0 or kind is Kind.UPDOWN)


def _ids(trace: bytes) -> tuple[int, int, int]:
    return int.from_bytes(trace[:16], "big"), int.from_bytes(trace[16:24], "big"), trace[24]


def _context(trace: int, span: int, flags: int) -> Context:
    """A context whose span is the job's, so that the exemplar leads to the call."""
    if not trace:
        return _NO_CONTEXT
    found = SpanContext(trace, span, is_remote=True, trace_flags=TraceFlags(flags))
    return set_span_in_context(NonRecordingSpan(found), _NO_CONTEXT)


def _close(descriptor: int) -> None:
    if descriptor >= 0:
        os.close(descriptor)
