"""Generates ``docs/settings.md`` from the one table of settings."""

from __future__ import annotations

from pathlib import Path

from runguard_otel.settings import Settings

TARGET = Path(__file__).resolve().parents[1] / "docs" / "settings.md"

HEAD = """<!-- Generated from runguard_otel/settings.py by `make generate`. Do not edit. -->

# Settings

An explicit argument to `instrument()` beats the environment variable, which beats the default.
A value an environment variable cannot have is a warning and the default; a bad argument raises
`SettingsError` with the allowed values. Modes may be written in any case; `0`, `false`, `no` and
`disabled` mean `off`, and `1`, `true`, `yes`, `on` and `enabled` mean `enforce`.

| argument | environment variable | allowed | default | meaning |
|---|---|---|---|---|
"""


def generated() -> dict[Path, str]:
    """The file and its text."""
    rows = [
        f"| `{name}` | `{env}` | {allowed} | {f'`{default}`' if default else ''} | {meaning} |"
        for name, env, allowed, default, meaning in Settings.table()
    ]
    return {TARGET: HEAD + "\n".join(rows) + "\n"}
