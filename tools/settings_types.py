"""Generates ``runguard_otel/settings_types.py``: the settings as a ``TypedDict``, for checkers.

``instrument(**settings)`` and ``Settings(**settings)`` take keywords; with ``Unpack`` of this type
a misspelt name or a value of the wrong kind is an error in the editor.
"""

from __future__ import annotations

import types
import typing
from pathlib import Path
from typing import Any, Literal

from runguard_otel.core.verdict import Mode
from runguard_otel.settings import Settings

TARGET = Path(__file__).resolve().parents[1] / "runguard_otel" / "settings_types.py"

HEAD = '''# Generated from runguard_otel/settings.py by `make generate`. Do not edit.
"""The settings as keyword arguments, for type checkers. ``docs/settings.md`` explains them."""

from __future__ import annotations

from typing import Literal, TypedDict

from runguard_otel.core.verdict import Mode

__all__ = ["ModeName", "SettingsOverrides"]

ModeName = Literal["off", "observe", "enforce"]
"""How a mode is written in an argument or in a variable."""


class SettingsOverrides(TypedDict, total=False):
    """Any field of :class:`~runguard_otel.Settings`."""

'''


def generated() -> dict[Path, str]:
    """The file and its text."""
    fields = [f"    {n}: {_kind(f.annotation)}" for n, f in Settings.model_fields.items()]
    return {TARGET: HEAD + "\n".join(fields) + "\n"}


def _kind(annotation: Any) -> str:
    return " | ".join(dict.fromkeys(_kinds(annotation)))


def _kinds(annotation: Any) -> list[str]:
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return [kind for part in typing.get_args(annotation) for kind in _kinds(part)]
    if typing.get_origin(annotation) is Literal:
        words = ", ".join(f'"{word}"' for word in typing.get_args(annotation))
        return [f"Literal[{words}]"]
    if annotation is Mode:
        return ["Mode", "ModeName"]
    return ["None" if annotation is type(None) else annotation.__name__]
