"""The tape: whole lines of text that a job hands its worker through memory, in order.

A ring in an anonymous file that only the job writes and only its worker reads. A line is there when
the job's store of it is done; no system call, no lock, no thread woken, and nothing lost by the
job's SIGKILL. A full ring takes no line and counts it: the job never waits.

======  ===============================================================
Word    What stands there
======  ===============================================================
0       magic
1       about how many slots were written; threads may set it back a bit
2       lines that found no room
3       slots read since the beginning; the reader's
8 on    the slots, each: checksum, length of head and rest, both
======  ===============================================================

Each slot has a number, which a writer draws in one step that no other thread can come between; a
line that is longer than a slot is written in pieces, each in a slot, and stands where its last
piece does. A line comes as a head, which is new each time, and a rest, which many lines share:
whoever writes it works out the checksum of a rest once. That of the head begins with the slot's
number, so that what an earlier round left, or a store that another CPU does not see yet, is not
taken for a line.
"""

from __future__ import annotations

import itertools
import os
import struct
import threading
import time
from collections.abc import Callable
from typing import Final, Protocol
from zlib import crc32

from runguard_otel.telemetry.hub.block import shared_memory
from runguard_otel.telemetry.hub.reader import Foreign, identity, mapped

__all__ = ["Tape", "TapeKeeper", "TapeReader"]

MAGIC: Final = int.from_bytes(b"rgtape02", "little")
WRITTEN, LOST, READ = 1, 2, 3
SLOTS_AT: Final = 64
SLOT: Final = 256
SLOTS: Final = 1024
"""Lines between two looks of the worker. Only what is written takes memory."""
SIZE: Final = SLOTS_AT + SLOTS * SLOT
_SLOT: Final = struct.Struct("=IBB250s")
ROOM: Final = 250
"""Bytes of a slot that hold a line."""
_PIECE: Final = struct.Struct("=I?")
_A_PIECE: Final = 255
"""In place of the length of a rest, which is never that long."""
_PIECE_ROOM: Final = ROOM - _PIECE.size
_MOST: Final = SLOTS - 64
"""How many slots may wait to be read. What is left is for threads that write at the same time."""
_MANY: Final = SLOTS // 4
"""Slots after which the reader is asked to look, if it has not of late."""
_ALONE: Final = (b"", 0)
_HOLE_SECONDS: Final = 2.0
"""How long lines wait for one before them that a thread has begun to write."""
_UNFINISHED: Final = 64
"""Long lines whose last piece is still to come, at most; then the oldest is given up."""


class TapeKeeper(Protocol):
    """What the hub hands tapes to, on its thread. Must be quick."""

    def kept(self, tape: tuple[int, int], lines: list[bytes]) -> None:
        """These lines are new.

        Args:
            tape: Which; the same for as long as its job lives.
            lines: Without their ends.
        """

    def lost(self, tape: tuple[int, int], number: int) -> None:
        """So many lines found no room, or did not arrive whole."""

    def ended(self, tape: tuple[int, int], outcome: str) -> None:
        """Its process is gone; ``outcome`` is a value of ``job_outcome``."""


class Tape:
    """The job's end.

    Args:
        hurry: Called when the reader should look soon.

    Raises:
        OSError: If no memory can be shared here.
        ImportError: On Windows.
    """

    def __init__(self, hurry: Callable[[], None] = lambda: None) -> None:
        self.descriptor, self._map = shared_memory(SIZE)
        self._words = memoryview(self._map).cast("Q")
        self._words[0] = MAGIC
        self._hurry = hurry
        self._next = itertools.count().__next__  # one step of the interpreter: needs no lock
        self._long = itertools.count().__next__
        self._lost = 0
        self._lock = threading.RLock()

    def write(self, head: bytes, tail: tuple[bytes, int] = _ALONE) -> None:
        """Hand over one line; there is no line end in it. Any thread may call.

        Args:
            head: Its beginning, or all of it.
            tail: The rest of it, and ``zlib.crc32`` of that.
        """
        rest, check = tail
        line = head + rest
        if len(line) > ROOM:
            self._write_long(line)
            return
        words = self._words
        waiting = words[WRITTEN] - words[READ]
        if waiting > _MOST:
            self._no_room()
            return
        n = self._next()
        check ^= crc32(head, n & 0xFFFFFFFF)
        at = n % SLOTS * SLOT + SLOTS_AT
        _pack_slot(self._map, at, check, len(head), len(rest), line)
        words[WRITTEN] = n + 1
        if n % _MANY == 0 and waiting > _MANY // 2:
            self._hurry()

    def close(self) -> None:
        """Give back the descriptor; what is written stays readable for whoever has it."""
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _write_long(self, line: bytes) -> None:
        words, number = self._words, self._long() & 0xFFFFFFFF
        pieces = range(0, len(line), _PIECE_ROOM)
        waiting = words[WRITTEN] - words[READ]
        if waiting + len(pieces) > _MOST:
            self._no_room()
            return
        for begin in pieces:
            piece = line[begin : begin + _PIECE_ROOM]
            data = _PIECE.pack(number, begin + _PIECE_ROOM >= len(line)) + piece
            n = self._next()
            at = n % SLOTS * SLOT + SLOTS_AT
            check = crc32(data, n & 0xFFFFFFFF)
            _pack_slot(self._map, at, check, len(data), _A_PIECE, data)
            words[WRITTEN] = n + 1
            if n % _MANY == 0 and waiting > _MANY // 2:
                self._hurry()

    def _no_room(self) -> None:
        with self._lock:
            self._lost += 1
            self._words[LOST] = self._lost


class TapeReader:
    """The worker's end. Believes nothing it reads.

    Args:
        descriptor: Of the job's file; closed here, whatever happens.
        clock: Monotonic seconds.

    Raises:
        Foreign: If it is no tape of this version.
        OSError: If it cannot be mapped.
    """

    def __init__(self, descriptor: int, clock: Callable[[], float] = time.monotonic) -> None:
        try:
            self._map = mapped(descriptor, SIZE)
            self.identity = identity(descriptor)
        finally:
            os.close(descriptor)
        self._words = memoryview(self._map).cast("Q")
        self._lost = self._words[LOST] if self._words[READ] else 0  # a former reader told them
        self._missing = 0
        self._clock = clock
        self._hole = (-1, 0.0)
        self._unfinished: dict[int, bytes] = {}
        if self._words[0] != MAGIC:
            self.close()
            raise Foreign("another version")

    def read(self, *, last: bool = False) -> list[bytes]:
        """The lines since the last time.

        Args:
            last: The process is gone: what is not whole now never will be.
        """
        words, lines = self._words, list[bytes]()
        n = words[READ]
        for _ in range(SLOTS):
            if not self._take(n, lines):
                ahead = self._behind_hole(n, last=last)
                if not ahead:
                    break
                self._missing += 1  # whatever it held cannot be told: one loss
                n += ahead
                continue
            n += 1
        if last:
            self._missing += len(self._unfinished)
            if words[WRITTEN] - n > 0:
                self._missing += 1
                n = words[WRITTEN]
        words[READ] = n
        return lines

    def lost(self) -> int:
        """How many lines were lost since the last time."""
        known, self._lost = self._lost, self._words[LOST]
        missing, self._missing = self._missing, 0
        return max(0, self._lost - known) + missing

    def close(self) -> None:
        """Let go of the memory."""
        self._words.release()
        self._map.close()

    def _take(self, n: int, lines: list[bytes]) -> bool:
        """Read one slot; whether there was something in it."""
        check, length, more, data = _SLOT.unpack_from(self._map, n % SLOTS * SLOT + SLOTS_AT)
        piece = more == _A_PIECE
        size = length if piece else length + more
        if not 0 < size <= ROOM:
            return False
        seen = crc32(data[:length], n & 0xFFFFFFFF)
        if not piece:
            seen ^= crc32(data[length:size])
        if seen != check:
            return False
        if not piece:
            lines.append(data[:size])
            return True
        if length > _PIECE.size:
            number, end = _PIECE.unpack_from(data)
            line = self._unfinished.pop(number, b"") + data[_PIECE.size : size]
            if end:
                lines.append(line)
            else:
                self._unfinished[number] = line
                if len(self._unfinished) > _UNFINISHED:
                    del self._unfinished[next(iter(self._unfinished))]
                    self._missing += 1
        return True

    def _behind_hole(self, n: int, *, last: bool) -> int:
        """How far ahead the next line is, where a writer drew ``n`` and has not written it yet.

        A thread that waits for the interpreter will; one that was ended in between never does.
        """
        if self._words[WRITTEN] <= n:
            return 0
        now = self._clock()
        hole, since = self._hole
        if hole != n:
            self._hole, since = (n, now), now
        if last or now - since >= _HOLE_SECONDS:
            for ahead in range(1, SLOTS):
                if self._take(n + ahead, []):
                    return ahead
        return 0


_pack_slot: Final = _SLOT.pack_into
