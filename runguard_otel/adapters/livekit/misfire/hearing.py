"""What one ``AudioRecognition`` hears for: asked of each of its events, and found once."""

from __future__ import annotations

from typing import Any, Final

from runguard_otel.adapters.livekit.facts.turn import listener_of, realtime_session, transcribes
from runguard_otel.adapters.livekit.misfire.session import SpeechState

__all__ = ["HEARING", "Hearing"]

HEARING: Final = "_runguard_hearing"
"""Set on a recognition: its :class:`Hearing`."""


class Hearing:
    """A recognition's activity, its model and its session's state, which stay for its life.

    What an application may change meanwhile, as how turns are detected, is asked each time. LiveKit
    1.8.9 looks for the running job whenever it is asked for an activity's recogniser.

    Args:
        recognition: The ``AudioRecognition``.
        state: The speech state of its session. Once that is over, so is this.

    Attributes:
        activity: The ``AgentActivity`` it hears for.
        realtime: Whether that has a realtime model: STT results are subtitles then, for the model
            hears the audio itself.
        recogniser: Its ``STT``, or ``None``.
        state: As it was given.
    """

    __slots__ = ("activity", "realtime", "recogniser", "state")

    def __init__(self, recognition: Any, state: SpeechState) -> None:
        self.activity = listener_of(recognition)
        self.realtime = realtime_session(self.activity) is not None
        self.recogniser = self.activity.stt
        self.state = state

    @property
    def recognises(self) -> bool:
        """Whether a recogniser is to make of a voice what is judged."""
        return self.recogniser is not None and not (self.realtime and self.subtitles_only)

    @property
    def subtitles_only(self) -> bool:
        """Whether the model reports what it heard; what a recogniser beside it says only adds."""
        return self.realtime and transcribes(self.activity)
