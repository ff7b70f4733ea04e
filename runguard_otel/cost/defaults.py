"""What plugins use if no model is named: ``defaults.toml``, for people who ask what it costs."""

from __future__ import annotations

import sys
from functools import lru_cache
from pathlib import Path
from typing import Final, NamedTuple

__all__ = ["COMPONENT_OF", "DATA", "Default", "Defaults", "defaults"]

DATA: Final = Path(__file__).with_name("defaults.toml")
COMPONENT_OF: Final = {"STT": "stt", "TTS": "tts", "LLM": "llm", "RealtimeModel": "llm"}
"""Component by what the name of a plugin's class has in it."""


class Default(NamedTuple):
    """One class of a plugin.

    Args:
        plugin: The package under ``livekit.plugins``; ``inference`` is LiveKit's own client.
        name: The class, with its module where that is not the plugin itself.
        component: ``stt``, ``llm`` or ``tts``.
        provider: As LiveKit names it.
        model: As LiveKit names it; ``unknown`` where the plugin names none.
        unpriced: Why it has no price; ``""`` where it has one.
    """

    plugin: str
    name: str
    component: str
    provider: str
    model: str
    unpriced: str = ""


class Defaults(NamedTuple):
    """All of them, and the plugins' release they were read in."""

    release: str
    rows: tuple[Default, ...]


@lru_cache(maxsize=1)
def defaults() -> Defaults:
    """What ``defaults.toml`` says."""
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    data = tomllib.loads(DATA.read_text(encoding="utf-8"))
    return Defaults(data["release"], tuple(Default(**row) for row in data["default"]))
