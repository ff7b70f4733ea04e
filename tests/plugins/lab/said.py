"""What a stand-in says, with numbers that can be told apart, and what became of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

__all__ = ["CLEAR", "FAINT", "GONE", "NAMELESS", "NOISE", "Said", "Word", "meaning"]


class Word(NamedTuple):
    """A word, heard at ``start`` for ``SECONDS``."""

    text: str
    confidence: float
    start: float

    @property
    def end(self) -> float:
        return self.start + SECONDS

    @property
    def log(self) -> float:
        """The log-probability that is this confidence."""
        return math.log(self.confidence)


SECONDS: Final = 0.4


class Said(NamedTuple):
    """An utterance.

    Args:
        words: Its words, with a confidence each.
        utterance: The confidence of the whole.
        language: The confidence of its language.
        numbers: Whether the provider sends any of these.
    """

    words: tuple[Word, ...]
    utterance: float
    language: float
    numbers: bool = True

    @property
    def text(self) -> str:
        return " ".join(word.text for word in self.words)

    @property
    def start(self) -> float:
        return self.words[0].start

    @property
    def end(self) -> float:
        return self.words[-1].end

    def measured(self, **fields: float) -> dict[str, float]:
        """These fields, or none where the provider sends no numbers."""
        return fields if self.numbers else {}


def _said(text: str, scores: Sequence[float], utterance: float, language: float) -> Said:
    words = [
        Word(word, score, 1.0 + n / 2)
        for n, (word, score) in enumerate(zip(text.split(), scores, strict=True))
    ]
    return Said(tuple(words), utterance, language)


CLEAR: Final = _said("Good morning everybody", (0.97, 0.99, 0.98), 0.985, 0.96)
"""Clear speech at typical scores."""
FAINT: Final = _said("To the station please", (0.05, 0.99, 0.98, 0.99), 0.9, 0.3)
"""Clear speech with a first word that is not, in one of two languages that are alike."""
NOISE: Final = _said("hm", (0.21,), 0.22, 0.23)
"""A word that was made of noise, at a low score."""
GONE: Final = _said("hello there", (0.9, 0.3), 0.55, 0.77)
"""Two words of which one is unsure: every way of making one number of them gives another one."""
NAMELESS: Final = GONE._replace(numbers=False)
"""The same from a provider that sends no numbers."""


def meaning(value: float, said: Said = GONE) -> str:
    """What a confidence is, told from its value: the name of a number in ``said``."""
    scores = [word.confidence for word in said.words]
    candidates = {
        "utterance": said.utterance,
        "language": said.language,
        "mean": sum(scores) / len(scores),
        "geometric mean": math.prod(scores) ** (1 / len(scores)),
        "first word": scores[0],
        "last word": scores[-1],
        "none": 0.0,
        "constant": 1.0,
    }
    for name, candidate in candidates.items():
        if math.isclose(value, candidate, abs_tol=1e-4):
            return name
    return f"{value:.4g}"
