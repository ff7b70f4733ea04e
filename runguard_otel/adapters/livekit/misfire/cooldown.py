"""A closed microphone that opens again by itself: what is left when the model hears the audio."""

from __future__ import annotations

import asyncio
from typing import Final

from runguard_otel.adapters.livekit.misfire.remedies import Later, Remedies

__all__ = ["Cooldown"]

_LONGEST: Final = 8
"""Bound on the doubling, in first cool-downs."""


class Cooldown:
    """Closes a session's input for some seconds, each time twice as long, up to a bound.

    When the time is over the input opens on trial: the next misfire closes it again at once.

    Args:
        seconds: Length of the first cool-down.
        bound: The longest that any may last, in seconds.
        actions: Has the microphone.
        later: Runs a function after so many seconds, on the session's loop.
    """

    def __init__(
        self,
        seconds: float,
        bound: float,
        actions: Remedies,
        later: Later,
    ) -> None:
        self._seconds = seconds
        self._bound = bound
        self._actions = actions
        self._later = later
        self._times = 0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def closed(self) -> bool:
        """Whether the input is closed right now."""
        return self._timer is not None

    @property
    def seconds(self) -> float:
        """How long the next cool-down will last."""
        longest: float = self._seconds * min(_LONGEST, 2**self._times)
        return min(self._bound, longest)

    def close(self) -> bool:
        """Close the input, unless it is closed or absent; true if this did it."""
        if self._timer is not None or not self._actions.cool():
            return False
        self._timer = self._later(self.seconds, self._open)
        self._times = min(self._times + 1, _LONGEST)
        return True

    def reset(self) -> None:
        """The storm is over: open the input and start from the first length next time."""
        self._times = 0
        if self._timer is not None:
            self._timer.cancel()
            self._open()

    def _open(self) -> None:
        self._timer = None
        self._actions.warm()
