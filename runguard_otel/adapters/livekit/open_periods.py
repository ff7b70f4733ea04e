"""Keeps ``runguard.guards.open`` honest: a guard that re-arms by quiet alone says nothing."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

from runguard_otel.adapters.safety import shield
from runguard_otel.core.ports import Recorder
from runguard_otel.core.verdict import Trip

__all__ = ["OpenPeriods"]


class OpenPeriods:
    """Counts a guard as open from its trip until it has re-armed.

    Args:
        recorder: Where to count.
    """

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._lock = threading.Lock()
        self._open: dict[Callable[[], float], Trip] = {}

    def opened(self, trip: Trip, quiet_left: Callable[[], float]) -> None:
        """A guard has tripped.

        Args:
            trip: What it says.
            quiet_left: Seconds of quiet until it re-arms, 0 once it has.
        """
        with self._lock:
            self._open[quiet_left] = trip
        self._recorder.guard_opened(trip.guard, trip.signature, trip.mode)
        self._look_later(quiet_left, quiet_left())

    def sweep(self) -> None:
        """Count down what has re-armed. Timers do it, too, but die with the loop of their job."""
        if not self._open:
            return
        for quiet_left in list(self._open):
            if quiet_left() <= 0:
                self._closed(quiet_left)

    def close(self) -> None:
        """Nothing guards any more: count everything as closed."""
        with self._lock:
            left, self._open = self._open, {}
        for trip in left.values():
            self._report_closed(trip)

    def _closed(self, quiet_left: Callable[[], float]) -> None:
        with self._lock:
            trip = self._open.pop(quiet_left, None)
        if trip is not None:  # else another thread was quicker
            self._report_closed(trip)

    def _report_closed(self, trip: Trip) -> None:
        self._recorder.guard_closed(trip.guard, trip.signature, trip.mode)

    def _look_later(self, quiet_left: Callable[[], float], seconds: float) -> None:
        try:
            asyncio.get_running_loop().call_later(seconds, self._look, quiet_left)
        except RuntimeError:  # no loop, no timer: the next event sweeps
            return

    def _look(self, quiet_left: Callable[[], float]) -> None:
        with shield(self._recorder, "guard.timer"):
            seconds = quiet_left()
            if seconds > 0:
                self._look_later(quiet_left, seconds)
            else:
                self._closed(quiet_left)
