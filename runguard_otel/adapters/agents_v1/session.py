"""The life of an ``AgentSession``: it starts, its agent speaks, it closes."""

from __future__ import annotations

from typing import Any

from runguard_otel.adapters.agents_v1.context import session_closer
from runguard_otel.adapters.agents_v1.services import Services
from runguard_otel.adapters.agents_v1.speech_sessions import SpeechSessions
from runguard_otel.adapters.agents_v1.speech_state import GUARD
from runguard_otel.adapters.patching import Patch
from runguard_otel.adapters.safety import shield

__all__ = ["patches"]


def patches(services: Services, sessions: SpeechSessions) -> list[Patch]:
    """Know every session from its start, and undo at its end what was done to it."""
    from livekit.agents.voice import AgentSession
    from livekit.agents.voice.io import AgentInput

    recorder = services.recorder

    async def start(wrapped: Any, session: Any, args: Any, kwargs: Any) -> Any:
        with sessions.starting(session):
            return await wrapped(*args, **kwargs)

    def update_agent_state(wrapped: Any, session: Any, args: Any, kwargs: Any) -> Any:
        result = wrapped(*args, **kwargs)
        with shield(recorder, "AgentSession._update_agent_state"):
            state = args[0] if args else kwargs.get("state")
            sessions.of(session).agent_speaks(state == "speaking")
        return result

    async def close(wrapped: Any, session: Any, args: Any, kwargs: Any) -> Any:
        try:
            return await wrapped(*args, **kwargs)
        finally:
            with shield(recorder, closing):
                sessions.ended(session)

    def set_audio_enabled(wrapped: Any, heard: Any, args: Any, kwargs: Any) -> Any:
        with shield(recorder, "AgentInput.set_audio_enabled"):
            enabled = bool(args[0] if args else kwargs["enable"])
            for state in sessions.states():
                state.switched(heard, enabled)
        return wrapped(*args, **kwargs)

    closer = session_closer(AgentSession)
    closing = f"AgentSession.{closer}"
    return [
        Patch(AgentSession, "start", start, GUARD, "knows the session of every task it starts"),
        Patch(
            AgentSession,
            "_update_agent_state",
            update_agent_state,
            GUARD,
            "knows when the agent speaks; after an echo storm the microphone is closed meanwhile",
        ),
        Patch(
            AgentInput,
            "set_audio_enabled",
            set_audio_enabled,
            GUARD,
            "remembers what the application wants while the microphone is closed; changes nothing",
        ),
        Patch(
            AgentSession,
            closer,
            close,
            GUARD,
            "gives raised VAD thresholds and the microphone back when a session ends",
        ),
    ]
