"""Keeps ``runguard.guards.open`` honest: a guard that re-arms by quiet alone tells nobody."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

from runguard_otel.adapters.safety import shield
from runguard_otel.core.ports import Recorder

__all__ = ["OpenPeriods"]


class OpenPeriods:
    """Counts a guard as open from its trip until it has re-armed.

    Args:
        recorder: Where to count.
        guard: The guard's name.
    """

    def __init__(self, recorder: Recorder, guard: str) -> None:
        self._recorder = recorder
        self._guard = guard
        self._lock = threading.Lock()
        self._open = 0

    def opened(self, quiet_left: Callable[[], float]) -> None:
        """A guard has tripped.

        Args:
            quiet_left: Seconds of quiet until it re-arms, 0 once it has.
        """
        with self._lock:
            self._open += 1
        self._recorder.guard_opened(self._guard)
        self._look_later(quiet_left)

    def _look_later(self, quiet_left: Callable[[], float]) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # no loop, no timer: the end of the job or process counts it down
            return
        loop.call_later(quiet_left(), self._look, quiet_left)

    def _look(self, quiet_left: Callable[[], float]) -> None:
        with shield(self._recorder, "guard.timer"):
            if quiet_left() > 0:
                self._look_later(quiet_left)
                return
            with self._lock:
                if not self._open:
                    return
                self._open -= 1
            self._recorder.guard_closed(self._guard)

    def close(self) -> None:
        """Nothing guards any more: count everything as closed."""
        with self._lock:
            left, self._open = self._open, 0
        for _ in range(left):
            self._recorder.guard_closed(self._guard)
