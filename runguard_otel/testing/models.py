"""Scripted speech recognition, voice detection, language model, voice and audio for a session.

They do what they are told and count what would have been billed: requests, tokens, characters and
seconds. Everything between them (``AgentSession``, adapters, endpointing) is LiveKit's own.
"""

from runguard_otel.testing.audio import ScriptedAudioInput, ScriptedAudioOutput
from runguard_otel.testing.listening import (
    ScriptedBatchSTT,
    ScriptedSTT,
    final,
    interim,
    malformed_final,
    preflight,
)
from runguard_otel.testing.speaking import ScriptedLLM, ScriptedTTS
from runguard_otel.testing.voice_activity import ScriptedVAD

__all__ = [
    "ScriptedAudioInput",
    "ScriptedAudioOutput",
    "ScriptedBatchSTT",
    "ScriptedLLM",
    "ScriptedSTT",
    "ScriptedTTS",
    "ScriptedVAD",
    "final",
    "interim",
    "malformed_final",
    "preflight",
]
