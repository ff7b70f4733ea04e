"""What ``Room`` says about its connection: outages of the SDK, and why a room was left."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

from runguard_otel.core.ports import Recorder
from runguard_otel.core.verdict import Clock

__all__ = ["Connection"]

STABLE_SECONDS: Final = 10.0
"""The SDK makes up to ten attempts in quick succession: connected for less is the same outage."""
_NOT_LOST: Final = ("client_initiated", "migration")


@dataclass
class Connection:
    """One connection's outages, counted in episodes instead of attempts.

    Args:
        recorder: Where to count.
        clock: Monotonic seconds.
    """

    recorder: Recorder
    clock: Clock = time.monotonic
    _out: bool = False
    _back_at: float | None = None

    def reconnecting(self) -> None:
        """The SDK lost the server and tries again; repeated within one outage."""
        self._out = True

    def reconnected(self) -> None:
        """The SDK is connected again; an outage soon after is the same episode."""
        if not self._out:
            return
        self._out = False
        now, before = self.clock(), self._back_at
        self._back_at = now
        if before is None or now - before >= STABLE_SECONDS:
            self.recorder.add("runguard.room.reconnect_episodes", episode="recovered")

    def disconnected(self, reason: str) -> None:
        """The connection is over.

        Args:
            reason: A word of the catalogue. Leaving on purpose, or because the server moves the
                room elsewhere, loses nothing.
        """
        self.recorder.add("runguard.room.disconnects", reason=reason)
        if self._out and reason not in _NOT_LOST:
            self.recorder.add("runguard.room.reconnect_episodes", episode="lost")
        self._out = False
