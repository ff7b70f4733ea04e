"""Every place we touch for ``vad_misfire`` on 0.12, which has agents where 1.x has sessions."""

from __future__ import annotations

import time

from runguard_otel.adapters.hooks import Hooks
from runguard_otel.adapters.livekit.misfire.batch_stt import BatchResults
from runguard_otel.adapters.livekit.misfire.gate_0_12 import PipelineGate
from runguard_otel.adapters.livekit.misfire.hooks import batch_rows, voice_rows
from runguard_otel.adapters.livekit.misfire.session import GUARD
from runguard_otel.adapters.livekit.misfire.session_0_12 import PipelineSessions
from runguard_otel.adapters.livekit.services import Services
from runguard_otel.adapters.patching import Patch
from runguard_otel.core.verdict import Clock, Mode

__all__ = ["patches"]

_EARS = "livekit.agents.pipeline.human_input:HumanInput"
_PIPELINE = "livekit.agents.pipeline.pipeline_agent:VoicePipelineAgent"
_MULTIMODAL = "livekit.agents.multimodal.multimodal_agent:MultimodalAgent"


def patches(services: Services, clock: Clock = time.monotonic) -> list[Patch]:
    """The table; nothing when the guard is off.

    Args:
        services: Settings and recorder. ``services.on_close`` gets the undo of what was done to
            live agents.
        clock: Monotonic seconds; for tests.
    """
    if services.mode(GUARD) is Mode.OFF:
        return []
    hooks = Hooks(services.recorder, GUARD)
    sessions = PipelineSessions(services, clock)
    services.on_close.append(sessions.close)
    gate = PipelineGate(services, sessions)
    return [
        hooks.around(
            _EARS,
            "emit",
            gate.emit,
            why="Judges every STT result; keeps back those that must not wake the LLM.",
        ),
        hooks.around(
            _EARS,
            "_recognize_task",
            gate.recognize,
            why="Knows the agent of every result; after an echo storm the microphone is closed.",
        ),
        hooks.gate(
            _PIPELINE,
            "_validate_reply_if_possible",
            gate.validate,
            why="No LLM call for a voice segment without a word.",
        ),
        hooks.before(
            _MULTIMODAL,
            "_emit_speech_committed",
            gate.committed,
            why="Judges what a realtime model heard; observes, because it is billed by then.",
        ),
        hooks.gate(
            "livekit.agents.transcription.stt_forwarder:STTSegmentsForwarder",
            "update",
            gate.subtitle,
            why="A result without any alternative would end recognition for good.",
        ),
        *batch_rows(hooks, BatchResults(services, sessions)),
        *voice_rows(hooks, sessions),
        *_agent_rows(hooks, sessions),
    ]


def _agent_rows(hooks: Hooks, sessions: PipelineSessions) -> list[Patch]:
    """Know every agent from its start, whose ears are whose, and when it speaks."""
    knows, speaks = "Knows the agent of every task it starts.", "Knows when the agent speaks."
    restores = "Gives raised VAD thresholds back."
    return [
        hooks.around(_PIPELINE, "start", sessions.descends, why=knows),
        hooks.after(
            _PIPELINE, "_link_participant", sessions.linked, why="Knows whose microphone it is."
        ),
        hooks.around(_PIPELINE, "_synthesize_agent_speech", sessions.descends, why=knows),
        hooks.after(_PIPELINE, "emit", sessions.agent_event, why=speaks),
        hooks.around(_PIPELINE, "aclose", sessions.agent_closes, why=restores),
        hooks.around(_MULTIMODAL, "start", sessions.descends, why=knows),
        hooks.after(_MULTIMODAL, "emit", sessions.agent_event, why=speaks),
        hooks.before("livekit.rtc:Room", "emit", sessions.room_event, why=restores),
    ]
