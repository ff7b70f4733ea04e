"""One line of a log, of whichever format: when, what, and its fields.

Read: the JSON and console formats of livekit-agents 0.12 to 1.8, zap's JSON and console formats of
livekit-server 1.13, and text that begins with a time. Docker's and Kubernetes' prefixes are
skipped.
"""

from __future__ import annotations

import calendar
import json
import re
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any, Final, NamedTuple

__all__ = ["Line", "parse"]

_LONGEST = 65_536  # a longer line is no log line, and no reason to run out of memory
_TIMES: Final = ("timestamp", "ts", "time", "@timestamp", "asctime", "datetime")
_MESSAGES: Final = ("message", "msg", "event", "log")
_LOGGERS: Final = ("name", "logger")
_ESCAPES: Final = re.compile(r"\x1b\[[0-9;]*m")
_TIME: Final = re.compile(
    r"\[?(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:[.,](\d{1,9}))?\s?(Z|[+-]\d\d:?\d\d)?\]?"
)
_SYSLOG: Final = re.compile(r"([A-Z][a-z]{2}) +(\d{1,2}) (\d\d:\d\d:\d\d)\s")
_CONTAINER: Final = re.compile(r"^\S+ (?:stdout|stderr) [FP] ")
_MONTHS: Final = {name: n for n, name in enumerate(calendar.month_abbr) if name}


class Line(NamedTuple):
    """A line that was understood.

    Args:
        at: Unix seconds; ``None`` where the line has no time.
        message: What it says, without time, level and fields.
        fields: What it says as data.
        logger: Who says it, ``""`` if unknown.
    """

    at: float | None
    message: str
    fields: Mapping[str, Any]
    logger: str = ""


def parse(text: str) -> Line | None:
    """One line; ``None`` if it is empty, or so long that it cannot be one."""
    text = _ESCAPES.sub("", text).strip()
    if not text or len(text) > _LONGEST:
        return None
    prefix = _CONTAINER.match(text)
    if prefix:
        text = text[prefix.end() :]
    if text.startswith("{"):
        fields = _object(text)
        if fields is not None:
            return _of_json(fields)
    if text.count("\t") >= 3:
        return _of_zap(text)
    return _of_text(text)


def _of_json(fields: dict[str, Any]) -> Line | None:
    at = next((t for t in (_time(fields.get(k)) for k in _TIMES) if t is not None), None)
    message = next((str(fields[k]) for k in _MESSAGES if isinstance(fields.get(k), str)), "")
    if "{" in message[:1]:  # a collector that wrapped the agent's own JSON
        inner = _object(message)
        if inner is not None:
            found = _of_json(inner)
            return found._replace(at=found.at if found.at is not None else at) if found else None
    logger = next((str(fields[k]) for k in _LOGGERS if isinstance(fields.get(k), str)), "")
    return Line(at, message, fields, logger)


def _of_zap(text: str) -> Line:
    """``time, level, logger, caller, message, fields`` with tabs between."""
    parts = text.split("\t")
    fields = _object(parts[-1]) if parts[-1].startswith("{") else None
    said = parts[1:-1] if fields is not None else parts[1:]
    logger = said[1] if len(said) > 2 else ""
    return Line(_time(parts[0]), said[-1], fields or {}, logger)


def _of_text(text: str) -> Line:
    at, rest = None, text
    found = _TIME.search(text[:64])
    if found:
        at, rest = _time(found.group(0)), text[found.end() :]
    else:
        old = _SYSLOG.match(text)
        if old:
            at, rest = _of_syslog(old), text[old.end() :]
    fields: dict[str, Any] = {}
    begin = rest.find("{")
    if begin > 0 and rest.endswith("}"):
        data = _object(rest[begin:])
        if data is not None:
            fields, rest = data, rest[:begin]
    return Line(at, rest.strip(" -:|\t"), fields)


def _object(text: str) -> dict[str, Any] | None:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _time(value: Any) -> float | None:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        for scale in (1, 1e3, 1e6, 1e9):  # seconds, or as fine as anybody writes them
            if 1e8 < value / scale < 1e11:
                return float(value) / scale
        return None
    found = _TIME.match(value) if isinstance(value, str) else None
    if found is None:
        return None
    day, clock, fraction, zone = found.groups()
    try:
        at = datetime.fromisoformat(f"{day}T{clock}")
    except ValueError:
        return None
    offset = 0.0
    if zone and zone != "Z":
        hours, minutes = int(zone[1:3]), int(zone[-2:])
        offset = (hours * 60 + minutes) * (60 if zone[0] == "+" else -60)
    return at.replace(tzinfo=timezone.utc).timestamp() - offset + float(f"0.{fraction or 0}")


def _of_syslog(found: re.Match[str]) -> float | None:
    """Syslog names no year: only distances count, so one is as good as another."""
    month, day, clock = found.groups()
    if month not in _MONTHS:
        return None
    return _time(f"2000-{_MONTHS[month]:02}-{int(day):02} {clock}")
