"""The job's sink: it counts into a block that its worker reads, or else sends each count."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, cast

from opentelemetry.trace import get_current_span

from runguard_otel.telemetry.catalogue import Kind
from runguard_otel.telemetry.hub import wire
from runguard_otel.telemetry.hub.block import Block, SharedPeriod
from runguard_otel.telemetry.hub.connection import Connection
from runguard_otel.telemetry.sink import Counted, Put

if TYPE_CHECKING:
    from opentelemetry.context import Context

    from runguard_otel.telemetry.hub.tape import Tape

__all__ = ["HubSink"]

_open: weakref.WeakSet[HubSink] = weakref.WeakSet()


class HubSink:
    """Counts for the worker whose hub listens at ``address``.

    Nothing is opened before the first measurement or the start of a job. What finds no room in the
    block, or no block in this system, goes over the connection as a record.

    Args:
        address: Path of the hub's socket.
        make_block: Makes the block, or raises ``OSError`` where there can be none.
        max_queue: How many records may wait.
        taping: Whether the worker is to keep a history of this job.
    """

    def __init__(
        self,
        address: str,
        make_block: Callable[[], Block] = Block,
        max_queue: int = 10_000,
        *,
        taping: bool = False,
    ) -> None:
        self.address = address
        self._make_block = make_block
        self._block: Block | None = None
        self._blockless = False
        self._taping = taping
        self._tape: Tape | None = None
        self._in_job = False
        self._lock = threading.RLock()
        self._connection = Connection(address, self._hello, max_queue)
        _open.add(self)

    @property
    def shares(self) -> bool:
        """Whether counts are in a block (made at the first one)."""
        return self._block is not None

    def start(self) -> None:
        """A job begins in this process: connect and say so."""
        self._get_block()
        self._in_job = True
        if self._connection.connected:
            self._connection.send(wire.encode_started())
        else:
            self._connection.open()

    def bind(self, series: Counted, lock: threading.RLock) -> Put:
        """Count one series in the block, or as records."""
        send = self._records_of(series)
        block = self._get_block()
        put = None
        if block is not None:
            if not self._connection.connected:
                self._connection.open()
            if series.metric.kind is Kind.HISTOGRAM:
                put = block.histogram(series, lock, send)
            else:
                put = block.counter(series, lock)
        return put or series.tallied(send, lock)

    def begin(
        self, kind: str, attributes: Mapping[str, str], began: float | None = None
    ) -> SharedPeriod | None:
        """Show the worker something that lasts; see :meth:`Block.begin`."""
        block = self._get_block()
        return block.begin(kind, attributes, began) if block is not None else None

    def tape(self) -> Callable[[bytes, tuple[bytes, int]], None] | None:
        """What hands the worker a record of this job's history, to keep.

        Returns:
            ``None`` where no memory can be shared for it: nobody keeps it.
        """
        if self._get_block() is not None and not self._connection.connected:
            self._connection.open()
        return self._tape.write if self._tape is not None else None

    def end(self, outcome: str) -> None:
        """The job ends: say goodbye with a value of the ``job_outcome`` attribute."""
        self._in_job = False
        self._connection.send(wire.encode_ended(outcome))

    def ask_to_be_ended(self) -> None:
        """Have the worker end this process: what runs in it does not end by itself."""
        self._connection.send(wire.encode_hung())
        self._connection.flush(1.0)

    def hurry(self) -> None:
        """Have the worker look at the block now."""
        if self._block is not None:
            self._connection.send(wire.encode_look())

    def flush(self, timeout: float) -> bool:
        """Wait until everything is with the worker, at most ``timeout`` seconds."""
        return self._connection.flush(timeout)

    def close(self) -> None:
        """Close the connection; the worker sees the end of the stream and counts the rest."""
        self._connection.close()
        for shared in (self._block, self._tape):
            if shared is not None:
                shared.close()

    def forget(self) -> None:
        """After a fork, in the child: the block is the parent's."""
        self._lock = threading.RLock()
        self._in_job = False
        if self._block is not None:
            self._block.close()
            self._block = None
        if self._tape is not None:
            self._tape.close()
            self._tape = None

    def _get_block(self) -> Block | None:
        if self._block is None and not self._blockless:
            with self._lock:
                if self._block is None and not self._blockless:
                    try:
                        block = self._make_block()
                        if self._taping:
                            from runguard_otel.telemetry.hub.tape import Tape

                            self._tape = Tape(self.hurry)
                        self._block = block
                    except (OSError, ImportError):  # records do as well; doctor says so
                        self._blockless = True
        return self._block

    def _hello(self) -> tuple[bytes, list[int]]:
        records = wire.encode_started() if self._in_job else b""
        block = self._block
        if block is None or block.descriptor < 0:
            return records, []
        records += wire.encode_shared()
        if self._tape is None:
            return records, [block.descriptor]
        return records + wire.encode_taped(), [block.descriptor, self._tape.descriptor]

    def _records_of(self, series: Counted) -> Put:
        """A function that sends each measurement as a record."""
        name = wire.encode_series(series.metric.name, series.attributes)
        send = self._connection.send

        def put(value: float, context: object | None) -> None:
            span = get_current_span(cast("Context | None", context)).get_span_context()
            trace = wire.NO_TRACE
            if span.trace_id and span.span_id:
                whole = span.trace_id << 72 | span.span_id << 8 | span.trace_flags
                trace = whole.to_bytes(25, "big")
            send(wire.encode_count(value, trace, name))

        return put


def _after_fork() -> None:
    for sink in list(_open):
        sink.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
