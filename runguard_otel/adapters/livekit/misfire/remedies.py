"""What a storm makes us do to a session: all of it reversible, except the opt-in close."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable
from typing import Any

from runguard_otel.adapters.livekit.facts.turn import (
    close_after_speech,
    hear_when_it_starts_again,
)
from runguard_otel.adapters.livekit.misfire.thresholds import VADThresholds
from runguard_otel.settings import Settings

__all__ = ["Later", "Remedies"]

Later = Callable[[float, Callable[[], None]], asyncio.TimerHandle]


class Remedies:
    """Raises thresholds, mutes the microphone, says the sentence, closes the session.

    Args:
        session: The session.
        settings: How far to go.
        thresholds: Raised detectors, shared by all sessions.
        later: Runs a function after so many seconds, on the session's loop.
    """

    def __init__(
        self,
        session: weakref.ref[Any],
        settings: Settings,
        thresholds: VADThresholds,
        later: Later,
    ) -> None:
        self._session = session
        self._amount = settings.vad_misfire_raise_activation
        self._sentence = settings.vad_misfire_say
        self._bound = settings.vad_misfire_bound_seconds
        self._thresholds = thresholds
        self._later = later
        self._unmuting: asyncio.TimerHandle | None = None
        self._recovering: asyncio.TimerHandle | None = None
        self._raised: weakref.ref[Any] | None = None
        self._muted = False
        self._cooling = False
        self._requested = True  # whether the application wants the microphone open
        self._switching = False
        self._said = False
        self._ending: asyncio.Task[None] | None = None

    def calm(self, activity: Any) -> None:
        """The guard tripped: raise the thresholds and, once per session, say the sentence."""
        session = self._session()
        detector = getattr(activity, "vad", None) or getattr(session, "vad", None)
        if detector is not None and self._thresholds.raise_by(detector, self._amount, id(self)):
            self._raised = weakref.ref(detector)
            self._recovering = self._later(self._bound, self.recover)
        voice = getattr(activity, "tts", None) or getattr(session, "tts", None)
        if self._sentence and not self._said and session is not None and voice is not None:
            self._said = True
            self._say(session)

    def recover(self) -> None:
        """The guard closed, or enough time has passed: give the thresholds back."""
        _stop(self._recovering)
        detector = self._raised() if self._raised is not None else None
        self._raised = None
        if detector is not None:
            self._thresholds.release(detector, id(self))

    def mute(self) -> None:
        """Stop listening while the agent speaks, if the session listens at all, and not for ever.

        A session may go on to say that its agent speaks when it has long been silent.
        """
        if not self._muted:
            self._muted = self._cooling or self._close_input()
            if self._muted:
                self._unmuting = self._later(self._bound, self.unmute)

    def unmute(self) -> None:
        """Listen again, if it was us who stopped it."""
        _stop(self._unmuting)
        if not self._muted:
            return
        self._muted = False
        if not self._cooling:
            self._open_input()

    def cool(self) -> bool:
        """Stop listening until :meth:`warm`; false if the session does not listen anyway."""
        if not self._cooling:
            self._cooling = self._muted or self._close_input()
        return self._cooling

    def warm(self) -> None:
        """Listen again after :meth:`cool`."""
        if not self._cooling:
            return
        self._cooling = False
        if not self._muted:
            self._open_input()

    def requested(self, heard: Any, enabled: bool) -> None:
        """The application itself switched the audio of ``heard``: its last word holds.

        While we keep the microphone closed, closing it does nothing in the host, and would be lost.
        """
        if heard is getattr(self._session(), "input", None) and not self._switching:
            self._requested = enabled

    def end(self) -> None:
        """Close the session, after what is being said. Never waited for: the caller is its STT."""
        session = self._session()
        if session is None:
            return
        closing = close_after_speech(session)
        if closing is not None:
            self._ending = asyncio.get_running_loop().create_task(closing)

    def _close_input(self) -> bool:
        heard = getattr(self._session(), "input", None)
        if heard is None or heard.audio is None or not heard.audio_enabled:
            return False
        self._requested = True
        self._switch(heard, False)
        return True

    def _open_input(self) -> None:
        heard = getattr(self._session(), "input", None)
        if heard is None or not self._requested:
            return
        if heard.audio is not None:
            self._switch(heard, True)
        else:
            hear_when_it_starts_again(heard)

    def _switch(self, heard: Any, enabled: bool) -> None:
        self._switching = True
        try:
            heard.set_audio_enabled(enabled)
        finally:
            self._switching = False

    def _say(self, session: Any) -> None:
        session.say(self._sentence)


def _stop(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
