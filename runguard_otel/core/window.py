"""A sliding window that counts the last W seconds in constant time and bounded memory."""

from __future__ import annotations

from array import array

__all__ = ["SlidingWindow"]


class SlidingWindow:
    """Counts hits of the last ``window_seconds``.

    Times live in a ring of ``capacity`` doubles, so a key costs the same after three hits and after
    three million. Above the capacity the count saturates, which no threshold can notice as long as
    the capacity is at least the threshold.

    Args:
        window_seconds: Length of the window in seconds, > 0. A hit exactly that old is out.
        capacity: The largest count that can be told apart, >= 1.

    Raises:
        ValueError: If either argument is out of range.
    """

    __slots__ = ("_capacity", "_size", "_start", "_times", "window_seconds")

    def __init__(self, window_seconds: float, capacity: int = 16) -> None:
        if not window_seconds > 0:
            raise ValueError(f"window_seconds must be > 0, got {window_seconds!r}")
        if capacity < 1:
            raise ValueError(f"capacity must be >= 1, got {capacity!r}")
        self.window_seconds = window_seconds
        self._capacity = capacity
        self._times = array("d", bytes(8 * capacity))
        self._start = 0
        self._size = 0

    def hit(self, now: float) -> int:
        """Record a hit at ``now`` (monotonic seconds) and return the count including it."""
        times, capacity, start, size = self._times, self._capacity, self._start, self._size
        horizon = now - self.window_seconds
        while size and times[start] <= horizon:
            start += 1
            if start == capacity:
                start = 0
            size -= 1
        end = start + size
        times[end - capacity if end >= capacity else end] = now
        if size == capacity:
            start += 1
            if start == capacity:
                start = 0
        else:
            size += 1
        self._start, self._size = start, size
        return size

    def count(self, now: float) -> int:
        """How many hits the window holds at ``now``."""
        horizon = now - self.window_seconds
        while self._size and self._times[self._start] <= horizon:
            self._start = (self._start + 1) % self._capacity
            self._size -= 1
        return self._size

    def times(self) -> tuple[float, ...]:
        """The times still held, oldest first (call :meth:`count` first to drop the expired)."""
        return tuple(self._times[(self._start + i) % self._capacity] for i in range(self._size))

    def clear(self) -> None:
        """Forget everything."""
        self._start = self._size = 0
