"""Finds a repeating block at the end of a stream of signatures."""

from __future__ import annotations

import time
from array import array
from dataclasses import dataclass

from runguard_otel.core.verdict import Clock

__all__ = ["LoopDetector", "LoopMatch"]


@dataclass(slots=True)  # not frozen: freezing triples what a match costs
class LoopMatch:
    """A block of signatures that was repeated.

    Args:
        block: The repeated block, oldest first; its length is the period.
        repeats: How many times in a row it was seen (the detector's setting).
        span_seconds: Time between the first and the last signature of the repetition.
    """

    block: tuple[str, ...]
    repeats: int
    span_seconds: float

    @property
    def period(self) -> int:
        """Length of the block."""
        return len(self.block)

    @property
    def count(self) -> int:
        """How many signatures make the repetition."""
        return len(self.block) * self.repeats


class LoopDetector:
    """Finds the smallest period whose block ends the stream ``repeats`` times in a row.

    For every period ``p`` it keeps one number: for how many pushes in a row the signature has been
    equal to the one ``p`` pushes before. The last ``p * repeats`` signatures are one block repeated
    exactly when that run is at least ``p * (repeats - 1)``. So a push costs O(max_cycle_len) and no
    history is kept beyond the longest block (and, with a window, its times).

    Args:
        repeats: How often a block must stand in a row, >= 2.
        max_cycle_len: The longest block looked for, >= 1. 1 finds only ``AAA``, 2 also ``ABAB``.
        window_seconds: If given, all of the repetition must lie within this many seconds.
        clock: Monotonic seconds; for tests.

    Raises:
        ValueError: If an argument is out of range.
    """

    __slots__ = (
        "_clock",
        "_horizon",
        "_last",
        "_n",
        "_runs",
        "_times",
        "max_cycle_len",
        "repeats",
        "window_seconds",
    )

    def __init__(
        self,
        repeats: int = 3,
        max_cycle_len: int = 1,
        window_seconds: float | None = None,
        *,
        clock: Clock = time.monotonic,
    ) -> None:
        if repeats < 2:
            raise ValueError(f"repeats must be >= 2, got {repeats!r}")
        if max_cycle_len < 1:
            raise ValueError(f"max_cycle_len must be >= 1, got {max_cycle_len!r}")
        if window_seconds is not None and not window_seconds > 0:
            raise ValueError(f"window_seconds must be > 0 or None, got {window_seconds!r}")
        self.repeats = repeats
        self.max_cycle_len = max_cycle_len
        self.window_seconds = window_seconds
        self._clock = clock
        self._last: list[str] = [""] * max_cycle_len
        self._runs = [0] * (max_cycle_len + 1)
        self._horizon = repeats * max_cycle_len
        self._times = array("d", bytes(8 * self._horizon))
        self._n = 0

    def push(self, signature: str) -> LoopMatch | None:
        """Add one signature and say whether a block now repeats.

        Args:
            signature: What happened; compared by equality.

        Returns:
            The match with the smallest period, or ``None``.
        """
        n, longest, last, runs = self._n, self.max_cycle_len, self._last, self._runs
        now = self._clock()
        self._times[n % self._horizon] = now
        found = 0
        wanted = self.repeats - 1
        for period in range(1, longest + 1):
            if n >= period and last[(n - period) % longest] == signature:
                run = runs[period] = runs[period] + 1
                if not found and run >= period * wanted and self._recent(n, period, now):
                    found = period
            else:
                runs[period] = 0
        last[n % longest] = signature
        self._n = n + 1
        if not found:
            return None
        block = tuple(last[i % longest] for i in range(n + 1 - found, n + 1))
        return LoopMatch(block, self.repeats, now - self._first_time(n, found))

    def reset(self) -> None:
        """Forget everything that was pushed."""
        self._n = 0
        self._runs = [0] * (self.max_cycle_len + 1)

    def _first_time(self, n: int, period: int) -> float:
        return self._times[(n + 1 - period * self.repeats) % self._horizon]

    def _recent(self, n: int, period: int, now: float) -> bool:
        window = self.window_seconds
        return window is None or now - self._first_time(n, period) <= window
