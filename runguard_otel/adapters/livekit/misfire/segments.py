"""The last voice segment of a session: when it was, and whether it led to words."""

from __future__ import annotations

__all__ = ["VoiceSegments"]

MIN_SEGMENT_SECONDS = 0.5
"""A shorter voice segment without text is a cough or a click, not worth an event."""


class VoiceSegments:
    """Remembers when a voice was heard: its text may come long after.

    The voice detector tells best. Where the recogniser finds the turns it tells as well; it is not
    asked while the detector hears a voice, and may never say that a voice ended.
    """

    __slots__ = ("_began", "_detected", "_ended", "_heard", "_told", "wordless")

    def __init__(self) -> None:
        self.wordless = False
        self._heard = False
        self._began: float | None = None
        self._ended: float | None = None
        self._detected = False
        self._told = False  # whether a result was made of the voice that the recogniser told of

    def began(self, at: float) -> None:
        """The voice detector hears a voice since ``at`` (monotonic seconds)."""
        self._began, self._ended, self._detected = at, None, True
        self._heard = self.wordless = False

    def ended(self, at: float, seconds: float) -> None:
        """The voice that the detector heard fell silent at ``at``, after ``seconds`` in all."""
        if self._ended is None:
            self._ended = at
        if seconds >= MIN_SEGMENT_SECONDS and not self._heard:
            self.wordless = True  # unless its text is late: judged when the next one begins

    def recognised(self, at: float) -> None:
        """The recogniser hears a voice since ``at`` (monotonic seconds)."""
        if not self._detected or self._ended is not None:
            self._began, self._ended, self._detected = at, None, False
            self._told = False

    def recognised_end(self, at: float) -> None:
        """The voice that the recogniser heard fell silent at ``at``."""
        if not self._detected and self._ended is None:
            self._ended = at

    def silent_for(self, at: float) -> float:
        """Seconds from the end of the last voice until ``at``; none, if it goes on."""
        if self._began is None:
            return float("inf")
        return 0.0 if self._ended is None else at - self._ended

    def continues(self, at: float, pause: float) -> bool:
        """Whether a voice that begins at ``at`` may be of the same turn as the last one.

        Args:
            at: Monotonic seconds.
            pause: How long the user may be silent within a turn, in seconds.
        """
        if self._ended is None:
            return self._began is not None
        return pause > 0 and at - self._ended <= pause

    def words(self) -> None:
        """A final result with words: the segment led to something."""
        self._heard, self.wordless = True, False
        self._told = True

    def span(self, now: float) -> tuple[float, float] | None:
        """From when to when the last voice was heard; ``None`` if nothing told of it.

        Some recognisers tell of the first voice of a stream only. So one that they told of is not
        the voice of a second result, unless it goes on.

        Args:
            now: Monotonic seconds: a voice that goes on is heard until now.
        """
        began, ended = self._began, self._ended
        if began is None:
            return None
        if ended is None:
            return began, now
        return None if self._told and not self._detected else (began, ended)
