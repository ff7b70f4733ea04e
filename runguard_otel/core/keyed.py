"""State per key, bounded: the least recently used key is forgotten first."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from typing import Generic, TypeVar

__all__ = ["BoundedMap"]

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class BoundedMap(Generic[K, V]):
    """A map that makes missing values and never holds more than ``max_keys``.

    The lock is held for a dictionary operation only, never while host code or a factory's slow work
    runs, so threads of LiveKit's thread executor cannot hold each other up.

    Args:
        factory: Makes the value of a new key. Must be quick.
        max_keys: The bound, >= 1.

    Raises:
        ValueError: If ``max_keys`` is out of range.
    """

    def __init__(self, factory: Callable[[K], V], max_keys: int = 10_000) -> None:
        if max_keys < 1:
            raise ValueError(f"max_keys must be >= 1, got {max_keys!r}")
        self._factory = factory
        self._max_keys = max_keys
        self._items: OrderedDict[K, V] = OrderedDict()
        self._lock = threading.Lock()
        self.evicted = 0

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[V]:
        with self._lock:
            return iter(list(self._items.values()))

    def get(self, key: K) -> V:
        """The value of ``key``, made if it is new; the key becomes the most recently used."""
        value = self._items.get(key)
        if value is not None:
            try:
                self._items.move_to_end(key)  # one step of the interpreter: needs no lock
                return value
            except KeyError:  # another thread has just forgotten it
                pass
        with self._lock:
            value = self._items.get(key)
            if value is None:
                value = self._items[key] = self._factory(key)
                if len(self._items) > self._max_keys:
                    self._items.popitem(last=False)
                    self.evicted += 1
            return value

    def peek(self, key: K) -> V | None:
        """The value of ``key`` if there is one; changes nothing."""
        return self._items.get(key)

    def pop(self, key: K) -> V | None:
        """Forget ``key`` and return what it had."""
        with self._lock:
            return self._items.pop(key, None)
