"""The life of a 0.12 agent: it starts, it speaks, its room is left."""

from __future__ import annotations

from typing import Any, Final

from livekit import rtc

from runguard_otel.adapters.agents_v0 import host
from runguard_otel.adapters.agents_v0.pipeline_state import PipelineSessions
from runguard_otel.adapters.agents_v1.services import Services
from runguard_otel.adapters.agents_v1.speech_state import GUARD
from runguard_otel.adapters.patching import Patch
from runguard_otel.adapters.safety import shield

__all__ = ["patches"]

_SPEAKING: Final = {"agent_started_speaking": True, "agent_stopped_speaking": False}


def patches(services: Services, sessions: PipelineSessions) -> list[Patch]:
    """Know every agent from its start, whose ears are whose, and when it speaks."""
    recorder = services.recorder

    def start(wrapped: Any, agent: Any, args: Any, kwargs: Any) -> Any:
        with sessions.starting(agent):
            return wrapped(*args, **kwargs)

    def link(wrapped: Any, agent: Any, args: Any, kwargs: Any) -> Any:
        result = wrapped(*args, **kwargs)
        with shield(recorder, "VoicePipelineAgent._link_participant"):
            if agent._human_input is not None:  # there is none if the participant has just left
                sessions.listens(agent._human_input, agent)
        return result

    def synthesize(wrapped: Any, agent: Any, args: Any, kwargs: Any) -> Any:
        with sessions.starting(agent):
            return wrapped(*args, **kwargs)

    def emit(wrapped: Any, agent: Any, args: Any, kwargs: Any) -> Any:
        result = wrapped(*args, **kwargs)
        event = args[0] if args else ""
        if event in _SPEAKING:
            with shield(recorder, "VoicePipelineAgent.emit"):
                sessions.of(agent).agent_speaks(_SPEAKING[event])
        elif event == "agent_speech_interrupted":
            with shield(recorder, "VoicePipelineAgent.emit"):
                sessions.state(agent).cut_off = True
        return result

    async def close(wrapped: Any, agent: Any, args: Any, kwargs: Any) -> Any:
        try:
            return await wrapped(*args, **kwargs)
        finally:
            with shield(recorder, "VoicePipelineAgent.aclose"):
                sessions.ended(agent)

    def room_emit(wrapped: Any, room: Any, args: Any, kwargs: Any) -> Any:
        if args and args[0] == "disconnected":
            with shield(recorder, "Room.emit"):
                sessions.left(room)
        return wrapped(*args, **kwargs)

    pipeline, multimodal = host.pipeline_agent(), host.multimodal_agent()
    knows, speaks = "knows the agent of every task it starts", "knows when the agent speaks"
    return [
        Patch(pipeline, "start", start, GUARD, knows),
        Patch(pipeline, "_link_participant", link, GUARD, "knows whose microphone it is"),
        Patch(pipeline, "_synthesize_agent_speech", synthesize, GUARD, knows),
        Patch(pipeline, "emit", emit, GUARD, speaks),
        Patch(pipeline, "aclose", close, GUARD, "gives raised VAD thresholds back"),
        Patch(multimodal, "start", start, GUARD, knows),
        Patch(multimodal, "emit", emit, GUARD, speaks),
        Patch(rtc.Room, "emit", room_emit, GUARD, "gives raised VAD thresholds back"),
    ]
