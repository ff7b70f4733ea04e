"""A line on its way: times as they are in memory, turned into text by whoever keeps it.

Python takes longer to write a float down than a job may pay for a whole line. So a record is either
a line of JSON, or a head of its times and numbers as doubles and then the tail of the line, which
is made once for all lines that differ in nothing else.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final
from zlib import crc32

__all__ = ["ALONE", "SURE", "TIMED", "Put", "Tail", "expand", "sure", "tail_of", "timed"]

Tail = tuple[bytes, int]
"""The end of a line of JSON, after its time, and the checksum of it."""
Put = Callable[[bytes, Tail], None]
"""Takes a record: its head, and its tail."""

ALONE: Final[Tail] = (b"", 0)
"""The tail of a record that is a line of JSON already."""
TIMED: Final = b"T"
SURE: Final = b"C"
_TIMED: Final = struct.Struct("=cd")
_SURE: Final = struct.Struct("=cdd")
timed: Final = _TIMED.pack
"""The head of what happened at a time: ``timed(TIMED, t)``. No function of ours: it costs less."""
sure: Final = _SURE.pack
"""The head of what was heard with a confidence: ``sure(SURE, t, confidence)``."""


def tail_of(rest: bytes) -> Tail:
    """The tail of records; ``rest`` is a line of JSON without its ``{"t":...,``."""
    return rest, crc32(rest)


def expand(record: bytes) -> bytes:
    """The line of a record, head and tail together."""
    kind = record[:1]
    if kind == TIMED:
        _, t = _TIMED.unpack_from(record)
        return b'{"t":%s,%s' % (repr(t).encode(), record[_TIMED.size :])
    if kind == SURE:
        _, t, confidence = _SURE.unpack_from(record)
        head = f'{{"t":{t!r},"confidence":{confidence!r},'.encode()
        return head + record[_SURE.size :]
    return record
