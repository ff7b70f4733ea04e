"""What livekit-agents 0.12 is about agents and turns, untyped: our types are those of 1.x.

Read in 0.12.21. A ``HumanInput`` hears one participant for a ``VoicePipelineAgent``.
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "ears_of",
    "forget_guess",
    "hears",
    "holds_words",
    "realtime_model",
    "room_of",
    "stop_listening",
    "what_it_says",
    "would_ask_without_words",
]


def ears_of(agent: Any) -> Any:
    """The ``HumanInput`` of an agent; ``None`` before a caller is there (0.12)."""
    return agent._human_input


def room_of(agent: Any) -> Any:
    """The room that an agent was started in; ``None`` before (0.12)."""
    return getattr(agent, "_room", None)


def hears(human_input: Any) -> tuple[Any, str]:
    """The room a ``HumanInput`` is in, and the sid of the track it listens to (``""``: none).

    Read in 0.12.
    """
    return human_input._room, str(getattr(human_input._subscribed_track, "sid", ""))


def realtime_model(agent: Any) -> Any:
    """The model of a ``MultimodalAgent`` (0.12)."""
    return agent._model


def holds_words(agent: Any) -> bool:
    """Whether the turn that is not answered yet holds words (0.12)."""
    return bool(str(agent._transcribed_text).strip())


def forget_guess(agent: Any) -> None:
    """Take back what the last interim result left behind (0.12)."""
    agent._transcribed_interim_text = ""


def what_it_says(agent: Any) -> Any:
    """The speech handle of what an agent is saying; ``None`` while it is silent (0.12)."""
    return agent._playing_speech


def would_ask_without_words(agent: Any) -> bool:
    """Whether the host is about to ask the LLM though nothing was said (0.12)."""
    playing = agent._playing_speech
    speaking = playing is not None and not playing.interrupted
    if speaking and not (playing.allow_interruptions and agent._should_interrupt()):
        return False  # it is not listening
    if agent._pending_agent_reply is not None or agent._opts.preemptive_synthesis:
        return False  # it has asked already, about words, or will not ask at all
    return not holds_words(agent)


async def stop_listening(agent: Any) -> None:
    """Close an agent's ``HumanInput``, once (0.12)."""
    ears = agent._human_input
    if ears is not None and not ears._closed:
        await ears.aclose()
