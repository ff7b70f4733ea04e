"""The words of a turn that is not committed yet, as the host keeps them.

``session.clear_user_turn`` would empty them too, but opens a new stream at the recogniser, which is
billed, and loses what it is just hearing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = ["drop_misfires"]

FINAL = "final_transcript"


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
    # Some releases hold results back while the agent speaks, to process them when it is over.
    held = getattr(recognition, "_transcript_buffer", None)
    pending = (getattr(recognition, "_audio_transcript", "") or "").split()
    for event in held or ():
        if event.type.value == FINAL and event.alternatives:
            pending += event.alternatives[0].text.split()
    words: list[str] = []
    for text in reversed(passed):
        words = text.split() + words
        if words == pending:
            _drop(recognition, held)
            cancel = getattr(activity, "_cancel_preemptive_generation", None)  # since 1.2
            if cancel is not None:
                cancel()  # it answers what we have just taken back
            return


def _drop(recognition: Any, held: Any) -> None:
    recognition._audio_transcript = ""
    if hasattr(recognition, "_final_transcript_confidence"):  # since 1.2
        recognition._final_transcript_confidence = []
    if held:
        kept = [event for event in held if not event.type.value.endswith("_transcript")]
        held.clear()
        held.extend(kept)  # a voice that begins or ends
