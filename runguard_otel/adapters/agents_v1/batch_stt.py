"""Recognisers without streaming: LiveKit drops their empty results before anything sees them.

``stt.StreamAdapter`` sends every voice segment to ``recognize``, which is billed, and swallows a
blank answer. We count it where it is swallowed, once, however many adapters are nested inside.
"""

from __future__ import annotations

import contextlib
from contextvars import ContextVar
from typing import Any

from runguard_otel.adapters.agents_v1.services import Services
from runguard_otel.adapters.agents_v1.speech_sessions import SpeechSessions
from runguard_otel.adapters.agents_v1.speech_state import GUARD
from runguard_otel.adapters.patching import Patch
from runguard_otel.adapters.safety import shield

__all__ = ["patches"]

_in_adapter: ContextVar[bool] = ContextVar("runguard_stream_adapter", default=False)
"""True in the tasks of a stream adapter, false again inside the request it makes."""
_on_trial: ContextVar[bool] = ContextVar("runguard_fallback_trial", default=False)
"""True in the streams on which a fallback adapter tries whether a provider is back: another one
hears the same voice for the session, and is the one that counts."""


def patches(services: Services, sessions: SpeechSessions) -> list[Patch]:
    """Watch the requests that stream adapters make."""
    from livekit.agents import stt
    from livekit.agents.stt.fallback_adapter import FallbackRecognizeStream
    from livekit.agents.stt.stream_adapter import StreamAdapterWrapper

    recorder = services.recorder

    async def run(wrapped: Any, _: Any, args: Any, kwargs: Any) -> Any:
        _in_adapter.set(True)  # this is the stream's own task; the tasks it starts inherit it
        return await wrapped(*args, **kwargs)

    def try_recovery(wrapped: Any, _: Any, args: Any, kwargs: Any) -> Any:
        token = _on_trial.set(True)  # what is opened in here starts its task at once
        try:
            return wrapped(*args, **kwargs)
        finally:
            _on_trial.reset(token)

    async def recognize(wrapped: Any, recogniser: Any, args: Any, kwargs: Any) -> Any:
        if not _in_adapter.get() or _on_trial.get():
            return await wrapped(*args, **kwargs)
        token = _in_adapter.set(False)
        try:
            event = await wrapped(*args, **kwargs)
        finally:
            with contextlib.suppress(ValueError):  # collected in another context, at the very end
                _in_adapter.reset(token)
        with shield(recorder, "STT.recognize"):
            _count_if_swallowed(recogniser, event, sessions)
        return event

    return [
        Patch(
            StreamAdapterWrapper,
            "_run",
            run,
            GUARD,
            "marks the tasks of a stream adapter, whose empty results never become events",
        ),
        Patch(
            FallbackRecognizeStream,
            "_try_recovery",
            try_recovery,
            GUARD,
            "marks the trial streams of a fallback adapter: what they hear is heard by another too",
        ),
        Patch(
            stt.STT,
            "recognize",
            recognize,
            GUARD,
            "counts the empty results a stream adapter swallows; changes nothing",
        ),
    ]


def _count_if_swallowed(recogniser: Any, event: Any, sessions: SpeechSessions) -> None:
    if event.alternatives and event.alternatives[0].text:
        return  # it becomes a final result and is judged there
    state = sessions.current()
    if state is None:
        return
    provider = str(getattr(recogniser, "provider", "unknown"))
    model = str(getattr(recogniser, "model", "unknown"))
    state.on_final("", None, provider, model)
