"""A line of ``runguard-otel doctor``, and what the package logs while the doctor looks."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

__all__ = ["Finding", "held_back"]


@dataclass(frozen=True)
class Finding:
    """One line of the report. ``state`` is ok, note, degraded or broken."""

    subject: str
    state: str
    detail: str
    advice: str = ""


@contextmanager
def held_back() -> Iterator[list[str]]:
    """Keep our own log off the terminal and collect its warnings, each once.

    Settings are loaded several times on the way and would complain each time; the report says it
    once, and ``--json`` stays JSON.
    """
    said: list[str] = []

    def keep(record: logging.LogRecord) -> bool:
        text = record.getMessage()
        if record.levelno >= logging.WARNING and text not in said:
            said.append(text)
        return False

    logger = logging.getLogger("runguard_otel")
    logger.addFilter(keep)
    try:
        yield said
    finally:
        logger.removeFilter(keep)
