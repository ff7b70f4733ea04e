"""How a job process tells its worker what happened: small, versioned, length-prefixed records.

A record is ``length (2 bytes) | version (1) | kind (1) | payload``; the length counts what follows
it, so a reader can step over records of a later version. A count's payload is
``value (double) | trace id (16) | span id (8) | trace flags (1) | series``, and a series is
``metric 0x1f attribute=value 0x1f ...`` in UTF-8: the same bytes for the same series, so both sides
look it up without parsing. All numbers are big-endian.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum

from runguard_otel.telemetry.catalogue import METRICS, Kind

__all__ = [
    "VERSION",
    "Count",
    "Ended",
    "RecordKind",
    "Rejected",
    "Started",
    "decode",
    "encode_count",
    "encode_ended",
    "encode_series",
    "encode_started",
    "parse_series",
]

VERSION = 1
NO_TRACE = bytes(25)

_SEPARATOR = "\x1f"
_PREFIX = 2  # bytes of the length
_HEAD = struct.Struct(">HBB")
_COUNT = struct.Struct(">HBBd25s")
_VALUE = struct.Struct(">d")
_COUNT_BODY = _COUNT.size - _PREFIX
_MAX_SERIES = 2048


class RecordKind(IntEnum):
    """What a record says."""

    STARTED = 1
    COUNT = 2
    ENDED = 3


@dataclass(slots=True)
class Count:
    """One measurement; ``trace`` is trace id, span id and flags, or zeros."""

    value: float
    trace: bytes
    series: bytes


@dataclass(slots=True)
class Started:
    """A job runs in the process at the other end."""


@dataclass(slots=True)
class Ended:
    """The job said goodbye."""

    outcome: str


@dataclass(slots=True)
class Rejected:
    """A record nobody here can read; ``reason`` is a value of the ``drop`` attribute."""

    reason: str


Record = Count | Started | Ended | Rejected


def encode_series(metric: str, attributes: Mapping[str, str]) -> bytes:
    """The bytes that stand for one series; at most 2048 of them."""
    parts = [metric, *(f"{k}={v.replace(_SEPARATOR, ' ')[:200]}" for k, v in attributes.items())]
    return _SEPARATOR.join(parts).encode("utf-8", "replace")[:_MAX_SERIES]


def parse_series(series: bytes) -> tuple[str, dict[str, str]] | None:
    """Metric and short attributes; ``None`` if this is no series of the catalogue."""
    try:
        metric, *pairs = series.decode().split(_SEPARATOR)
        attributes = dict(pair.split("=", 1) for pair in pairs)
    except ValueError:
        return None
    if metric not in METRICS or METRICS[metric].kind is Kind.GAUGE:
        return None
    return metric, attributes


def encode_count(value: float, trace: bytes, series: bytes) -> bytes:
    """One measurement of a series.

    Args:
        value: In the metric's unit.
        trace: Trace id (16 bytes), span id (8), flags (1); ``NO_TRACE`` for none.
        series: From :func:`encode_series`.
    """
    length = _COUNT_BODY + len(series)
    return _COUNT.pack(length, VERSION, RecordKind.COUNT, value, trace) + series


def encode_started() -> bytes:
    """A job begins."""
    return _HEAD.pack(2, VERSION, RecordKind.STARTED)


def encode_ended(outcome: str) -> bytes:
    """A job ends, with a value of the ``job_outcome`` attribute."""
    payload = outcome.encode()[:100]
    return _HEAD.pack(2 + len(payload), VERSION, RecordKind.ENDED) + payload


def complete(data: bytes) -> int:
    """How many bytes of ``data`` are whole records."""
    at, end = 0, len(data)
    while end - at >= _PREFIX:
        following = at + _PREFIX + (data[at] << 8 | data[at + 1])
        if following > end:
            break
        at = following
    return at


def decode(data: bytes) -> Iterator[Record]:
    """Read whole records (see :func:`complete`); what cannot be read becomes ``Rejected``."""
    at, end = 0, len(data)
    while at < end:
        body = at + _PREFIX
        at = body + (data[at] << 8 | data[at + 1])
        if at - body < 2:
            yield Rejected("malformed")
        elif data[body] != VERSION:
            yield Rejected("version")
        else:
            yield _payload(data[body + 1], data, body, at)


def _payload(kind: int, data: bytes, body: int, following: int) -> Record:
    if kind == RecordKind.COUNT and following - body > _COUNT_BODY:
        (value,) = _VALUE.unpack_from(data, body + 2)
        return Count(value, data[body + 10 : body + 35], data[body + 35 : following])
    if kind == RecordKind.STARTED:
        return Started()
    if kind == RecordKind.ENDED:
        return Ended(data[body + 2 : following].decode("utf-8", "replace"))
    return Rejected("malformed")
