"""Whether a reported confidence means anything."""

from __future__ import annotations

from collections.abc import Hashable
from enum import Enum
from math import isnan
from numbers import Real
from typing import Final

__all__ = ["Confidence", "ConfidenceScales", "known_confidence"]

_ROUNDING: Final = 1e-4
"""A mean of many 1.0s may be this much above 1: that is arithmetic, and no other scale."""
MAX_SCALES: Final = 64
"""Recognisers remembered: a process has a few, and ones that make up names are not learned of."""


class Confidence(str, Enum):
    """Whether a result could be judged by its confidence; a label of ``runguard.stt.results``."""

    JUDGED = "judged"
    ABSENT = "absent"
    UNUSABLE = "unusable"

    def __str__(self) -> str:
        return self.value


def known_confidence(reported: object) -> float | None:
    """The confidence if it means something, else ``None``.

    LiveKit's ``SpeechData.confidence`` defaults to 0.0: many recognisers never set it, and some set
    it for a few results only (Google's sends 0.0 for "not set"). What the same recogniser said of
    other results does not tell what its 0.0 means.

    Args:
        reported: What the recogniser said. 1.0 is taken at its word; 0.0, values outside 0..1, NaN
            and what is no number mean nothing.
    """
    number = _number(reported)
    return None if number is None else _meant(number)


class ConfidenceScales:
    """Learns which recognisers report something else than a confidence.

    A percentage, a log-probability or a raw score now and then falls into 0..1, where clear speech
    would look unsure. But a value outside of it proves the scale: from then on no number of that
    recogniser is believed, in the whole process. Any thread may ask.
    """

    def __init__(self) -> None:
        self._other: set[Hashable] = set()

    def judge(self, recogniser: Hashable, reported: object) -> float | None:
        """The confidence of a result if it means something, else ``None``.

        Args:
            recogniser: Whose result it is: provider and model, say.
            reported: What it said.
        """
        if type(reported) is float and 0.0 < reported <= 1.0:  # nearly always
            return None if recogniser in self._other else reported
        number = _number(reported)
        if number is None:
            return None
        if not -_ROUNDING <= number <= 1.0 + _ROUNDING:
            if len(self._other) < MAX_SCALES:
                self._other.add(recogniser)
            return None
        return None if recogniser in self._other else _meant(number)

    def is_other(self, recogniser: Hashable) -> bool:
        """Whether the numbers of this recogniser are proven to be on another scale."""
        return recogniser in self._other


def _meant(number: float) -> float | None:
    if not 0.0 < number <= 1.0 + _ROUNDING:
        return None
    return number if number < 1.0 else 1.0


def _number(reported: object) -> float | None:
    """As a float; ``None`` for what is no number, among them NaN and ``True``."""
    if type(reported) is not float:
        if type(reported) is bool or not isinstance(reported, Real):
            return None
        reported = float(reported)
    return None if isnan(reported) else reported
