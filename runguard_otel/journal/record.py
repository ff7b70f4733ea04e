"""A line on its way: times as they are in memory, turned into text by whoever keeps it.

Python takes longer to write a float down than a job may pay for a whole line. So a record is either
a line of JSON, or its times and numbers as doubles and then the rest of the line.
"""

from __future__ import annotations

import struct
from typing import Final

__all__ = ["expand", "timed", "timed_with"]

_TIMED: Final = struct.Struct("=cd")
_SURE: Final = struct.Struct("=cdd")
_pack_timed, _pack_sure = _TIMED.pack, _SURE.pack


def timed(t: float, rest: bytes) -> bytes:
    """A record of what happened at ``t``; ``rest`` is a line of JSON without its ``{"t":...,``."""
    return _pack_timed(b"T", t) + rest


def timed_with(t: float, confidence: float, rest: bytes) -> bytes:
    """The same, of what was heard with this confidence."""
    return _pack_sure(b"C", t, confidence) + rest


def expand(record: bytes) -> bytes:
    """The line of a record."""
    kind = record[:1]
    if kind == b"T":
        _, t = _TIMED.unpack_from(record)
        return b'{"t":%s,%s' % (repr(t).encode(), record[_TIMED.size :])
    if kind == b"C":
        _, t, confidence = _SURE.unpack_from(record)
        head = f'{{"t":{t!r},"confidence":{confidence!r},'.encode()
        return head + record[_SURE.size :]
    return record
