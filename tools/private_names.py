"""What LiveKit keeps to itself and we use all the same: which names, in which releases.

Names come from the sources: what ``adapters/livekit/facts`` reads, what the rows of ``hooks*.py``
patch. A release has a name if it stands anywhere in its installed Python files. That is coarse (it
may be another thing of that name), and right where it matters: what is gone from the text is gone.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from tools.house import HOST, ROOT, Module, Tree

__all__ = ["names", "present"]

_PRIVATE: Final = re.compile(r"_(?!getframe\b)[A-Za-z]\w*")
_OURS: Final = "_runguard"


def names() -> dict[str, list[str]]:
    """Private name: the modules of the adapter that use it, without their common beginning."""
    found: dict[str, set[str]] = defaultdict(set)
    for name, module in Tree(ROOT).modules.items():
        if name.startswith(f"{HOST}.facts") or (
            name.startswith(HOST) and module.path.stem.startswith("hooks")
        ):
            for private in _used(module):
                found[private].add(name.removeprefix(f"{HOST}."))
    return {name: sorted(found[name]) for name in sorted(found)}


def _used(module: Module) -> Iterator[str]:
    own = {n.id for n in ast.walk(module.tree) if isinstance(n, ast.Name)} | {
        n.name
        for n in ast.walk(module.tree)
        if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
    }
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) not in ("self", "cls"):
            yield from _private(node.attr)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            # A name to ask for, or the class in "package.module:_Class|Other".
            for word in re.split(r"[:|]", node.value):
                if word not in own:
                    yield from _private(word)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield from _private(alias.name)


def _private(word: str) -> Iterator[str]:
    if _PRIVATE.fullmatch(word) and not word.startswith(_OURS):
        yield word


def present(wanted: Mapping[str, object]) -> list[str]:
    """Those of the names that the installed LiveKit has.

    Args:
        wanted: By name.
    """
    spec = find_spec("livekit")
    folders = [Path(p) for p in (spec.submodule_search_locations or [])] if spec else []
    words: set[str] = set()
    for folder in folders:
        for file in folder.rglob("*.py"):
            words.update(_PRIVATE.findall(file.read_text(encoding="utf-8", errors="replace")))
    return [name for name in wanted if name in words]
