"""What we note on an object of the host, without a look into its ``__dict__``.

CPython 3.11 and 3.12 keep the attributes of an object in a row of their own, until somebody asks
for its ``__dict__`` once, as ``vars`` does. From then on each access to any of them, by the host as
well, takes twice as long, for as long as the object lives: on a recogniser's stream that is ten
accesses with each frame.

Nor is an object asked in the usual way: one that wraps another may answer with what is noted there.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Final

__all__ = ["forget", "note", "noted", "read"]

read: Final = object.__getattribute__
"""``read(owner, name)``; raises ``AttributeError`` if nothing is noted."""

note: Final = object.__setattr__
"""``note(owner, name, value)``; raises ``AttributeError`` for an object that takes none."""


def noted(owner: Any, name: str) -> Any:
    """What is noted under this name on this very object; ``None`` if nothing is."""
    try:
        return read(owner, name)
    except AttributeError:
        return None


def forget(owner: Any, name: str) -> None:
    """Nothing is noted there any more."""
    with suppress(AttributeError):
        object.__delattr__(owner, name)
