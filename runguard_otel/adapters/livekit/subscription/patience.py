"""A timer that is not early when the event loop was blocked: it fires after what came meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from runguard_otel.core.running import RunningTime

__all__ = ["PatientTimer"]


class PatientTimer:
    """Calls back once an event loop has run for so long.

    A loop that was blocked comes to its timers before it comes to what its tasks have received: the
    end of a track would be taken for missing that waits in the queue. Made, and cancelled, in that
    loop.

    Args:
        loop: The loop.
        seconds: How long it must have run.
        callback: Called then.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, seconds: float, callback: Callable[[], object]
    ) -> None:
        self._loop = loop
        self._time = RunningTime(seconds)
        self._callback = callback
        self._wait()

    @property
    def late(self) -> float:
        """Seconds so far in which the loop did not run."""
        return self._time.late

    def cancel(self) -> None:
        """Do not call back."""
        self._handle.cancel()

    def _wait(self) -> None:
        self._piece, self._began = self._time.piece, self._loop.time()
        self._handle = self._loop.call_later(self._piece, self._passed)

    def _passed(self) -> None:
        self._time.passed(self._piece, self._loop.time() - self._began)
        if self._time.left > 0:
            self._wait()
        else:
            self._callback()
