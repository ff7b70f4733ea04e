"""What a storm makes us do to a session: all of it reversible, but for the opt-in close."""

from __future__ import annotations

import asyncio
import weakref
from typing import Any

from runguard_otel.adapters.agents_v1.vad import VADThresholds
from runguard_otel.settings import Settings

__all__ = ["SpeechActions"]


class SpeechActions:
    """Raises thresholds, mutes the microphone, says the sentence, closes the session.

    Args:
        session: The session.
        settings: How far to go.
        thresholds: Raised detectors, shared by all sessions.
    """

    def __init__(
        self, session: weakref.ref[Any], settings: Settings, thresholds: VADThresholds
    ) -> None:
        self._session = session
        self._amount = settings.vad_misfire_raise_activation
        self._sentence = settings.vad_misfire_say
        self._thresholds = thresholds
        self._raised: weakref.ref[Any] | None = None
        self._muted = False
        self._cooling = False
        self._wished = True  # whether the application wants the microphone open
        self._switching = False
        self._said = False
        self._ending: asyncio.Task[None] | None = None

    def calm(self, activity: Any) -> None:
        """The guard tripped: raise the thresholds and, once per session, say the sentence."""
        session = self._session()
        detector = getattr(activity, "vad", None) or getattr(session, "vad", None)
        if detector is not None and self._thresholds.raise_by(detector, self._amount, id(self)):
            self._raised = weakref.ref(detector)
        voice = getattr(activity, "tts", None) or getattr(session, "tts", None)
        if self._sentence and not self._said and session is not None and voice is not None:
            self._said = True
            self._say(session)

    def recover(self) -> None:
        """The guard closed: give the thresholds back."""
        detector = self._raised() if self._raised is not None else None
        self._raised = None
        if detector is not None:
            self._thresholds.release(detector, id(self))

    def mute(self) -> None:
        """Stop listening while the agent speaks, if the session listens at all."""
        if not self._muted:
            self._muted = self._cooling or self._close_input()

    def unmute(self) -> None:
        """Listen again, if it was us who stopped it."""
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

    def wished(self, heard: Any, enabled: bool) -> None:
        """The application itself switched the audio of ``heard``: its last word holds.

        While we keep the microphone closed, closing it does nothing in the host, and would be lost.
        """
        if heard is getattr(self._session(), "input", None) and not self._switching:
            self._wished = enabled

    def end(self) -> None:
        """Close the session, after what is being said. Never waited for: the caller is its STT."""
        session = self._session()
        if session is None:
            return
        if hasattr(session, "shutdown"):
            session.shutdown(drain=True)
        else:  # 1.0 has no shutdown
            self._ending = asyncio.get_running_loop().create_task(session.aclose())

    def _close_input(self) -> bool:
        heard = getattr(self._session(), "input", None)
        if heard is None or heard.audio is None or not heard.audio_enabled:
            return False
        self._wished = True
        self._switch(heard, False)
        return True

    def _open_input(self) -> None:
        heard = getattr(self._session(), "input", None)
        if heard is None or not self._wished:
            return
        if heard.audio is not None:
            self._switch(heard, True)
        elif hasattr(heard, "_audio_enabled"):
            # The session is over and has no microphone. It may start again, and must hear then;
            # the public way would log that there is nothing to enable.
            heard._audio_enabled = True

    def _switch(self, heard: Any, enabled: bool) -> None:
        self._switching = True
        try:
            heard.set_audio_enabled(enabled)
        finally:
            self._switching = False

    def _say(self, session: Any) -> None:
        session.say(self._sentence)
