"""Every type that a user of this package meets, for annotations.

What is called or built stands in :mod:`runguard_otel` itself, what is raised in
:mod:`runguard_otel.errors`.
"""

from __future__ import annotations

from collections.abc import Callable

from runguard_otel.claims.registry import ClaimRegistry
from runguard_otel.core.loop import LoopMatch
from runguard_otel.core.ports import ClaimHandle
from runguard_otel.core.signatures import GuardName
from runguard_otel.core.verdict import Evidence, Mode, Subject, Trip
from runguard_otel.cost.ledger import SessionCost
from runguard_otel.settings_types import ModeName, SettingsOverrides

__all__ = [
    # settings
    "Mode",
    "ModeName",
    "SettingsOverrides",
    # trips
    "Trip",
    "TripCallback",
    "Evidence",
    "GuardName",
    "Subject",
    "LoopMatch",
    # asked from inside a job
    "ClaimHandle",
    "ClaimRegistry",
    "SessionCost",
]

TripCallback = Callable[[Trip], object]
"""Gets each trip; a function or a coroutine function. What it returns is not looked at."""
