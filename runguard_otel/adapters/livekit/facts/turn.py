"""What LiveKit 1.x is about turns: who listens, what is not committed yet, who answers.

Read in 1.0.23 to 1.8.9. An ``AudioRecognition`` hears for an ``AgentActivity``, its hooks, which is
what an ``AgentSession`` does while one agent runs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextvars import ContextVar
from typing import Any, Final

__all__ = [
    "activity_context",
    "activity_of",
    "answers_tool",
    "answers_turn",
    "by_hand",
    "cancel_early_answer",
    "changed",
    "close_after_speech",
    "detector_of",
    "drop_pending",
    "forget_guesses",
    "has_detector",
    "hear_when_it_starts_again",
    "is_wordless",
    "listener_of",
    "may_answer",
    "pause_within",
    "pending_words",
    "preflight_type",
    "realtime_session",
    "rebind_realtime",
    "recogniser_finds_turns",
    "recognition_of",
    "result_arrived",
    "server_takes_turns",
    "session_of",
    "silence_detection",
    "transcribes",
    "turns_by_hand",
    "without_reply",
]

_FINAL: Final = "final_transcript"


def activity_context() -> ContextVar[Any] | None:
    """The context variable whose value is the running ``AgentActivity`` in every task of an agent.

    ``None`` where there is none: 0.12 has no sessions. Read in 1.0 to 1.8.
    """
    try:
        from livekit.agents.voice import agent_activity
    except ImportError:
        return None
    return getattr(agent_activity, "_AgentActivityContextVar", None)


def listener_of(recognition: Any) -> Any:
    """The ``AgentActivity`` that an ``AudioRecognition`` hears for; its hooks, in every 1.x.

    Read in 1.0 to 1.8.
    """
    return recognition._hooks


def session_of(activity: Any) -> Any:
    """The ``AgentSession`` of an ``AgentActivity``; ``None`` of what is none (1.0 to 1.8)."""
    return getattr(activity, "_session", None)


def activity_of(session: Any) -> Any:
    """The ``AgentActivity`` that runs in an ``AgentSession``; ``None`` before.

    Also after its end, since 1.1; in 1.0 the last one stays. Read in 1.0 to 1.8.
    """
    return getattr(session, "_activity", None)


def recognition_of(activity: Any) -> Any:
    """The ``AudioRecognition`` that hears for an ``AgentActivity``; ``None`` if nothing does.

    Read in 1.0 to 1.8.
    """
    return getattr(activity, "_audio_recognition", None)


def detector_of(session: Any) -> Any:
    """The voice detector of the running agent, or else the session's; ``None`` without either.

    Read in 1.0 to 1.8.
    """
    return getattr(activity_of(session), "vad", None) or getattr(session, "vad", None)


def by_hand(recognition: Any) -> bool:
    """Whether the application, by a button, says when a turn is over (1.0 to 1.8)."""
    return getattr(recognition, "_turn_detection_mode", "") == "manual"


def has_detector(recognition: Any) -> bool:
    """Whether a voice detector hears the same audio as the recogniser (1.0 to 1.8)."""
    return getattr(recognition, "_vad", None) is not None


def recogniser_finds_turns(recognition: Any) -> bool:
    """Whether the recogniser says when a voice begins and ends: it is asked to, or none else is.

    Read in 1.0 to 1.8.
    """
    if not has_detector(recognition):
        return True
    return getattr(recognition, "_turn_detection_mode", "") == "stt"


def preflight_type() -> Any:
    """The type of a guess that may be answered ahead of the final result; ``None`` before 1.2.

    Read in 1.0 to 1.8.
    """
    from livekit.agents.stt import SpeechEventType

    return getattr(SpeechEventType, "PREFLIGHT_TRANSCRIPT", None)


def changed(original: Any, **changes: Any) -> Any:
    """Like ``dataclasses.replace``, at a tenth of its price; the original is left alone.

    Read in 1.0 to 1.8.
    """
    copy = object.__new__(type(original))
    vars(copy).update(vars(original), **changes)
    return copy


def may_answer(session: Any) -> bool:
    """Whether an ``AgentSession`` listens to somebody and has a model that would answer (1.x).

    Its audio input may be absent (text only), switched off (push-to-talk, hold), or heard by a
    recogniser alone (a transcriber). Read in 1.0 to 1.8.
    """
    heard = getattr(session, "input", None)
    if heard is None or heard.audio is None or not heard.audio_enabled:
        return False
    agent = getattr(session, "_agent", None)
    for owner in (activity_of(session), agent, session):
        model = getattr(owner, "llm", None)
        if model:
            return True
    return False


def pause_within(recognition: Any) -> float:
    """How long a user may be silent within one turn, in seconds: what the host is set to wait.

    Since 1.5 an endpointing object knows. Read in 1.0 to 1.8.
    """
    which = "min" if getattr(recognition, "_turn_detector", None) is None else "max"
    endpointing = getattr(recognition, "_endpointing", None)
    if endpointing is not None:
        return float(getattr(endpointing, f"{which}_delay"))
    return float(getattr(recognition, f"_{which}_endpointing_delay", 0.0))


def forget_guesses(recognition: Any) -> None:
    """Take back what interim and preflight results left behind.

    A preemptive answer is cancelled only if a guess started it: one that grew from final results
    is still what the user asked for. Before 1.2 there are neither. Read in 1.0 to 1.8.
    """
    if getattr(recognition, "_audio_interim_transcript", ""):
        recognition._audio_interim_transcript = ""
    if getattr(recognition, "_audio_preflight_transcript", ""):
        recognition._audio_preflight_transcript = ""
        cancel_early_answer(recognition._hooks)


def cancel_early_answer(activity: Any) -> None:
    """Stop what an ``AgentActivity`` answers ahead of the end of the turn; nothing before 1.2.

    Read in 1.0 to 1.8.
    """
    cancel = getattr(activity, "_cancel_preemptive_generation", None)
    if cancel is not None:
        cancel()


def result_arrived(recognition: Any) -> None:
    """A manual commit need not wait any longer: there was a result, though it is kept back.

    Before 1.6 the host would not say so for a blank one. Read in 1.0 to 1.8.
    """
    received = getattr(recognition, "_final_transcript_received", None)
    if received is not None:
        received.set()


def pending_words(recognition: Any) -> list[str]:
    """The words of the turn that is not committed yet.

    Some releases hold results back while the agent speaks, to process them when it is over.
    Read in 1.0 to 1.8.
    """
    words: list[str] = (getattr(recognition, "_audio_transcript", "") or "").split()
    for event in getattr(recognition, "_transcript_buffer", None) or ():
        if event.type.value == _FINAL and event.alternatives:
            words += event.alternatives[0].text.split()
    return words


def drop_pending(recognition: Any) -> None:
    """Empty the turn that is not committed yet.

    ``session.clear_user_turn`` would as well, but opens a new stream at the recogniser, which is
    billed, and loses what it is just hearing. Confidences are kept since 1.2. Read in 1.0 to 1.8.
    """
    recognition._audio_transcript = ""
    if hasattr(recognition, "_final_transcript_confidence"):
        recognition._final_transcript_confidence = []
    held = getattr(recognition, "_transcript_buffer", None)
    if held:
        kept = [event for event in held if not event.type.value.endswith("_transcript")]
        held.clear()
        held.extend(kept)  # a voice that begins or ends


def is_wordless(info: Any, activity: Any) -> bool:
    """Whether a turn of a pipeline session has no text. Realtime turns never have one.

    Read in 1.0 to 1.8.
    """
    if (getattr(info, "new_transcript", "") or "").strip():
        return False
    return realtime_session(activity) is None and activity.stt is not None


def without_reply(info: Any) -> bool:
    """Let LiveKit close a turn, with all its bookkeeping, and reply nothing.

    Read in 1.0 to 1.8.

    Args:
        info: What ``AgentActivity.on_end_of_turn`` is given.

    Returns:
        Whether that can be said (since 1.4). Before, keep the turn from ``on_end_of_turn``.
    """
    if not hasattr(info, "skip_reply"):
        return False
    info.skip_reply = True
    return True


def realtime_session(activity: Any) -> Any:
    """The session of a realtime model, which hears the audio itself; ``None`` in a pipeline.

    Read in 1.0 to 1.8.
    """
    return getattr(activity, "_rt_session", None)


def transcribes(activity: Any) -> bool:
    """Whether the model of ``activity`` reports what it heard; a recogniser beside it only adds.

    Read in 1.0 to 1.8.
    """
    if realtime_session(activity) is None:
        return False
    capable = getattr(activity.llm, "capabilities", None)
    return bool(getattr(capable, "user_transcription", False))


def server_takes_turns(activity: Any) -> bool:
    """Whether the provider of a realtime model ends turns; since 1.6 the host may have a say.

    Read in 1.0 to 1.8.
    """
    capable = activity.llm.capabilities.turn_detection
    return bool(getattr(activity, "_rt_turn_detection_enabled", capable))


def turns_by_hand(activity: Any) -> bool:
    """Whether a person ends the turns of a realtime model with a button. 1.4 renamed it.

    Read in 1.0 to 1.8.
    """
    names = ("_turn_detection", "_turn_detection_mode")
    return any(getattr(activity, name, None) == "manual" for name in names)


def answers_tool(activity: Any) -> bool:
    """Whether a realtime model may be answering what a tool returned: some do so by themselves.

    Since 1.6 the host waits for such an answer; before, the end of the conversation tells.
    Read in 1.0 to 1.8.
    """
    waiting = getattr(activity, "_pending_auto_tool_reply_fut", None)
    if waiting is not None and not waiting.done():
        return True
    items = activity._agent._chat_ctx.items
    return bool(items) and items[-1].type == "function_call_output"


def answers_turn(activity: Any) -> bool:
    """Whether the running task is the one that answers a turn of the user's (1.0 to 1.8)."""
    turn = getattr(activity, "_user_turn_completed_atask", None)
    return turn is not None and turn is asyncio.current_task()


def rebind_realtime(activity: Any) -> None:
    """Give a realtime session the handlers that ``activity`` has now.

    The host took bound methods when the session began, and takes them off by what they are then:
    those from before a patch was undone would stay when it hands the session on to the next agent,
    and two agents would take every turn. Read in 1.0 to 1.8.
    """
    realtime = realtime_session(activity)
    if realtime is None:
        return
    for event in (
        "generation_created",
        "input_audio_transcription_completed",
        "input_speech_started",
    ):
        now = getattr(activity, f"_on_{event}")
        for handler in list(realtime._events.get(event, ())):
            same = getattr(handler, "__self__", None) is activity
            if same and handler != now and handler.__name__ == now.__name__:
                realtime.off(event, handler)
                realtime.on(event, now)


def close_after_speech(session: Any) -> Coroutine[Any, Any, None] | None:
    """Begin to close a session after what is being said.

    Read in 1.0 to 1.8.

    Returns:
        ``None``; before 1.2, which has no ``shutdown``, what must be run for it.
    """
    if hasattr(session, "shutdown"):
        session.shutdown(drain=True)
        return None
    closing: Coroutine[Any, Any, None] = session.aclose()
    return closing


def hear_when_it_starts_again(heard: Any) -> None:
    """Enable an ``AgentInput`` that has no microphone: the session is over, and may start again.

    The public way would log that there is nothing to enable. Read in 1.0 to 1.8.
    """
    if hasattr(heard, "_audio_enabled"):
        heard._audio_enabled = True


def silence_detection() -> type | None:
    """``IVRActivity``, which asks the model after each silence; ``None`` before 1.3.

    Without end: for as long as nobody speaks. Read in 1.3 to 1.8.
    """
    try:
        from livekit.agents.voice.ivr import IVRActivity
    except ImportError:
        return None
    return IVRActivity
