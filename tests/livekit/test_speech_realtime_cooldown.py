"""The closed input: when it opens, on trial and for good."""

from __future__ import annotations

import asyncio
import weakref

import pytest

from runguard_otel.adapters.livekit.misfire.cooldown import Cooldown
from runguard_otel.adapters.livekit.misfire.remedies import Remedies
from runguard_otel.adapters.livekit.misfire.thresholds import VADThresholds
from runguard_otel.settings import Settings
from runguard_otel.testing.responses import Heard
from runguard_otel.testing.waiting import until
from tests.kit.realtime import realtime_call
from tests.kit.realtime_storm import NEVER, ORDERS, SOON, model, storm
from tests.kit.speech import Guarded

pytestmark = pytest.mark.livekit


@ORDERS
async def test_the_input_opens_again_and_a_genuine_sentence_is_answered(first: bool) -> None:
    with Guarded(vad_misfire_cooldown_seconds=SOON) as guarded:
        async with realtime_call(model(transcript_first=first)) as c:
            await storm(c)
            assert not c.listens()
            await until(c.listens)
            assert guarded.recorder.open_guards["vad_misfire"] == 1, "open on trial only"
            await c.hear(Heard("a table for two please"))
            await c.quiet()
            assert not c.responses[-1].cancelled
            assert c.answers == 5
            assert c.turns[-1] == "a table for two please"
            assert guarded.recorder.open_guards["vad_misfire"] == 0
            await c.noise(4)
            assert c.listens(), "the next row counts from one"
    assert len(guarded.recorder.trips) == 1


@ORDERS
async def test_one_more_noise_on_trial_closes_the_input_for_twice_as_long(
    monkeypatch: pytest.MonkeyPatch, first: bool
) -> None:
    lengths: list[float] = []
    close = Cooldown.close

    def noted(cooldown: Cooldown) -> bool:
        seconds = cooldown.seconds
        closed = close(cooldown)
        if closed:
            lengths.append(seconds)
        return closed

    monkeypatch.setattr(Cooldown, "close", noted)
    with Guarded(vad_misfire_cooldown_seconds=SOON) as guarded:
        async with realtime_call(model(transcript_first=first)) as c:
            await storm(c)
            await until(c.listens)
            await c.hear(Heard(""))
            assert not c.listens()
            assert c.responses[-1].cancelled
            await until(c.listens)
            await c.hear(Heard("hello are you there"))
            await c.quiet()
            await storm(c)
    assert lengths == [SOON, 2 * SOON, SOON], "and from the start after a genuine sentence"
    assert len(guarded.recorder.trips) == 2


@pytest.mark.parametrize("first", ["mute", "cool"])
@pytest.mark.parametrize("last", ["mute", "cool"])
async def test_an_input_closed_for_two_reasons_opens_when_both_are_gone(
    first: str, last: str
) -> None:
    undo = {"mute": "unmute", "cool": "warm"}
    other = {"mute": "cool", "cool": "mute"}
    async with realtime_call(model()) as c:
        later = asyncio.get_running_loop().call_later
        actions = Remedies(weakref.ref(c.session), Settings.load(), VADThresholds(), later)
        for reason in (first, other[first]):
            getattr(actions, reason)()
            assert not c.listens()
        getattr(actions, undo[other[last]])()
        assert not c.listens()
        getattr(actions, undo[last])()
        assert c.listens()
        c.session.input.set_audio_enabled(False)
        actions.mute()
        assert not actions.cool(), "closed by the application: not ours to open"
        actions.warm()
        actions.unmute()
        assert not c.listens()


@pytest.mark.parametrize(
    ("bound", "expected"), [(15, [10, 15, 15, 15, 15, 15]), (600, [10, 20, 40, 80, 80, 80])]
)
async def test_the_doubling_has_a_bound(bound: float, expected: list[float]) -> None:
    class Ears:
        def cool(self) -> bool:
            return True

        def warm(self) -> None:
            opened.append(True)

    opened: list[bool] = []
    later = asyncio.get_running_loop().call_later
    cooldown = Cooldown(10, bound, Ears(), later)  # type: ignore[arg-type]  # only its ears
    lengths = []
    for _ in range(6):
        lengths.append(cooldown.seconds)
        assert cooldown.close()
        assert not cooldown.close(), "it is closed already"
        cooldown._timer.cancel()  # type: ignore[union-attr]  # closed: there is one
        cooldown._open()
    assert lengths == expected
    assert len(opened) == 6
    cooldown.reset()
    assert cooldown.seconds == 10


async def test_a_genuine_transcript_that_was_under_way_opens_the_input_at_once() -> None:
    with Guarded(vad_misfire_cooldown_seconds=NEVER):
        async with realtime_call(model()) as c:
            await storm(c)
            c.model.sessions[0]._report(Heard("sorry I was on mute"))
            assert c.listens()


async def test_the_trip_says_that_the_input_was_closed() -> None:
    with Guarded(vad_misfire_cooldown_seconds=NEVER) as guarded:
        async with realtime_call(model()) as c:
            await storm(c)
            assert not c.listens()
    assert [t.action for t in guarded.recorder.trips] == ["close_input"]


async def test_a_quiet_window_opens_the_input_however_long_the_cool_down() -> None:
    with Guarded(vad_misfire_cooldown_seconds=NEVER, vad_misfire_window_seconds=0.2) as guarded:
        async with realtime_call(model()) as c:
            await storm(c)
            assert not c.listens()
            guarded.now += 1
            await until(c.listens)


async def test_what_the_application_asks_for_is_spoken_while_the_input_is_closed() -> None:
    with Guarded(vad_misfire_cooldown_seconds=NEVER):
        async with realtime_call(model()) as c:
            await storm(c)
            await c.quiet()
            spoken = c.answers
            c.session.generate_reply()
            await until(lambda: c.answers == spoken + 1)
            c.model.sessions[0]._report(Heard(""))  # a late one of the storm
            await c.quiet()
            assert not c.responses[-1].cancelled
            assert c.responses[-1].asked
