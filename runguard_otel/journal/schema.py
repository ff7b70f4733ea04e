"""What stands in a journal: its version, which settings it repeats, which words it takes over."""

from __future__ import annotations

from typing import Any, Final

from runguard_otel.core.signatures import GuardName
from runguard_otel.settings import Settings

__all__ = ["SCHEMA", "Row", "kept_settings"]

SCHEMA: Final = 1
"""Goes up when a reader of before would misread a line. New words and new lines are no reason."""

Row = dict[str, Any]

_WORDS: Final = ("_say",)


def kept_settings(settings: Settings) -> dict[str, Any]:
    """The settings that decide: modes and the guards' own, but nothing the agent says."""
    starts = ("mode", *map(str, GuardName))
    return {
        name: value
        for name, value in settings.values().items()
        if name.startswith(starts) and not name.endswith(_WORDS)
    }
