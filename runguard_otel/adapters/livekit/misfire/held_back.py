"""What the turn that goes on would be without our misfires, and with those that were the user."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any, Final

from runguard_otel.adapters.livekit.facts.turn import (
    cancel_early_answer,
    drop_pending,
    pending_words,
    recognition_of,
)

__all__ = ["LATE_SECONDS", "KeptBack", "drop_misfires"]

MAX_KEPT: Final = 16
LATE_SECONDS: Final = 5.0
"""A result that comes later after its voice belongs to one that we did not hear of."""


class KeptBack:
    """The unsure results kept back at the beginning of the turn that is going on.

    If words are accepted after all, these belong before them: half a turn is another turn.

    Attributes:
        events: They, oldest first.
    """

    __slots__ = ("events",)

    def __init__(self) -> None:
        self.events: deque[Any] = deque(maxlen=MAX_KEPT)

    def keep(self, event: Any) -> None:
        """``event`` does not reach the host, for now."""
        self.events.append(event)

    def take(self) -> list[Any]:
        """What the turn began with, oldest first; from here on it is the host's."""
        events = list(self.events)
        self.events.clear()
        return events

    def forget(self) -> None:
        """The turn is over, or a storm has come: it was nothing."""
        self.events.clear()


def drop_misfires(activity: Any, passed: Sequence[str]) -> None:
    """Take back a pending turn that consists of misfires only, so that it never wakes the LLM.

    It does if its words are those of the last misfires we let through, and nothing else. One that
    holds a word more is not touched: it may be the user's.

    Args:
        activity: The running ``AgentActivity``.
        passed: The misfires let through since the last genuine result, oldest first.
    """
    recognition = recognition_of(activity)
    if recognition is None or not passed:
        return
    pending = pending_words(recognition)
    words: list[str] = []
    for text in reversed(passed):
        words = text.split() + words
        if words == pending:
            drop_pending(recognition)
            cancel_early_answer(activity)  # it answers what we have just taken back
            return
