"""Who spoke and who answered in a realtime session, as far as its provider tells."""

from __future__ import annotations

from typing import Any

from runguard_otel.adapters.livekit.facts.turn import realtime_session, transcribes

__all__ = ["RealtimeTurns"]


class RealtimeTurns:
    """The last turns of one session. Touched on the session's loop only."""

    def __init__(self) -> None:
        self.answering = False
        self.reply: Any = None
        self._tells_speech = False
        self._spoke = False
        self._heard = False
        self._unexplained = False
        self._began: float | None = None

    def speech_started(self, now: float) -> None:
        """The provider hears a voice since ``now`` (monotonic seconds)."""
        self._tells_speech = self._spoke = True
        self._heard = False
        self._began = now

    def transcribed(self) -> float | None:
        """A final transcript: of the last answer's question, if that had none yet.

        Returns:
            When the voice began, in monotonic seconds, if that is known.
        """
        self._heard = not self._unexplained
        self._unexplained = False
        began, self._began = self._began, None
        return began

    def answer(self, activity: Any) -> bool:
        """The model answers unasked; true if an answer turned out to be without a question.

        A transcript may come after the answer, so that is known when the next one begins. Without
        transcripts there is only the start of speech, which not every provider reports.
        """
        if transcribes(activity):
            known, self._unexplained = self._unexplained, not self._heard
        else:
            known = self._tells_speech and not self._spoke
        self._spoke = self._heard = False
        return known

    def stop(self, activity: Any) -> None:
        """Interrupt the answer to the last turn, and nothing else that may be said.

        The provider is told as well: before 1.6 the host forgets to, if nothing was heard yet. As
        long as this answer is not over, there is no other one that it could stop instead.
        """
        reply, self.reply = self.reply, None
        if reply is not None and not reply.done() and reply.allow_interruptions:
            reply.interrupt()
            realtime_session(activity).interrupt()
