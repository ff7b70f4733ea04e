"""What the agent said lately, to recognise its own voice coming back through the microphone."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from typing import Final
from weakref import ref

from runguard_otel.core.similarity import WordIndex, tokens, words

__all__ = ["EchoMemory"]

MIN_WORDS: Final = 3
MIN_SHARE: Final = 0.8
GRACE_SECONDS: Final = 2.0
"""How late the text of an echo may be, where the start of its voice is unknown."""
LEAD_SECONDS: Final = 1.0
"""How long before the agent an echo may begin, as its detector has it: noise before it is joined,
and where a voice began is reckoned back from when there was enough of it."""
PLAYOUT_SECONDS: Final = 0.3
"""How long the agent may still be heard after it stopped: its last words are on their way. More
would take the prompt answer of who repeats after the agent for its echo."""
MAX_PERIODS: Final = 16
"""Periods of speech remembered: more than an agent that is paused again and again has in 10 s."""

_CHARACTERS_PER_WORD: Final = 8
_GOES_ON: Final = float("inf")


class EchoMemory:
    """Remembers the agent's words until some seconds after it stopped saying them.

    Text reaches a synthesiser long before it is heard, a whole reply at once. So a text has no age
    while it waits or is spoken; its time runs from when the agent falls silent. If the agent goes
    on without new text (it was paused, or the text had been waiting), what is left stays, except
    what was over when we learned of it.

    Args:
        seconds: How long words are remembered after the agent stopped saying them.
        max_words: Bound on what is remembered, in words of average length; the oldest go first.

    Attributes:
        speaking: Whether the agent is speaking.

    Raises:
        ValueError: If an argument is out of range.
    """

    def __init__(self, seconds: float = 10.0, max_words: int = 400) -> None:
        if not seconds > 0:
            raise ValueError(f"seconds must be > 0, got {seconds!r}")
        if max_words < MIN_WORDS:
            raise ValueError(f"max_words must be >= {MIN_WORDS}, got {max_words!r}")
        self.seconds = seconds
        self._max_characters = max_words * _CHARACTERS_PER_WORD
        self._texts: OrderedDict[Hashable, _Text] = OrderedDict()
        self._feeds: list[tuple[Hashable, list[str]]] = []
        self._characters = 0
        self.speaking = False
        self._periods: deque[list[float]] = deque(maxlen=MAX_PERIODS)
        self._fresh = False
        self._index: WordIndex | None = None

    @property
    def characters(self) -> int:
        """How much is remembered right now, in characters."""
        self._take()
        return self._characters

    def feed(self, source: Hashable) -> Callable[[str], object]:
        """A function that takes what :meth:`push` takes, for a source of many pieces.

        It is called with each token of an answer, so it notes them; whoever asks finds them here.

        Args:
            source: As of :meth:`push`; a weak reference is let go when what it refers to is gone.
        """
        self._take()
        hash(source)  # a weak reference keeps it; without, nobody could ask for it later
        pieces: list[str] = []
        self._feeds.append((source, pieces))
        return pieces.append

    def push(self, piece: str, source: Hashable) -> None:
        """The agent is going to say ``piece``.

        Args:
            piece: Text as the synthesiser got it: a token, a part of a word or a whole reply.
            source: Pieces of one source are parts of one text.
        """
        if not piece:
            return
        text = self._texts.get(source)
        if text is None:
            text = self._texts[source] = _Text()
        text.expires = None
        text.pieces.append(piece)
        self._characters += len(piece)
        self._fresh, self._index = True, None
        if self._characters > self._max_characters:
            self._shrink()

    def push_whole(self, sentence: str, source: Hashable) -> None:
        """Like :meth:`push`, for a request of one whole text.

        Ignored when the text is part of one that waits or is spoken: adapters hand on, sentence by
        sentence, what they were given.
        """
        self._take()
        stripped = sentence.strip()
        waiting = (text for text in self._texts.values() if text.expires is None)
        if not any(stripped in text.joined() for text in waiting):
            self.push(sentence, source)

    def said(self, sentence: str, source: Hashable, now: float) -> None:
        """The agent has said ``sentence``, which is only known now that it is over.

        Args:
            sentence: What was said, as far as it was heard.
            source: Whose text it is.
            now: Monotonic seconds.
        """
        self._take()
        stripped = sentence.strip()
        if any(stripped in text.joined() for text in self._texts.values()):
            return
        fresh = self._fresh
        self.push(stripped, source)
        self._fresh = fresh  # nothing new waits to be said
        text = self._texts.get(source)
        if text is not None:
            text.expires, text.over = now + self.seconds, True

    def started(self, now: float) -> None:
        """The agent begins, or goes on, to speak."""
        if self._feeds:
            self._take()
        if self.speaking:
            return
        self.speaking = True
        self._periods.append([now, _GOES_ON])
        if self._texts:
            self._forget(now)
            if not self._fresh:
                for text in self._texts.values():
                    if not text.over:
                        text.expires = None
        self._fresh = False

    def stopped(self, now: float) -> None:
        """The agent fell silent: it finished, was interrupted or was paused."""
        if self._feeds:
            self._take()
        if not self.speaking:
            return
        self.speaking = self._fresh = False
        self._periods[-1][1] = now
        if self._texts:
            for text in self._texts.values():
                if text.expires is None:
                    text.expires = now + self.seconds

    def audible(self, at: float, after: float) -> bool:
        """Whether the agent spoke ``at`` a moment, or had stopped ``after`` seconds before."""
        return self._spoke(at, at, 0.0, after)

    def is_echo(
        self,
        heard: str,
        now: float,
        span: tuple[float, float] | None = None,
        *,
        clear: bool = False,
    ) -> bool:
        """Whether ``heard`` is the agent's own voice.

        At least three words, at least 80 % of them in one stretch of what the agent said, of a
        voice that began while it was audible. Who answers in the agent's words begins later.

        Args:
            heard: What was recognised.
            now: Monotonic seconds.
            span: From when to when the voice was heard, in monotonic seconds, if that is known: a
                recogniser may take long. Else it was heard ``now``.
            clear: Whether it was recognised with confidence. If it is not known when the voice
                began, such words are an echo only while the agent speaks.
        """
        if self._feeds:
            self._take()
        if not self._texts:
            return False
        if span is not None:
            near = self._spoke(*span, LEAD_SECONDS, PLAYOUT_SECONDS)
        else:
            near = self.audible(now, 0.0 if clear else GRACE_SECONDS)
        if not near:
            return False
        self._forget(now)  # what is left may be nothing, which contains no words either
        found = tokens(heard)
        if words(found) < MIN_WORDS:
            return False
        if self._index is None:
            said = " ".join(text.joined() for text in self._texts.values())
            self._index = WordIndex(tokens(said))
        return self._index.containment(found, at_least=MIN_SHARE) >= MIN_SHARE

    def _take(self) -> None:
        """Remember what was fed."""
        over = False
        for source, pieces in self._feeds:
            if pieces:
                self.push("".join(pieces), source)
                pieces.clear()
            elif isinstance(source, ref) and source() is None:
                over = True
        if over:
            self._feeds = [
                (s, pieces)
                for s, pieces in self._feeds
                if not isinstance(s, ref) or s() is not None
            ]

    def _spoke(self, since: float, until: float, before: float, after: float) -> bool:
        """Whether it did when a voice began, give or take; not only when that was over."""
        for began, ended in reversed(self._periods):
            if since - ended > after:
                return False
            if began <= min(since + before, until):
                return True
        return False

    def _forget(self, now: float) -> None:
        for source in [
            s for s, t in self._texts.items() if t.expires is not None and t.expires <= now
        ]:
            self._drop(source)

    def _drop(self, source: Hashable) -> None:
        text = self._texts.pop(source, None)
        if text is not None:
            self._characters -= len(text.joined())
            self._index = None

    def _shrink(self) -> None:
        while self._characters > self._max_characters and len(self._texts) > 1:
            self._drop(next(iter(self._texts)))
        if self._characters > 2 * self._max_characters:  # one endless text: keep its end
            (text,) = self._texts.values()
            text.pieces[:] = [text.joined()[-self._max_characters :]]
            self._characters = len(text.pieces[0])


class _Text:
    __slots__ = ("expires", "over", "pieces")

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self.expires: float | None = None
        self.over = False

    def joined(self) -> str:
        """All pieces as one text; kept joined, so that asking again is cheap."""
        if len(self.pieces) > 1:
            self.pieces[:] = ["".join(self.pieces)]
        return self.pieces[0] if self.pieces else ""
