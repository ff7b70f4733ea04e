"""The tape: whole lines of text that a job hands its worker through memory, in order.

A ring in an anonymous file that only the job writes and only its worker reads. A line is there when
the job's store of its end is; no system call, no thread woken, and nothing lost by the job's
SIGKILL. A full ring takes no line and counts it: the job never waits.

======  ============================================================
Word    What stands there
======  ============================================================
0       magic
1       bytes written since the beginning
2       lines that found no room
3       bytes read since the beginning; the reader's
8 on    the ring: length and checksum of a line (4 bytes each), line
======  ============================================================

The checksum begins with the line's position, so that what an earlier round left, or a store that
another CPU does not see yet, is not taken for a line.
"""

from __future__ import annotations

import os
import struct
import threading
from collections.abc import Callable
from typing import Final, Protocol
from zlib import crc32

from runguard_otel.telemetry.hub.block import shared_memory
from runguard_otel.telemetry.hub.reader import Foreign, identity, mapped

__all__ = ["Tape", "TapeKeeper", "TapeReader"]

MAGIC: Final = int.from_bytes(b"rgtape01", "little")
WRITTEN, LOST, READ = 1, 2, 3
RING_AT: Final = 64
RING: Final = 256 * 1024
"""Bytes: some 2,000 lines between two looks of the worker. Only what is written takes memory."""
SIZE: Final = RING_AT + RING
_HEAD: Final = struct.Struct("=II")
_pack: Final = _HEAD.pack
_MANY: Final = RING // 4


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
        self._written = 0
        self._hurried = 0
        self._lost = 0
        self._lock = threading.RLock()

    def write(self, line: bytes) -> None:
        """Hand over one line; there is no line end in it. Any thread may call."""
        length, words = len(line), self._words
        with self._lock:
            at = self._written
            end = at + length + 8
            waiting = end - words[READ]
            if waiting > RING:
                self._lost += 1
                words[LOST] = self._lost
                return
            data = _pack(length, crc32(line, at & 0xFFFFFFFF)) + line
            begin = RING_AT + at % RING
            over = begin + length + 8 - SIZE
            if over <= 0:
                self._map[begin : begin + length + 8] = data
            else:
                self._map[begin:SIZE] = data[:-over]
                self._map[RING_AT : RING_AT + over] = data[-over:]
            self._written = words[WRITTEN] = end
        if waiting > _MANY and at - self._hurried > _MANY:
            self._hurried = at
            self._hurry()

    def close(self) -> None:
        """Give back the descriptor; what is written stays readable for whoever has it."""
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


class TapeReader:
    """The worker's end. Believes nothing it reads.

    Args:
        descriptor: Of the job's file; closed here, whatever happens.

    Raises:
        Foreign: If it is no tape of this version.
        OSError: If it cannot be mapped.
    """

    def __init__(self, descriptor: int) -> None:
        try:
            self._map = mapped(descriptor, SIZE)
            self.identity = identity(descriptor)
        finally:
            os.close(descriptor)
        self._words = memoryview(self._map).cast("Q")
        self._lost = self._words[LOST] if self._words[READ] else 0  # a former reader told them
        if self._words[0] != MAGIC:
            self.close()
            raise Foreign("another version")

    def read(self, *, last: bool = False) -> list[bytes]:
        """The lines since the last time.

        Args:
            last: The process is gone: what is not whole now never will be.
        """
        words, lines = self._words, list[bytes]()
        at, written = words[READ], words[WRITTEN]
        while 0 < written - at <= RING:
            size, check = _HEAD.unpack(self._bytes(at, 8))
            line = self._bytes(at + 8, size) if size <= written - at - 8 else b""
            if not size or crc32(line, at & 0xFFFFFFFF) != check:
                break
            lines.append(line)
            at += size + 8
        if at != written and (last or not 0 < written - at <= RING):
            self._lost -= 1  # the rest cannot be told apart: one loss, whatever it held
            at = written
        words[READ] = at
        return lines

    def lost(self) -> int:
        """How many lines were lost since the last time."""
        known, self._lost = self._lost, self._words[LOST]
        return max(0, self._lost - known)

    def close(self) -> None:
        """Let go of the memory."""
        self._words.release()
        self._map.close()

    def _bytes(self, at: int, size: int) -> bytes:
        begin = RING_AT + at % RING
        over = begin + size - SIZE
        if over <= 0:
            return self._map[begin : begin + size]
        return self._map[begin:SIZE] + self._map[RING_AT : RING_AT + over]
