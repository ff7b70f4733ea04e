"""What a job process says to its worker over the socket: small, versioned records.

With a shared block (:mod:`~runguard_otel.telemetry.hub.block`) it says only that a job began, here
is its block (and its tape), look now, and how it ended; counts are records where no memory can be
shared.

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
    "Hung",
    "Look",
    "RecordKind",
    "Rejected",
    "Shared",
    "Started",
    "Taped",
    "decode",
    "encode_count",
    "encode_ended",
    "encode_hung",
    "encode_look",
    "encode_series",
    "encode_shared",
    "encode_started",
    "encode_taped",
    "parse_pairs",
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
    SHARED = 4
    LOOK = 5
    HUNG = 6
    TAPED = 7


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
class Shared:
    """The file descriptor of the job's block comes with this record."""


@dataclass(slots=True)
class Look:
    """Something was counted that should be seen at once."""


@dataclass(slots=True)
class Hung:
    """The process at the other end cannot end by itself, and asks to be ended."""


@dataclass(slots=True)
class Taped:
    """The file descriptor of the job's tape comes with this record, after that of its block."""


@dataclass(slots=True)
class Rejected:
    """A record that cannot be read here; ``reason`` is a value of the ``drop`` attribute."""

    reason: str


Record = Count | Started | Ended | Shared | Look | Hung | Taped | Rejected


def encode_series(metric: str, attributes: Mapping[str, str]) -> bytes:
    """The bytes that stand for one series; at most 2048 of them."""
    parts = [metric, *(f"{k}={v.replace(_SEPARATOR, ' ')[:200]}" for k, v in attributes.items())]
    return _SEPARATOR.join(parts).encode("utf-8", "replace")[:_MAX_SERIES]


def parse_pairs(series: bytes) -> tuple[str, dict[str, str]] | None:
    """Name and attributes; ``None`` if these bytes are nothing that was encoded here."""
    try:
        name, *pairs = series.decode().split(_SEPARATOR)
        return name, dict(pair.split("=", 1) for pair in pairs)
    except ValueError:
        return None


def parse_series(series: bytes) -> tuple[str, dict[str, str]] | None:
    """Metric and short attributes; ``None`` if this is no series of the catalogue."""
    found = parse_pairs(series)
    if found is None or found[0] not in METRICS or METRICS[found[0]].kind is Kind.GAUGE:
        return None
    return found


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


def encode_shared() -> bytes:
    """The descriptor sent along is the job's block."""
    return _HEAD.pack(2, VERSION, RecordKind.SHARED)


def encode_taped() -> bytes:
    """The last descriptor sent along is the job's tape."""
    return _HEAD.pack(2, VERSION, RecordKind.TAPED)


def encode_look() -> bytes:
    """Look at the block now."""
    return _HEAD.pack(2, VERSION, RecordKind.LOOK)


def encode_hung() -> bytes:
    """End this process."""
    return _HEAD.pack(2, VERSION, RecordKind.HUNG)


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
    if kind == RecordKind.SHARED:
        return Shared()
    if kind == RecordKind.LOOK:
        return Look()
    if kind == RecordKind.HUNG:
        return Hung()
    if kind == RecordKind.TAPED:
        return Taped()
    if kind == RecordKind.ENDED:
        return Ended(data[body + 2 : following].decode("utf-8", "replace"))
    return Rejected("malformed")
