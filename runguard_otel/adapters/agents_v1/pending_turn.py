"""The words of a turn that is not committed yet, as the host keeps them.

``session.clear_user_turn`` would empty them too, but opens a new stream at the recogniser, which is
billed, and loses what it is just hearing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any, Final

__all__ = ["KeptBack", "drop_misfires", "holds_words", "pause_within"]

FINAL = "final_transcript"
MAX_KEPT: Final = 16
LATE_SECONDS: Final = 5.0
"""A result that comes later after its voice belongs to one that nobody told us of."""


class KeptBack:
    """The unsure results kept back at the beginning of the turn that is going on.

    If words are accepted after all, these belong before them: half a turn is another turn.
    """

    __slots__ = ("_events",)

    def __init__(self) -> None:
        self._events: deque[Any] = deque(maxlen=MAX_KEPT)

    def keep(self, event: Any) -> None:
        """``event`` does not reach the host, for now."""
        self._events.append(event)

    def take(self) -> list[Any]:
        """What the turn began with, oldest first; from here on it is the host's."""
        events = list(self._events)
        self._events.clear()
        return events

    def forget(self) -> None:
        """The turn is over, or a storm has come: it was nothing."""
        self._events.clear()


def pause_within(recognition: Any) -> float:
    """How long a user may be silent within one turn, in seconds: what the host is set to wait."""
    which = "min" if getattr(recognition, "_turn_detector", None) is None else "max"
    endpointing = getattr(recognition, "_endpointing", None)  # since 1.5
    if endpointing is not None:
        return float(getattr(endpointing, f"{which}_delay"))
    return float(getattr(recognition, f"_{which}_endpointing_delay", 0.0))


def holds_words(activity: Any) -> bool:
    """Whether the turn that is not committed yet holds words that the host was given."""
    recognition = getattr(activity, "_audio_recognition", None)
    return recognition is not None and bool(_pending(recognition))


def drop_misfires(activity: Any, passed: Sequence[str]) -> None:
    """Take back a pending turn that consists of misfires only, so that it never wakes the LLM.

    It does if its words are those of the last misfires we let through, and nothing else. One that
    holds a word more is not touched: it may be the user's.

    Args:
        activity: The running ``AgentActivity``.
        passed: The misfires let through since the last genuine result, oldest first.
    """
    recognition = getattr(activity, "_audio_recognition", None)
    if recognition is None or not passed:
        return
    held = getattr(recognition, "_transcript_buffer", None)
    pending = _pending(recognition)
    words: list[str] = []
    for text in reversed(passed):
        words = text.split() + words
        if words == pending:
            _drop(recognition, held)
            cancel = getattr(activity, "_cancel_preemptive_generation", None)  # since 1.2
            if cancel is not None:
                cancel()  # it answers what we have just taken back
            return


def _pending(recognition: Any) -> list[str]:
    words = (getattr(recognition, "_audio_transcript", "") or "").split()
    # Some releases hold results back while the agent speaks, to process them when it is over.
    for event in getattr(recognition, "_transcript_buffer", None) or ():
        if event.type.value == FINAL and event.alternatives:
            words += event.alternatives[0].text.split()
    return words


def _drop(recognition: Any, held: Any) -> None:
    recognition._audio_transcript = ""
    if hasattr(recognition, "_final_transcript_confidence"):  # since 1.2
        recognition._final_transcript_confidence = []
    if held:
        kept = [event for event in held if not event.type.value.endswith("_transcript")]
        held.clear()
        held.extend(kept)  # a voice that begins or ends
