"""A microphone that we closed opens again only if the application still wants it open."""

from __future__ import annotations

from typing import Any

import pytest

from runguard_otel.testing.calls import Call, call
from runguard_otel.testing.models import final
from runguard_otel.testing.waiting import until
from tests.kit.realtime import realtime_call
from tests.kit.realtime_storm import NEVER, model, storm
from tests.kit.speech import Guarded

pytestmark = pytest.mark.livekit

SPEECH = "Your table for two is booked for eight on Friday, see you then."
ECHO = "table for two is booked"
WISHES = pytest.mark.parametrize(
    "wishes", [(), (False,), (True,), (True, False), (False, True), (False, True, False)]
)


async def echo_storm(c: Call) -> None:
    """Five echoes; the agent is still speaking, and the microphone closed."""
    for n in range(5):
        c.session.say(SPEECH)
        await until(lambda: c.speaking)
        await c.hear(final(ECHO, 0.85))
        if n < 4:
            await until(lambda: not c.speaking)
    assert not c.listens()


@WISHES
async def test_after_an_echo_storm_the_last_wish_of_the_application_holds(
    wishes: tuple[bool, ...],
) -> None:
    """Who mutes himself meanwhile must not be heard when the agent falls silent."""
    last = wishes[-1] if wishes else True
    with Guarded() as guarded:
        async with call(voice=True, speed=8) as c, call() as other:
            await echo_storm(c)
            for wish in wishes:
                c.session.input.set_audio_enabled(wish)
                assert c.listens() == wish
            other.session.input.set_audio_enabled(not last)
            await until(lambda: not c.speaking)
            assert c.listens() == last
            guarded.__exit__()
            assert c.listens() == last
            assert other.listens() != last


@WISHES
async def test_after_a_cool_down_the_last_wish_of_the_application_holds(
    wishes: tuple[bool, ...],
) -> None:
    with Guarded(vad_misfire_cooldown_seconds=NEVER) as guarded:
        async with realtime_call(model()) as c:
            await storm(c)
            assert not c.listens()
            for wish in wishes:
                c.session.input.set_audio_enabled(wish)
            guarded.__exit__()  # all that was done to the session is undone
            assert c.listens() == (wishes[-1] if wishes else True)


async def test_a_wish_of_one_storm_is_not_remembered_in_the_next() -> None:
    with Guarded():
        async with call(voice=True, speed=8) as c:
            await echo_storm(c)
            c.session.input.set_audio_enabled(False)
            await until(lambda: not c.speaking)
            assert not c.listens()
            c.session.input.set_audio_enabled(True)
            c.session.say(SPEECH)
            await until(lambda: c.speaking)
            assert not c.listens(), "after the storm it is closed while the agent speaks"
            await until(lambda: not c.speaking)
            assert c.listens()


async def test_a_microphone_opens_though_the_session_says_for_ever_that_its_agent_speaks() -> None:
    """Fails if only the end of the speech opens it: the caller is unheard for the rest."""
    with Guarded(vad_misfire_bound_seconds=0.3) as guarded:
        async with call(voice=True, speed=8) as c:
            await echo_storm(c)
            state: Any = c.session
            state._update_agent_state = lambda *_, **__: None  # it hangs
            await until(c.listens)
            assert c.speaking
            guarded.now += 30.0
            await c.hear(final("hello is anybody there", 0.9))
            assert c.asked[-1] == "hello is anybody there"


async def test_thresholds_that_a_trip_raised_are_given_back_though_the_storm_goes_on() -> None:
    """Fails if only a genuine result lowers them: a soft-spoken caller never makes one."""
    with Guarded(vad_misfire_bound_seconds=0.3):
        async with call() as c:
            before = c.vad.thresholds
            for _ in range(5):
                await c.hear(final("", 0.0))
            assert c.vad.thresholds > before
            await until(lambda: c.vad.thresholds == before)
            await c.hear(final("", 0.0))
            assert c.vad.thresholds == before
