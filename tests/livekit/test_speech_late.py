"""Sessions that began before us, or go on when we come again: what they carry of ours is ours."""

from __future__ import annotations

from typing import Any

import pytest

from runguard_otel.adapters.livekit.facts.turn import activity_of
from runguard_otel.adapters.livekit.misfire.realtime import RealtimeGate
from runguard_otel.adapters.livekit.misfire.sessions import SpeechSessions
from runguard_otel.testing.calls import Call, call
from runguard_otel.testing.models import final
from runguard_otel.testing.responses import Heard
from runguard_otel.testing.waiting import until
from tests.kit.realtime import realtime_call
from tests.kit.realtime_storm import model
from tests.kit.speech import Guarded

pytestmark = pytest.mark.livekit

SPEECH = "Your table for two is booked for eight on Friday, see you then."
ECHO = "table for two is booked"


async def echoed(c: Call) -> None:
    """The agent speaks, is heard by its own microphone, and has said all."""
    c.session.say(SPEECH)
    await until(lambda: c.speaking)
    await c.hear(final(ECHO, 0.9))
    await until(lambda: not c.speaking)


async def test_a_session_that_began_before_us_tells_when_its_agent_speaks() -> None:
    async with call(voice=True) as c:
        with Guarded() as guarded:
            await echoed(c)
    assert guarded.kinds == ["echo"]


async def test_a_session_that_met_one_of_us_is_another_ones_later() -> None:
    """Fails if a session or a recognition keeps the state of whom it met first."""
    first, second = Guarded(), Guarded()
    async with call(voice=True) as c:
        with first:
            await echoed(c)
            await c.hear(final("", 0.0))
        with second:
            await c.hear(final("", 0.0))
            await echoed(c)
    assert first.kinds == ["echo", "empty_transcript"]
    assert second.kinds == ["empty_transcript", "echo"]


async def test_who_comes_again_learns_from_the_next_state_whether_an_agent_speaks() -> None:
    """Fails if what the first of us knew of the agent is taken for known to the second."""
    async with call() as c:
        session: Any = c.session
        with Guarded():
            session._update_agent_state("speaking")
            first = session._runguard_speech
            assert first.speaks
        assert first.speaks is None
        with Guarded():
            session._update_agent_state("listening")
            second = session._runguard_speech
            assert second is not first
            told = [second.speaks]
            session._update_agent_state("speaking")
            told.append(second.speaks)
        session._update_agent_state("listening")
        told.append(second.speaks)
        assert told == [False, True, None], "of what comes after us nobody is told"


async def test_a_session_without_a_realtime_model_never_runs_what_is_for_those(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ran: list[str] = []
    for name in ("scheduled", "item_added"):
        monkeypatch.setattr(RealtimeGate, name, lambda *_, _name=name, **__: ran.append(_name))
    with Guarded():
        async with call() as c:
            await c.hear(final("a table for two"))
            await until(lambda: c.asked == ["a table for two"])
        assert ran == []
        async with realtime_call(model()) as realtime:
            await realtime.hear(Heard("hello"))
            await realtime.quiet()
    assert set(ran) == {"scheduled", "item_added"}


async def test_a_realtime_session_that_began_before_us_is_noticed_by_its_next_turn() -> None:
    async with realtime_call(model()) as c:
        with Guarded() as guarded:
            sessions = SpeechSessions(guarded.services)
            assert not sessions.met_realtime
            RealtimeGate(guarded.services, sessions).vetoes_turn(activity_of(c.session))
            assert sessions.met_realtime
