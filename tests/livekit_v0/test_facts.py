"""What ``facts/pipeline_0_12.py`` says of agents and turns, asked of running ones."""

from __future__ import annotations

import pytest

from runguard_otel.adapters.livekit.facts import pipeline_0_12 as facts
from runguard_otel.adapters.livekit.facts.turn import activity_context
from runguard_otel.testing.listening import final, interim
from tests.kit.v0_call import CALLER, ROOM, realtime_call, settle, until, voice_call
from tests.kit.v0_models import HAS_V0

pytestmark = [
    pytest.mark.livekit,
    pytest.mark.skipif(not HAS_V0, reason="needs livekit-agents 0.12, see docs/livekit-0.12.md"),
]


async def test_an_agent_has_ears_in_a_room_and_can_close_them() -> None:
    """Fails for another name of the input, its room or the track it listens to."""
    async with voice_call() as call:
        ears = facts.ears_of(call.agent)
        assert facts.room_of(call.agent) is call.room
        assert facts.hears(ears) == (call.room, call.track)
        assert call.room.name == ROOM and CALLER in call.room.remote_participants
        for _ in range(2):
            await facts.stop_listening(call.agent)
        assert ears._closed
    assert activity_context() is None, "there are no activities yet"


async def test_an_agent_without_a_room_has_none() -> None:
    async with realtime_call() as call:
        assert facts.realtime_model(call.agent) is call.model
        assert facts.room_of(object()) is None


async def test_the_turn_that_is_not_answered_yet() -> None:
    async with voice_call() as call:
        assert not facts.holds_words(call.agent)
        assert facts.would_ask_without_words(call.agent), "0.12 asks for <continue>"
        call.vad.start_of_speech()
        await settle()
        call.stt.send(interim("a tab"))
        await settle()
        assert call.agent._transcribed_interim_text == "a tab"
        facts.forget_guess(call.agent)
        assert call.agent._transcribed_interim_text == ""
        call.stt.send(final("a table"))
        await settle()
        assert facts.holds_words(call.agent)
        assert not facts.would_ask_without_words(call.agent)


async def test_what_an_agent_says_keeps_it_from_listening() -> None:
    async with voice_call(pace=0.2, allow_interruptions=False) as call:
        assert facts.what_it_says(call.agent) is None
        await call.hear(final("a table for two"))
        await until(lambda: facts.what_it_says(call.agent) is not None, "the agent speaks")
        assert not facts.would_ask_without_words(call.agent)
