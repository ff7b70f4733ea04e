"""YAML for people, written without a library: the package that ships has none."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

__all__ = ["as_yaml", "scalar"]

_PLAIN = re.compile(r"[A-Za-z_][\w./-]*")
_WORDS = {"true", "false", "yes", "no", "on", "off", "null", "y", "n"}  # YAML 1.1 among them


def as_yaml(value: Mapping[str, Any]) -> str:
    """A document in block style, keys in the order they have.

    Args:
        value: Mappings, sequences, texts, numbers and truth values. A text with line breaks becomes
            a literal block.
    """
    return "".join(f"{line}\n" if line else "\n" for line in _mapping(value))


def scalar(value: object) -> str:
    """One value on one line, quoted only where YAML would read something else."""
    if not isinstance(value, str):
        return json.dumps(value)
    if _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
        return value
    if not value.isprintable():
        return json.dumps(value)  # a JSON string is a YAML string
    return "'" + value.replace("'", "''") + "'"


def _mapping(value: Mapping[str, Any]) -> Iterator[str]:
    for key, item in value.items():
        name = scalar(key)
        if isinstance(item, Mapping) and item:
            yield f"{name}:"
            yield from _indented(_mapping(item))
        elif isinstance(item, str) and "\n" in item:
            yield f"{name}: |{'' if item.endswith(chr(10)) else '-'}"
            yield from _indented(item.splitlines())
        elif isinstance(item, Sequence) and not isinstance(item, str) and item:
            yield f"{name}:"
            yield from _indented(_sequence(item))
        else:
            yield f"{name}: {scalar(item)}"


def _sequence(items: Sequence[Any]) -> Iterator[str]:
    for item in items:
        if isinstance(item, Mapping) and item:
            first, *rest = _mapping(item)
            yield f"- {first}"
            yield from _indented(rest)
        else:
            yield f"- {scalar(item)}"


def _indented(lines: Iterator[str] | Sequence[str]) -> Iterator[str]:
    for line in lines:
        yield f"  {line}" if line else ""
