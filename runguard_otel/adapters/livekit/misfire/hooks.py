"""Every place we touch for ``vad_misfire`` on 1.x: from the final result to the empty turn."""

from __future__ import annotations

import time

from runguard_otel.adapters.hooks import Hooks
from runguard_otel.adapters.livekit.misfire.batch_stt import BatchResults
from runguard_otel.adapters.livekit.misfire.gate import SpeechGate
from runguard_otel.adapters.livekit.misfire.realtime import RealtimeGate
from runguard_otel.adapters.livekit.misfire.session import GUARD
from runguard_otel.adapters.livekit.misfire.sessions import SpeechSessions
from runguard_otel.adapters.livekit.services import Services
from runguard_otel.adapters.patching import Patch
from runguard_otel.core.verdict import Clock, Mode

__all__ = ["batch_rows", "patches", "voice_rows"]

_ACTIVITY = "livekit.agents.voice.agent_activity:AgentActivity"
_RECOGNITION = "livekit.agents.voice.audio_recognition:AudioRecognition"
_SESSION = "livekit.agents.voice:AgentSession"


def patches(services: Services, clock: Clock = time.monotonic) -> list[Patch]:
    """The table; nothing when the guard is off.

    Args:
        services: Settings and recorder. ``services.on_close`` gets the undo of what was done to
            live sessions (thresholds, microphones).
        clock: Monotonic seconds; for tests.
    """
    if services.mode(GUARD) is Mode.OFF:
        return []
    hooks = Hooks(services.recorder, GUARD)
    sessions = SpeechSessions(services, clock)
    services.on_close.append(sessions.close)
    realtime = RealtimeGate(services, sessions)
    gate = SpeechGate(services, sessions, realtime)
    return [
        hooks.gate(
            _RECOGNITION,
            "_on_stt_event",
            gate.on_stt_event,
            why="Judges every STT result; blanks those that must not wake the LLM.",
        ),
        hooks.gate(
            _ACTIVITY,
            "on_end_of_turn",
            gate.on_end_of_turn,
            why="No LLM call for a turn without a word (an empty manual commit), and no turn of a "
            "realtime model while its input is closed.",
        ),
        hooks.flat(
            _RECOGNITION,
            "_on_vad_event",
            ("ev",),
            gate.detecting,
            gate.on_vad_event,
            why="Knows when a voice was heard, and counts those that led to no text.",
            ahead=True,
        ),
        *batch_rows(hooks, BatchResults(services, sessions)),
        *voice_rows(hooks, sessions),
        *_session_rows(hooks, sessions),
        *_realtime_rows(hooks, sessions, realtime),
    ]


def batch_rows(hooks: Hooks, batch: BatchResults) -> list[Patch]:
    """Recognisers without streaming, whose blank results never become events."""
    return [
        hooks.before(
            "livekit.agents.stt.stream_adapter:StreamAdapterWrapper",
            "_run",
            batch.adapter_runs,
            why="Marks the tasks of a stream adapter, whose empty results never become events.",
        ),
        hooks.around(
            "livekit.agents.stt.fallback_adapter:FallbackRecognizeStream",
            "_try_recovery",
            batch.try_recovery,
            why="Marks the trial streams of a fallback adapter: what they hear is heard by another "
            "too.",
        ),
        hooks.around(
            "livekit.agents.stt:STT",
            "recognize",
            batch.recognize,
            why="Counts the empty results a stream adapter swallows.",
        ),
    ]


def voice_rows(hooks: Hooks, sessions: SpeechSessions) -> list[Patch]:
    """What the agent says, where every synthesiser gets it."""
    return [
        hooks.written(
            "livekit.agents.tts:SynthesizeStream",
            "push_text",
            sessions.agent_says,
            why="Remembers for some seconds what the agent says, to recognise its echo.",
        ),
        hooks.before(
            "livekit.agents.tts:ChunkedStream",
            "__init__",
            sessions.agent_says_whole,
            why="The same for synthesisers that take a whole text.",
        ),
    ]


def _session_rows(hooks: Hooks, sessions: SpeechSessions) -> list[Patch]:
    """Know every session from its start, and undo at its end what was done to it."""
    return [
        hooks.around(
            _SESSION,
            "start",
            sessions.session_starts,
            why="Knows the session of every task it starts.",
        ),
        hooks.flat(
            _SESSION,
            "_update_agent_state",
            ("state", "otel_context", "start_time"),
            sessions.updating_agent_state,
            sessions.agent_state,
            why="Knows when the agent speaks; after an echo storm the microphone is closed "
            "meanwhile.",
        ),
        hooks.before(
            "livekit.agents.voice.io:AgentInput",
            "set_audio_enabled",
            sessions.input_switched,
            why="Remembers what the application wants while the microphone is closed.",
        ),
        hooks.around(
            _SESSION,
            "_aclose_impl",
            sessions.session_closes,
            why="Gives raised VAD thresholds and the microphone back when a session ends.",
        ),
    ]


def _realtime_rows(hooks: Hooks, sessions: SpeechSessions, realtime: RealtimeGate) -> list[Patch]:
    """A session with a realtime model takes the first three as bound methods when it starts.

    The last two are passed in every turn of every session, and idle until there is such a model.
    """
    return [
        hooks.gate(
            _ACTIVITY,
            "_on_input_audio_transcription_completed",
            realtime.transcribed,
            why="Judges what a realtime model heard; in a storm, closes the input for a while.",
        ),
        hooks.around(
            _ACTIVITY,
            "_on_generation_created",
            realtime.answers,
            why="Counts unasked answers of a realtime model; stops those that come after the trip.",
        ),
        hooks.before(
            _ACTIVITY,
            "_on_input_speech_started",
            realtime.speech_started,
            why="Knows whether an answer of a realtime model followed speech.",
        ),
        hooks.before(
            "livekit.agents.llm:RealtimeSession",
            "__init__",
            sessions.meets_realtime,
            why="Knows that this process has a realtime model, for which the next two are.",
        ),
        hooks.after(
            _ACTIVITY,
            "_schedule_speech",
            realtime.scheduled,
            when=sessions.met_realtime,
            why="Knows which speech answers a user's turn, to stop that one alone.",
        ),
        hooks.before(
            _SESSION,
            "_conversation_item_added",
            realtime.item_added,
            when=sessions.met_realtime,
            why="Remembers for some seconds what a realtime model said, to recognise its echo.",
        ),
    ]
