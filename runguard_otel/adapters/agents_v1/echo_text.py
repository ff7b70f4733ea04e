"""What the agent says, taken where every synthesiser gets it, to recognise it as an echo."""

from __future__ import annotations

import weakref
from typing import Any

from runguard_otel.adapters.agents_v1.services import Services
from runguard_otel.adapters.agents_v1.speech_sessions import SpeechSessions
from runguard_otel.adapters.agents_v1.speech_state import GUARD
from runguard_otel.adapters.patching import Patch
from runguard_otel.adapters.safety import shield

__all__ = ["patches"]


def patches(services: Services, sessions: SpeechSessions) -> list[Patch]:
    """Listen to the text of streamed and of whole syntheses."""
    from livekit.agents import tts

    recorder = services.recorder

    def push_text(wrapped: Any, stream: Any, args: Any, kwargs: Any) -> Any:
        with shield(recorder, "SynthesizeStream.push_text"):
            token = args[0] if args else kwargs.get("token", "")
            state = sessions.current() if token else None
            if state is not None:
                state.echo.push(token, weakref.ref(stream))
        return wrapped(*args, **kwargs)

    def chunked(wrapped: Any, stream: Any, args: Any, kwargs: Any) -> Any:
        with shield(recorder, "ChunkedStream.__init__"):
            text = kwargs.get("input_text", "")
            state = sessions.current() if text else None
            if state is not None:
                state.echo.push_whole(text, weakref.ref(stream))
        return wrapped(*args, **kwargs)

    return [
        Patch(
            tts.SynthesizeStream,
            "push_text",
            push_text,
            GUARD,
            "remembers for some seconds what the agent says, to recognise its echo",
        ),
        Patch(
            tts.ChunkedStream,
            "__init__",
            chunked,
            GUARD,
            "the same for synthesisers that take a whole text",
        ),
    ]
