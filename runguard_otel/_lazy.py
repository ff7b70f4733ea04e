"""Public names that are loaded on first use, so that importing a package costs next to nothing."""

from __future__ import annotations

import importlib
import sys

TYPE_CHECKING = False  # as in the package
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

__all__ = ["lazy"]


def lazy(
    package: str, home: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """The ``__getattr__`` and the ``__dir__`` of a package whose names live in its modules.

    Bind both where ``TYPE_CHECKING`` is false: a checker that sees a module's ``__getattr__`` takes
    every misspelt name for one of ours.

    Args:
        package: ``__name__`` of the package.
        home: The module of each name, below the package.
    """

    def load(name: str) -> Any:
        if name not in home:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(f"{package}.{home[name]}"), name)
        setattr(sys.modules[package], name, value)
        return value

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *home})

    return load, names
