"""What is pushed into a lease while it is not known which stream it will be a handle on.

When a participant republishes a track, a LiveKit server announces the new one some 100 ms before it
says that the old one is gone. Until it says so, or a grace period is over, the audio waits here.
"""

from __future__ import annotations

from collections.abc import Callable

from livekit import rtc

__all__ = ["Backlog"]


class Backlog:
    """Audio and segment ends, in order. Bounded, and still drops nothing.

    Args:
        seconds: How much audio it may hold.
        full: Called when it holds that much: there can be no more waiting.
        abandoned: Called when the lease is closed: nobody needs a stream.
    """

    def __init__(
        self, seconds: float, full: Callable[[], None], abandoned: Callable[[], None]
    ) -> None:
        self._limit = seconds
        self._full = full
        self.abandoned = abandoned
        self.entries: list[rtc.AudioFrame | None] = []
        """Frames; ``None`` is the end of a segment."""
        self._rate = 0
        self._seconds = 0.0

    def push(self, frame: rtc.AudioFrame) -> None:
        """Keep a frame.

        Raises:
            ValueError: If its sample rate is not that of the frames before, as a stream would.
        """
        if self._rate and self._rate != frame.sample_rate:
            raise ValueError("the sample rate of the input frames must be consistent")
        self._rate = frame.sample_rate
        self.entries.append(frame)
        self._seconds += frame.samples_per_channel / frame.sample_rate
        if self._seconds >= self._limit:
            self._full()

    def flush(self) -> None:
        """Keep the end of a segment."""
        if self.entries and self.entries[-1] is not None:
            self.entries.append(None)
