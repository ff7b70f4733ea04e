"""Logs that people have, read as events: is this happening to us?

:func:`read_events` is the whole interface for others; :mod:`~runguard_otel.logscan.loops` finds the
loops in what it gives.
"""

from __future__ import annotations

from runguard_otel.logscan.events import KINDS, LogEvent, read_events

__all__ = ["KINDS", "LogEvent", "read_events"]
