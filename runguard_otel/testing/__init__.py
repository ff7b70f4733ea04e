"""Test a voice agent with its guards: no account, no server, no waiting.

Real are ``AgentSession``, ``Room``, ``JobContext`` and the guards. Scripted are what costs money or
needs a network: recogniser, language model, voice, microphone, and the LiveKit server. A test::

    async def test_noise_never_reaches_the_model(runguard):  # a fixture that pytest finds by itself
        async with call(agent=MyAgent()) as phone:
            await simulate_storm("misfire", phone)
            await phone.hear("a table for two please")
        runguard.assert_tripped("vad_misfire", action="suppress")
        assert phone.asked == ["a table for two please"]

The names in ``__all__`` are public: they change as ``docs/versioning.md`` says. The demonstration
and this package's own tests stand on the same parts. Needs ``livekit-agents`` 1.0 or newer, and
nothing else; the fixtures need pytest, and ``pytest-asyncio`` or the like for coroutines.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from runguard_otel._lazy import lazy

if TYPE_CHECKING:
    from runguard_otel.testing.audio import ScriptedAudioInput, ScriptedAudioOutput
    from runguard_otel.testing.calls import Call, call
    from runguard_otel.testing.jobs import job_on_stage, running_job
    from runguard_otel.testing.listening import (
        ScriptedBatchSTT,
        ScriptedSTT,
        final,
        interim,
        malformed_final,
        preflight,
    )
    from runguard_otel.testing.rate import SAMPLE_RATE
    from runguard_otel.testing.realtime import ScriptedRealtimeModel
    from runguard_otel.testing.recorder import Recording, recording
    from runguard_otel.testing.speaking import ScriptedLLM, ScriptedTTS
    from runguard_otel.testing.stage import Stage
    from runguard_otel.testing.storms import StormName, simulate_storm
    from runguard_otel.testing.voice_activity import ScriptedVAD
    from runguard_otel.testing.waiting import settle, until

__all__ = [
    # what the guards saw
    "Recording",
    "recording",
    # where the agent runs
    "Call",
    "call",
    "Stage",
    "job_on_stage",
    "running_job",
    # what goes wrong
    "StormName",
    "simulate_storm",
    # scripted providers, and what they are told to hear
    "ScriptedSTT",
    "ScriptedBatchSTT",
    "ScriptedLLM",
    "ScriptedTTS",
    "ScriptedVAD",
    "ScriptedRealtimeModel",
    "ScriptedAudioInput",
    "ScriptedAudioOutput",
    "SAMPLE_RATE",
    "final",
    "interim",
    "preflight",
    "malformed_final",
    # waiting
    "settle",
    "until",
]

# Loaded on first use: sessions are not in every livekit-agents, and pytest loads the plugin always.
_HOME = {
    "Recording": "recorder",
    "recording": "recorder",
    "Call": "calls",
    "call": "calls",
    "Stage": "stage",
    "job_on_stage": "jobs",
    "running_job": "jobs",
    "StormName": "storms",
    "simulate_storm": "storms",
    "ScriptedSTT": "listening",
    "ScriptedBatchSTT": "listening",
    "ScriptedLLM": "speaking",
    "ScriptedTTS": "speaking",
    "ScriptedVAD": "voice_activity",
    "ScriptedRealtimeModel": "realtime",
    "ScriptedAudioInput": "audio",
    "ScriptedAudioOutput": "audio",
    "SAMPLE_RATE": "rate",
    "final": "listening",
    "interim": "listening",
    "preflight": "listening",
    "malformed_final": "listening",
    "settle": "waiting",
    "until": "waiting",
}

if not TYPE_CHECKING:  # a checker that sees it takes every misspelt name for one of ours
    __getattr__, __dir__ = lazy(__name__, _HOME)
