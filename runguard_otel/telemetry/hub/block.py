"""The block: what a job has counted, in memory that its worker reads.

A job process makes one anonymous file (``memfd``), hands it to the worker over the socket and maps
it. A count is then one aligned 8-byte store of a cumulative value, which survives the writer's
SIGKILL, wakes no thread and fills no queue; reading it twice counts it once. The file is sealed
against shrinking, so that no truncation can kill the reader.

Everything in it is found by its number and vouches for itself, because a stray write of the job's
native code must cost no more than what it hit, and because a reader on another CPU may see two
stores in another order than they were made:

=======  =====  ====================================================================================
Part     Word   What stands there
=======  =====  ====================================================================================
header   0      magic; what the reader writes back; how many series and periods there are
values   8      of each counter and up-down counter: the sum so far, a double
labels   248    of each series: place, length and CRC-32 of its name, one word
ring     512    values of histograms: the double, its span as below, and the XOR of these with the
                value's number and series
periods  1024   what is open or was: its label XOR the beginning, the beginning; end and amount,
                each followed by itself XOR the first word
arena    1280   names of series and periods, each once; ahead of a counter's its exemplar: trace id
                (two words), span id, and the XOR of these with the flags
counted  7680   the reader's: how far each value was counted when it had to stop
=======  =====  ====================================================================================

A word has 8 bytes, in the machine's order. A job without room in one of the parts sends records
instead (:mod:`~runguard_otel.telemetry.hub.wire`).
"""

from __future__ import annotations

import mmap
import os
import struct
import threading
import time
import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, cast

from opentelemetry.trace import INVALID_SPAN, get_current_span

from runguard_otel.telemetry.catalogue import Kind
from runguard_otel.telemetry.hub import wire
from runguard_otel.telemetry.sink import Counted, Put

if TYPE_CHECKING:
    from opentelemetry.context import Context

__all__ = ["Block", "SharedPeriod", "available", "shared_memory"]

SIZE: Final = 64 * 1024
"""Bytes, of which only the pages that are written to take memory: three or four in most jobs."""
MAGIC: Final = int.from_bytes(b"rgblock2", "little")
SERIES: Final = 240
RING: Final = 102
PERIODS: Final = 32

# In 8-byte words.
RING_READ, TAKEN, SERIES_MADE, PERIODS_MADE = 1, 2, 3, 4
VALUES: Final = 8
LABELS: Final = VALUES + SERIES
RING_AT: Final = 512
ENTRY: Final = 5
PERIODS_AT: Final = 1024
PERIOD: Final = 8
ARENA: Final = PERIODS_AT + PERIODS * PERIOD
COUNTED: Final = SIZE // 8 - 512
LABEL, BEGAN, ENDED, ENDED_CHECK, AMOUNT, AMOUNT_CHECK = range(6)  # of a period

SAMPLED, UNSAMPLED = 0x9E3779B97F4A7C15, 0x6A09E667F3BCC909
"""Part of every check word, so that memory that is all zeros does not look like something; which of
the two says whether the span is sampled."""
EXEMPLAR: Final = struct.Struct("=4Q")
_LOW: Final = (1 << 64) - 1

# linux/fcntl.h; the fcntl module has them since Python 3.12 only on some systems.
F_ADD_SEALS: Final = 1033
F_GET_SEALS: Final = 1034
SEAL_SEAL, SEAL_SHRINK, SEAL_GROW = 1, 2, 4


class Block:
    """The job's end of the block.

    Raises:
        OSError: If this system, or its sandbox, has no sealed anonymous files.
    """

    def __init__(self) -> None:
        self.descriptor, self._map = shared_memory(SIZE)
        self._words = memoryview(self._map).cast("Q")
        self._values = memoryview(self._map).cast("d")
        self._words[0] = MAGIC
        self._lock = threading.RLock()
        self._arena = ARENA
        self._series: set[bytes] = set()
        self._written = 0
        self._names: dict[bytes, int] = {}
        self._busy: list[SharedPeriod | None] = []

    @property
    def taken(self) -> bool:
        """Whether a worker has it."""
        return self._words[TAKEN] != 0

    def close(self) -> None:
        """Give back the descriptor. The memory goes with the last function that counts into it."""
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def counter(self, series: Counted, lock: threading.RLock) -> Put | None:
        """The function that counts a counter or up-down counter here.

        Args:
            series: Its ``total`` is kept, too.
            lock: Held while the sum is changed.

        Returns:
            ``None`` if there is no room, or this series is counted here by another function.
        """
        made = self._make(series, exemplar=series.metric.kind is Kind.COUNTER)
        if made is None:
            return None
        number, name = made
        at, before = VALUES + number, series.total
        values, memory = self._values, self._map
        exemplar = name * 8 - EXEMPLAR.size if series.metric.kind is Kind.COUNTER else 0
        pack = EXEMPLAR.pack_into
        written: object = None

        def put(value: float, context: object | None) -> None:
            nonlocal written
            with lock:
                series.total = total = series.total + value
                values[at] = total - before
            if exemplar:
                span = get_current_span(cast("Context | None", context))
                if span is not INVALID_SPAN:
                    found = span.get_span_context()
                    if found is not written and (trace := found.trace_id):
                        own, high, low = found.span_id, trace >> 64, trace & _LOW
                        said = SAMPLED if found.trace_flags & 1 else UNSAMPLED
                        pack(memory, exemplar, high, low, own, high ^ low ^ own ^ said)
                        written = found  # the same span again would be the same words

        return put

    def histogram(self, series: Counted, lock: threading.RLock, otherwise: Put) -> Put | None:
        """The function that records values of a histogram here.

        Args:
            series: Its ``total`` counts the values.
            lock: Held while a value is written.
            otherwise: Takes a value while the ring is full, which it is if more than :data:`RING`
                come between two looks of the worker.

        Returns:
            ``None`` as :meth:`counter`.
        """
        made = self._make(series, exemplar=False)
        if made is None:
            return None
        words, values, memory = self._words, self._values, self._map
        pack, key = EXEMPLAR.pack_into, entry_key(made[0])

        def put(value: float, context: object | None) -> None:
            high = low = own = 0
            span = get_current_span(cast("Context | None", context))
            if span is not INVALID_SPAN:
                found = span.get_span_context()
                if found.trace_flags & 1:
                    trace, own = found.trace_id, found.span_id
                    high, low = trace >> 64, trace & _LOW
            with lock:
                series.total += 1
                written = self._written
                if 0 <= written - words[RING_READ] < RING:
                    at = RING_AT + written % RING * ENTRY
                    values[at] = value
                    check = words[at] ^ high ^ low ^ own ^ key ^ written << 8
                    pack(memory, (at + 1) * 8, high, low, own, check)
                    self._written = written + 1
                    return
            otherwise(value, context)

        return put

    def begin(
        self, kind: str, attributes: Mapping[str, str], began: float | None = None
    ) -> SharedPeriod | None:
        """Something began that lasts: the worker sees it for as long as it does, and then its end.

        Args:
            kind: What it is, as whoever prices it names it.
            attributes: What that needs, as short text; no names of people or rooms.
            began: ``time.monotonic()`` of its beginning; now by default.

        Returns:
            ``None`` if there is no room: the worker does not see it.
        """
        name = wire.encode_series(kind, attributes)
        with self._lock:
            self._reclaim()
            place = self._names.get(name)
            if place is None:
                place = self._write_name(name, 0)
            free = next((n for n, one in enumerate(self._busy) if one is None), len(self._busy))
            if place is None or free == PERIODS:
                return None
            self._names[name] = place
            at = PERIODS_AT + free * PERIOD
            self._values[at + BEGAN] = time.monotonic() if began is None else began
            self._words[at + LABEL] = _label(place, name) ^ self._words[at + BEGAN]
            period = SharedPeriod(self._words, self._values, at)
            if free == len(self._busy):
                self._busy.append(period)
                self._words[PERIODS_MADE] = len(self._busy)
            else:
                self._busy[free] = period
            return period

    def _reclaim(self) -> None:
        """Periods that ended are free when the reader has cleared their label."""
        for n, period in enumerate(self._busy):
            read = not self._words[PERIODS_AT + n * PERIOD + LABEL]
            if period is not None and period.ended and read:
                self._busy[n] = None

    def _make(self, series: Counted, exemplar: bool) -> tuple[int, int] | None:
        """Number of a new series and the word its name begins at."""
        name = wire.encode_series(series.metric.name, series.attributes)
        with self._lock:
            number = len(self._series)
            if number == SERIES or name in self._series:
                return None
            place = self._write_name(name, EXEMPLAR.size // 8 if exemplar else 0)
            if place is None:
                return None
            self._series.add(name)
            self._words[LABELS + number] = _label(place, name)
            self._words[SERIES_MADE] = number + 1
            return number, place

    def _write_name(self, name: bytes, ahead: int) -> int | None:
        """The word at which a name now stands, with ``ahead`` free ones before it."""
        place = self._arena + ahead
        end = place + -(-len(name) // 8)
        if end > COUNTED:
            return None
        self._map[place * 8 : place * 8 + len(name)] = name
        self._arena = end
        return place


class SharedPeriod:
    """Something that lasts, as its worker sees it. Made by :meth:`Block.begin`; for one thread."""

    __slots__ = ("_at", "_values", "_words", "ended")

    def __init__(self, words: memoryview[int], values: memoryview[float], at: int) -> None:
        self._words = words
        self._values = values
        self._at = at
        self.ended = False

    def amount(self, value: float) -> None:
        """What it came to so far, where time alone does not say it (seconds of audio pushed)."""
        if not self.ended:  # each second of each stream: as `_write`, without a call more
            at = self._at + AMOUNT
            self._values[at] = value
            self._words[at + 1] = self._words[at] ^ self._words[self._at + LABEL]

    def end(self, at: float | None = None) -> None:
        """It is over; a second call changes nothing.

        Args:
            at: ``time.monotonic()`` of its end; now by default.
        """
        if not self.ended:
            self._write(ENDED, time.monotonic() if at is None else at)
            self.ended = True

    def _write(self, what: int, value: float) -> None:
        at = self._at + what
        self._values[at] = value
        self._words[at + 1] = self._words[at] ^ self._words[self._at + LABEL]


def shared_memory(size: int) -> tuple[int, mmap.mmap]:
    """An anonymous file that can no longer change its size, and its mapping.

    Raises:
        OSError: If this system, or its sandbox, has no sealed anonymous files.
        ImportError: On Windows.
    """
    import fcntl

    if not hasattr(os, "memfd_create"):
        raise OSError("no memfd_create on this system")
    descriptor = os.memfd_create("runguard", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(descriptor, size)
        fcntl.fcntl(descriptor, F_ADD_SEALS, SEAL_SEAL | SEAL_SHRINK | SEAL_GROW)
        return descriptor, mmap.mmap(descriptor, size)
    except BaseException:
        os.close(descriptor)
        raise


def available() -> bool:
    """Whether blocks can be made here; makes one to find out."""
    try:
        Block().close()
    except (OSError, ImportError):  # no fcntl on Windows
        return False
    return True


def entry_key(number: int) -> int:
    """What the check word of series ``number`` holds in the ring: it twice, around the position."""
    return SAMPLED ^ (number << 56 | number)


def _label(place: int, name: bytes) -> int:
    return zlib.crc32(name) << 32 | len(name) << 16 | place
