"""Recognisers without streaming: LiveKit drops their empty results before anything sees them.

``stt.StreamAdapter`` sends every voice segment to ``recognize``, which is billed, and swallows a
blank answer. We count it where it is swallowed, once, however many adapters are nested inside.
"""

from __future__ import annotations

import contextlib
from contextvars import ContextVar
from typing import Any

from runguard_otel.adapters.livekit.facts.models import Recogniser, model_names
from runguard_otel.adapters.livekit.misfire.sessions import SpeechSessions
from runguard_otel.adapters.livekit.services import Services
from runguard_otel.adapters.safety import shield
from runguard_otel.core.guards.repetition import Heard

__all__ = ["BatchResults"]

_in_adapter: ContextVar[bool] = ContextVar("runguard_stream_adapter", default=False)
"""True in the tasks of a stream adapter, false again inside the request it makes."""
_on_trial: ContextVar[bool] = ContextVar("runguard_fallback_trial", default=False)
"""True in the streams on which a fallback adapter tries whether a provider is back: another one
hears the same voice for the session, and is the one that counts."""


class BatchResults:
    """Watches the requests that stream adapters make.

    Args:
        services: The recorder.
        sessions: The speech state of every session.
    """

    def __init__(self, services: Services, sessions: SpeechSessions) -> None:
        self._recorder = services.recorder
        self._sessions = sessions

    def adapter_runs(self, *_: Any, **__: Any) -> None:
        """``StreamAdapterWrapper._run``: the tasks it starts inherit the mark."""
        _in_adapter.set(True)

    def try_recovery(self, wrapped: Any, _: Any, args: Any, kwargs: Any) -> Any:
        """``FallbackRecognizeStream._try_recovery``: what it opens starts its task at once."""
        token = _on_trial.set(True)
        try:
            return wrapped(*args, **kwargs)
        finally:
            _on_trial.reset(token)

    async def recognize(self, wrapped: Any, recogniser: Any, args: Any, kwargs: Any) -> Any:
        """``STT.recognize``."""
        if not _in_adapter.get() or _on_trial.get():
            return await wrapped(*args, **kwargs)
        token = _in_adapter.set(False)
        try:
            event = await wrapped(*args, **kwargs)
        finally:
            with contextlib.suppress(ValueError):  # collected in another context, at the very end
                _in_adapter.reset(token)
        with shield(self._recorder, "STT.recognize"):
            self._count_if_swallowed(recogniser, event)
        return event

    def _count_if_swallowed(self, recogniser: Any, event: Any) -> None:
        if event.alternatives and event.alternatives[0].text:
            return  # it becomes a final result and is judged there
        state = self._sessions.current()
        if state is not None:
            state.on_final(Heard(""), None, Recogniser(*model_names(recogniser), True))
