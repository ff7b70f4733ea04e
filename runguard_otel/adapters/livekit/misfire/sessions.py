"""Which session is this? Speech hooks fire on recognisers and voices; state is per session."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any, Final

from runguard_otel.adapters.hooks import Failed, Hook
from runguard_otel.adapters.livekit.facts.turn import (
    activity_context,
    detector_of,
    listener_of,
    session_of,
)
from runguard_otel.adapters.livekit.misfire.hearing import HEARING, Hearing
from runguard_otel.adapters.livekit.misfire.session import SpeechState
from runguard_otel.adapters.livekit.misfire.thresholds import VADThresholds
from runguard_otel.adapters.livekit.services import Services
from runguard_otel.adapters.notes import note, read
from runguard_otel.adapters.safety import shield
from runguard_otel.core.guards.confidence import ConfidenceScales
from runguard_otel.core.verdict import Clock

__all__ = ["SpeechSessions"]

NewState = Callable[[Any, Services, Clock, VADThresholds, ConfidenceScales], SpeechState]

SPEECH: Final = "_runguard_speech"
"""Set on a session: its :class:`SpeechState`."""

_SAYS: Final = "_runguard_says"
"""Set on a stream of a voice: whose hook this is (its ``live``), and what takes a token."""

_starting: ContextVar[weakref.ref[Any] | None] = ContextVar("runguard_session", default=None)


class SpeechSessions:
    """The speech state of every live ``AgentSession`` in this process.

    One process may serve several sessions, with the thread executor even on several event loops. A
    session's own state is only touched on its loop; what sessions share has a lock.

    Args:
        services: Settings and recorder.
        clock: Monotonic seconds.
        new_state: Makes the state of a session.

    Attributes:
        met_realtime: Empty until a session here has a realtime model.
    """

    def __init__(
        self,
        services: Services,
        clock: Clock = time.monotonic,
        new_state: NewState = SpeechState,
    ) -> None:
        self.services = services
        self.clock = clock
        self.thresholds = VADThresholds(self._hearing_with)
        self.met_realtime: list[bool] = []
        self._scales = ConfidenceScales()
        self._states: weakref.WeakKeyDictionary[Any, SpeechState] = weakref.WeakKeyDictionary()
        self._lock = threading.Lock()
        self._new_state = new_state
        self._activity = activity_context()

    def of(self, session: Any) -> SpeechState:
        """The state of ``session``, made when it is first seen. Call it on the session's loop."""
        state = self._states.get(session)
        if state is None:
            state = self._new_state(
                session, self.services, self.clock, self.thresholds, self._scales
            )
            with self._lock:
                state = self._states.setdefault(session, state)
            note(session, SPEECH, state)
        return state

    def seen(self, session: Any) -> SpeechState | None:
        """Like :meth:`of`; ``None`` where no loop runs, as when the host is called by hand."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return None
        return self.of(session)

    def hearing(self, recognition: Any) -> Hearing:
        """What an ``AudioRecognition`` hears for. Call it on the session's loop."""
        try:
            known: Hearing = recognition._runguard_hearing
            if known.state.speaks is not None:
                return known
        except AttributeError:
            pass  # its first event
        state = self.of(session_of(listener_of(recognition)))
        found = Hearing(recognition, state)
        note(recognition, HEARING, found)
        if found.realtime:
            self.meets_realtime()
        return found

    def meets_realtime(self, *_: Any, **__: Any) -> None:
        """``RealtimeSession.__init__``, and wherever one is seen that was made before us."""
        self.met_realtime[:] = [True]

    def current(self) -> SpeechState | None:
        """The state of the session whose task is running, if that can be told.

        LiveKit's activity context knows while the agent speaks; a context variable of ours knows
        in every task that descends from ``AgentSession.start``; else a session that is alone on its
        loop is the one.
        """
        activity = self._activity.get(None) if self._activity is not None else None
        session = session_of(activity)
        if session is None:
            reference = _starting.get()
            session = reference() if reference is not None else None
        if session is not None:
            return self.of(session)
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return None
        here = [state for state in self.states() if state.loop is loop]
        return here[0] if len(here) == 1 else None

    @contextlib.contextmanager
    def starting(self, session: Any) -> Iterator[None]:
        """Tasks made in this block belong to ``session``."""
        token = None
        with shield(self.services.recorder, "AgentSession.start"):
            self.of(session)
            token = _starting.set(weakref.ref(session))
        try:
            yield
        finally:
            if token is not None:
                with shield(self.services.recorder, "AgentSession.start"):
                    _starting.reset(token)
                    self.thresholds.joined()

    def ended(self, session: Any) -> None:
        """The session closed: undo what was done to it and forget it. It may start again."""
        with self._lock:
            state = self._states.pop(session, None)
        if state is not None:
            state.close()

    def close(self) -> None:
        """Undo everything that was done to any session."""
        for state in self.states():
            with shield(self.services.recorder, "uninstrument"):
                state.close_from_anywhere()
        with self._lock:
            self._states.clear()

    async def session_starts(self, wrapped: Any, session: Any, args: Any, kwargs: Any) -> Any:
        """``AgentSession.start``."""
        with self.starting(session):
            return await wrapped(*args, **kwargs)

    async def session_closes(self, wrapped: Any, session: Any, args: Any, kwargs: Any) -> Any:
        """The method in which all ends of an ``AgentSession`` meet."""
        try:
            return await wrapped(*args, **kwargs)
        finally:
            with shield(self.services.recorder, f"AgentSession.{wrapped.__name__}"):
                self.ended(session)

    def agent_state(self, session: Any, _: None, state: str, *__: Any, **___: Any) -> None:
        """``AgentSession._update_agent_state``."""
        speech = getattr(session, SPEECH, None)
        if speech is None or speech.speaks is None:
            speech = self.seen(session)
        if speech is not None:
            speech.agent_speaks(state == "speaking")

    def updating_agent_state(self, original: Hook, live: list[bool], failed: Failed) -> Hook:
        """``AgentSession._update_agent_state`` written out: :meth:`agent_state` where it matters.

        An agent thinks, listens, waits: from one silent state to the next there is nothing to do.
        """
        agent_state = self.agent_state

        def _update_agent_state(
            self: Any, state: str, *, otel_context: Any = None, start_time: Any = None
        ) -> Any:
            result = original(self, state, otel_context=otel_context, start_time=start_time)
            try:
                try:
                    speech = self._runguard_speech
                    spoke = speech.speaks
                except AttributeError:
                    spoke = None
                if spoke is not (state == "speaking") and live:
                    if spoke is None:  # it was not seen before, or not by us
                        agent_state(self, None, state)
                    else:
                        speech.agent_changed(not spoke)
            except Exception:  # noqa: BLE001 - the contract that hooks.flat leaves to it
                failed("AgentSession._update_agent_state")
            return result

        return _update_agent_state

    def agent_says(self, original: Hook, live: list[bool], failed: Failed) -> Hook:
        """``SynthesizeStream.push_text`` written out: it runs with each token of an answer.

        Whose words they are is found out with the first one that can be told.
        """

        def push_text(stream: Any, token: str, *args: Any, **kwargs: Any) -> Any:
            if live and token:
                try:
                    try:
                        says = read(stream, _SAYS)
                    except AttributeError:
                        says = None
                    if says is None or says[0] is not live:
                        says = whose(stream)
                    if says is not None:
                        says[1](token)
                except Exception:  # noqa: BLE001 - the contract that hooks.written leaves to it
                    failed("SynthesizeStream.push_text")
            return original(stream, token, *args, **kwargs)

        def whose(stream: Any) -> tuple[list[bool], Callable[[str], object]] | None:
            state = self.current()
            if state is None:
                return None
            found = live, state.echo.feed(weakref.ref(stream))
            note(stream, _SAYS, found)
            return found

        return push_text

    def agent_says_whole(self, stream: Any, *_: Any, input_text: str = "", **__: Any) -> None:
        """``ChunkedStream.__init__``."""
        state = self.current() if input_text else None
        if state is not None:
            state.echo.push_whole(input_text, weakref.ref(stream))

    def input_switched(self, heard: Any, enable: bool, *_: Any, **__: Any) -> None:
        """``AgentInput.set_audio_enabled``; a call that is ours is known as such."""
        for state in self.states():
            state.switched(heard, bool(enable))

    def _hearing_with(self, detector: Any) -> int:
        """How many live sessions have this voice detector."""
        sessions = (state.session for state in self.states())
        return sum(detector_of(one) is detector for one in sessions if one is not None)

    def states(self) -> list[SpeechState]:
        """The states of all live sessions."""
        with self._lock:
            return list(self._states.values())
