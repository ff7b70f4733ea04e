"""Dashboards and runbooks for an installation whose labels of cluster and service differ."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

__all__ = ["in_board", "in_runbook"]

_QUERY = re.compile(r"(?<![$\w:])\w+(?=\s*[=!,)])")
_LEGEND = re.compile(r"(?<={{)\w+(?=}})")
_CODE = re.compile(r"```promql\n.*?```|`[^`]+`", re.DOTALL)
_BY_FIELD = frozenset({"excludeByName", "indexByName", "renameByName"})


def in_board(text: str, names: Mapping[str, str]) -> str:
    """A dashboard's JSON with other label names; its variables keep theirs.

    Args:
        text: As shipped.
        names: Shipped label to the installation's.
    """
    return json.dumps(_walked(json.loads(text), "", names), indent=2, sort_keys=True) + "\n"


def in_runbook(text: str, names: Mapping[str, str]) -> str:
    """A runbook whose queries have other label names.

    Args:
        text: As shipped.
        names: Shipped label to the installation's.
    """
    return _CODE.sub(lambda code: _replaced(_QUERY, code[0], names), text)


def _walked(node: Any, key: str, names: Mapping[str, str]) -> Any:
    if isinstance(node, dict):
        fields = {names.get(k, k): v for k, v in node.items()} if key in _BY_FIELD else node
        return {k: _walked(v, k, names) for k, v in fields.items()}
    if isinstance(node, list):
        return [_walked(item, key, names) for item in node]
    if not isinstance(node, str):
        return node
    if key in ("expr", "query"):
        return _replaced(_QUERY, node, names)
    if key == "legendFormat":
        return _replaced(_LEGEND, node, names)
    if key == "tagKeys":
        return ",".join(names.get(name, name) for name in node.split(","))
    return node


def _replaced(pattern: re.Pattern[str], text: str, names: Mapping[str, str]) -> str:
    return pattern.sub(lambda found: names.get(found[0], found[0]), text)
