"""How much of one text is found, in order and close together, in another.

Made for one question: did the microphone hear the agent's own voice? An echo keeps the order of the
words and comes from one stretch of the speech. A user's own sentence, even one made of the same
common words, does not.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import Final

__all__ = ["WordIndex", "containment", "normalise", "tokens", "words"]

# Scripts written without spaces: every character stands for itself. Thai, Lao, Myanmar, Khmer,
# kana (and its phonetic extensions), Han with its extensions.
_UNSPACED: Final = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f"
)
_TOKEN: Final = re.compile(rf"[{_UNSPACED}]|[^\W_{_UNSPACED}]+")
_APOSTROPHES: Final = str.maketrans("", "", "'\u2019\u02bc\u0060")
_CHARACTERS_PER_WORD: Final = 2  # of an unspaced script, on average


def normalise(text: str) -> str:
    """The text without what recognisers disagree about: case, accents, width, apostrophes.

    Combining marks go as well, which keeps the words of Indic and Arabic scripts whole.
    """
    if text.isascii():  # the same, without the search for what ASCII does not have
        return text.lower().replace("'", "").replace("`", "")
    decomposed = unicodedata.normalize("NFKD", text)
    text = "".join(c for c in decomposed if not unicodedata.category(c).startswith("M"))
    return text.casefold().translate(_APOSTROPHES)


def tokens(text: str) -> list[str]:
    """The words of ``text``, normalised; single characters where a script has no spaces."""
    return _TOKEN.findall(normalise(text))


def words(found: Sequence[str]) -> float:
    """How many words a list of tokens amounts to; two unspaced characters are about one word."""
    single = sum(1 for t in found if len(t) == 1 and t > "\u0dff")
    return len(found) - single + single / _CHARACTERS_PER_WORD


class WordIndex:
    """A text prepared for :meth:`containment`.

    For every word it keeps the positions as the bits of one integer, so that the longest common
    subsequence with a heard sentence costs a few integer operations per heard word.

    Args:
        said: Tokens of the text, in order.
    """

    __slots__ = ("_bits", "_size")

    def __init__(self, said: Sequence[str]) -> None:
        bits: dict[str, int] = {}
        for position, token in enumerate(said):
            bits[token] = bits.get(token, 0) | 1 << position
        self._bits = bits
        self._size = len(said)

    def containment(self, heard: Sequence[str], at_least: float = 0.0) -> float:
        """The share of ``heard`` that is found, in order, in one stretch of the text.

        A stretch is at most twice as long as what was heard: room for words the recogniser missed.

        Args:
            heard: Tokens of the sentence that was heard.
            at_least: If given, the answer need only be on the right side of it, which saves most
                of the search for the stretch.

        Returns:
            From 0 to 1; 0 when either side is empty.
        """
        count = len(heard)
        if not count or not self._size:
            return 0.0
        masks = [self._bits.get(token, 0) for token in heard]
        anywhere = _common(masks, self._size) / count
        stretch = 2 * count
        if anywhere < at_least or not anywhere or self._size <= stretch:
            return anywhere
        window = (1 << stretch) - 1
        step = max(1, count // 2)
        best, enough = 0, at_least * count or count
        for start in range(0, self._size, step):
            local = [mask >> start & window for mask in masks]
            best = max(best, _common(local, stretch))
            if best >= enough:
                break
        return best / count


def containment(heard: str, said: str) -> float:
    """The share of the words of ``heard`` found, in order and together, in ``said``: 0 to 1."""
    return WordIndex(tokens(said)).containment(tokens(heard))


def _common(masks: Sequence[int], size: int) -> int:
    """Length of the longest common subsequence, bit-parallel (Hyyro 2004)."""
    full = (1 << size) - 1
    row = full
    for mask in masks:
        hit = row & mask
        row = (row + hit | row - hit) & full
    return size - row.bit_count()
