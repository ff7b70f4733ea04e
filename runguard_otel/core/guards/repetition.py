"""The same words again: one utterance that was reported twice, or a sentence made up over and over.

Some recognisers make two final results of one utterance, and each would be a turn. Some invent one
and the same sentence for every noise. Neither can be told from a caller by the words alone: so the
first is suppressed only if nothing was heard in between, and the second is only counted.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final, NamedTuple

from runguard_otel.core.similarity import tokens, words

__all__ = ["Heard", "Repetition"]

MIN_WORDS: Final = 3
"""Fewer words are often said again and again: yes, no, five, hello."""
TIMES: Final = 5
LATE_SECONDS: Final = 5.0
"""A voice that began longer ago and led to no result was none."""


class Heard(NamedTuple):
    """A final result, as far as its words and where they come from.

    Args:
        text: What was recognised.
        speaker: Who said it, if that is known.
        start: Where its audio begins in the recogniser's own time, in seconds.
        end: Where it ends; not after ``start`` if that is not known.
    """

    text: str
    speaker: str | None = None
    start: float = 0.0
    end: float = 0.0

    @property
    def timed(self) -> bool:
        """Whether it is known where its audio is. Some plugins send one and the same time twice."""
        return self.end > self.start >= 0


class Repetition:
    """Compares each final result of one session with those before it.

    Args:
        seconds: How long after a result the same one may be its duplicate; 0: never.
    """

    __slots__ = (
        "_at",
        "_between",
        "_last",
        "_last_tokens",
        "_row",
        "_row_tokens",
        "_seconds",
        "_voices",
    )

    def __init__(self, seconds: float = 1.0) -> None:
        self._seconds = seconds
        self._last = Heard("")
        self._last_tokens: Sequence[str] = ()
        self._at = 0.0
        self._between = False
        # By a detector and by the recogniser: when voices began that no result was made of yet.
        self._voices: tuple[deque[float], deque[float]] = (deque(maxlen=8), deque(maxlen=8))
        self._row = 0
        self._row_tokens: Sequence[str] = ()

    def voice(self, now: float, *, detected: bool) -> None:
        """A voice began, as a detector has it or else the recogniser."""
        self._between = True
        self._voices[not detected].append(now)

    def guessed(self, now: float) -> None:
        """The recogniser guesses at words: some never say that a voice began."""
        self._between = True
        if not self._voices[1]:
            self._voices[1].append(now)

    def is_duplicate(self, heard: Heard, now: float) -> bool:
        """Whether this is what was delivered last, reported once more.

        The same words within the time, no voice in between, and nothing that tells the two apart: a
        speaker, or audio that begins where the other's ends. Results may come late: of one or two
        words (a digit, a "yes") a second one may have been said before the first was reported, so
        there a voice that no result was made of is enough to hear it.
        """
        last = self._last
        if not self._last_tokens or now - self._at > self._seconds or self._between:
            return False
        if tokens(heard.text) != self._last_tokens:
            return False
        if last.speaker and last.speaker != heard.speaker:
            return False
        if last.timed and heard.timed and last.end <= heard.start:
            return False
        return words(self._last_tokens) >= MIN_WORDS or not any(map(self._waiting, self._voices))

    def delivered(self, heard: Heard, now: float) -> None:
        """A result reached the host, or will. ``now``: monotonic seconds."""
        self._last, self._last_tokens, self._at = heard, tokens(heard.text), now
        self._between = False
        for voices in self._voices:  # the oldest that is not too late is the one of this result
            while voices and now - voices.popleft() > LATE_SECONDS:
                pass

    def _waiting(self, voices: deque[float]) -> bool:
        return any(self._at - began <= LATE_SECONDS for began in voices)

    def repeated(self, text: str) -> bool:
        """Whether a genuine result makes a row: five times the same sentence, and no other between.

        Misfires have a signature of their own, and end no row.
        """
        # What was just delivered, nearly always: its tokens are known.
        found = self._last_tokens if text is self._last.text else tokens(text)
        if found == self._row_tokens:
            self._row += 1
        else:
            self._row, self._row_tokens = 1, found
        return self._row >= TIMES and words(found) >= MIN_WORDS
