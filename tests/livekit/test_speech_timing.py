"""An echo is a voice that began while the agent was audible, however late its text arrives."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

import pytest
from livekit.agents import stt

from runguard_otel.adapters.livekit.misfire.segments import VoiceSegments
from runguard_otel.testing.calls import Call, call
from runguard_otel.testing.models import ScriptedSTT, final
from runguard_otel.testing.waiting import settle, until
from tests.kit.speech import Guarded

pytestmark = pytest.mark.livekit

SPEECH = "Your table for two is booked for eight on Friday, see you then."
WORDS = "table for two is booked"


async def silence_after(c: Call, guarded: Guarded, seconds: float) -> None:
    """The agent falls silent, and so it stays for a while."""
    await until(lambda: not c.speaking)
    guarded.now += seconds


async def speaks(c: Call, guarded: Guarded, text: str = SPEECH) -> None:
    """The agent has spoken for a second, and goes on."""
    c.session.say(text)
    await until(lambda: c.speaking)
    guarded.now += 1


async def result(c: Call) -> None:
    """The recogniser comes up with the words, at last."""
    assert isinstance(c.stt, ScriptedSTT)
    c.stt.send(final(WORDS, 0.88))
    await settle()


async def voice_of_the_recogniser(c: Call, begins: bool, at: float | None = None) -> None:
    assert isinstance(c.stt, ScriptedSTT)
    kind = stt.SpeechEventType.START_OF_SPEECH if begins else stt.SpeechEventType.END_OF_SPEECH
    event = stt.SpeechEvent(type=kind)
    if at is not None:
        event.speech_start_time = at
    c.stt.send(event)
    await settle(20)


async def an_echo_that_pauses_the_agent(c: Call, guarded: Guarded) -> None:
    """What LiveKit does half a second into it; the segment goes on when the text comes."""
    await speaks(c, guarded)
    c.vad.start_of_speech()
    await settle(20)
    c.vad.still_speaking()
    await silence_after(c, guarded, 4)
    await result(c)


async def an_echo_whose_segment_is_over(c: Call, guarded: Guarded) -> None:
    await speaks(c, guarded)
    c.vad.start_of_speech()
    await settle(20)
    c.vad.end_of_speech()
    await silence_after(c, guarded, 4)
    await result(c)


async def an_echo_that_began_before_the_detector_said_so(c: Call, guarded: Guarded) -> None:
    """It took the detector 0.6 s to be sure; the voice began 0.2 s after the agent stopped."""
    await speaks(c, guarded)
    await silence_after(c, guarded, 0.8)
    c.vad.start_of_speech()
    await settle(20)
    guarded.now += 1.5
    await result(c)


async def an_echo_told_by_the_recogniser(c: Call, guarded: Guarded) -> None:
    await speaks(c, guarded)
    await voice_of_the_recogniser(c, True)
    await voice_of_the_recogniser(c, False)
    await silence_after(c, guarded, 4)
    await result(c)


async def a_user_who_repeats_it_soon(c: Call, guarded: Guarded) -> None:
    """The answer of a lesson: it begins 0.4 s after the agent stopped."""
    await speaks(c, guarded)
    await silence_after(c, guarded, 1.0)
    c.vad.start_of_speech()
    await settle(20)
    c.vad.end_of_speech()
    await result(c)


async def a_user_when_the_agent_speaks_again(c: Call, guarded: Guarded) -> None:
    """Said while the agent was silent; the text comes when it speaks of something else."""
    await speaks(c, guarded)
    await silence_after(c, guarded, 3)
    c.vad.start_of_speech()
    await settle(20)
    guarded.now += 0.5
    c.vad.end_of_speech()
    await settle()
    guarded.now += 1
    await speaks(c, guarded, "Please hold the line for a moment.")
    await result(c)


async def a_user_told_by_the_recogniser(c: Call, guarded: Guarded) -> None:
    await speaks(c, guarded)
    await silence_after(c, guarded, 3)
    await voice_of_the_recogniser(c, True)
    await voice_of_the_recogniser(c, False)
    guarded.now += 1
    await speaks(c, guarded, "Please hold the line for a moment.")
    await result(c)


Scene = Callable[[Call, Guarded], Awaitable[None]]
SCENES: list[tuple[Scene, str, list[str]]] = [
    (an_echo_that_pauses_the_agent, "vad", ["echo"]),
    (an_echo_whose_segment_is_over, "vad", ["echo"]),
    (an_echo_that_began_before_the_detector_said_so, "vad", ["echo"]),
    (an_echo_told_by_the_recogniser, "stt", ["echo"]),
    (a_user_when_the_agent_speaks_again, "vad", []),
    (a_user_told_by_the_recogniser, "stt", []),
]


async def kinds(scene: Scene, mode: str) -> list[str]:
    with Guarded() as guarded:
        async with call(voice=True, speed=8, turn_detection=mode) as c:
            await scene(c, guarded)
            return guarded.kinds


@pytest.mark.parametrize(("scene", "mode", "expected"), SCENES, ids=lambda v: _name(v))
async def test_what_counts_is_when_the_voice_was_heard(
    scene: Scene, mode: str, expected: list[str]
) -> None:
    assert await kinds(scene, mode) == expected


@pytest.mark.parametrize(("scene", "mode", "expected"), SCENES, ids=lambda v: _name(v))
async def test_judged_by_when_the_text_arrives_it_would_be_the_other_way_round(
    monkeypatch: pytest.MonkeyPatch, scene: Scene, mode: str, expected: list[str]
) -> None:
    monkeypatch.setattr(VoiceSegments, "span", lambda *_: None)
    assert await kinds(scene, mode) == ([] if expected else ["echo"])


async def test_a_user_who_repeats_after_the_agent_at_once_is_no_echo() -> None:
    assert await kinds(a_user_who_repeats_it_soon, "vad") == []


async def test_without_any_voice_event_clear_words_after_the_agent_are_no_echo() -> None:
    with Guarded() as guarded:
        async with call(voice=True, speed=8) as c:
            await speaks(c, guarded)
            await silence_after(c, guarded, 0.5)
            await result(c)
    assert guarded.kinds == []


async def test_without_any_voice_event_the_arrival_counts() -> None:
    with Guarded() as guarded:
        async with call(voice=True, speed=8) as c:
            await speaks(c, guarded)
            await result(c)
            await silence_after(c, guarded, 3)
            await result(c)
    assert guarded.kinds == ["echo"]


async def test_where_the_voice_detector_finds_the_turns_the_recogniser_is_not_asked() -> None:
    """Its start of speech may come as late as its text."""
    with Guarded() as guarded:
        async with call(voice=True, speed=8) as c:
            await speaks(c, guarded)
            c.vad.start_of_speech()
            await settle(20)
            c.vad.end_of_speech()
            await silence_after(c, guarded, 4)
            await voice_of_the_recogniser(c, True)
            await result(c)
    assert guarded.kinds == ["echo"]


@pytest.mark.skipif(
    "speech_start_time" not in stt.SpeechEvent.__dataclass_fields__, reason="not in this release"
)
async def test_a_recogniser_that_says_when_the_voice_began_is_believed() -> None:
    with Guarded() as guarded:
        async with call(voice=True, speed=8, turn_detection="stt") as c:
            await speaks(c, guarded)
            await silence_after(c, guarded, 3)
            await voice_of_the_recogniser(c, True, time.time() - 3.5)
            await result(c)
    assert guarded.kinds == ["echo"]


def test_the_detector_is_believed_before_the_recogniser() -> None:
    segments = VoiceSegments()
    assert segments.span(1) is None
    segments.recognised(1)
    assert segments.span(9) == (1, 9), "a recogniser may never say that it is over"
    segments.began(10)
    segments.recognised(12)
    segments.recognised_end(13)
    assert segments.span(14) == (10, 14)
    segments.ended(14, 4)
    segments.recognised(20)
    segments.ended(21, 1)
    assert segments.span(30) == (20, 21)
    segments.recognised(31)
    segments.recognised_end(32)
    segments.recognised_end(40)
    assert segments.span(50) == (31, 32)


def _name(value: object) -> str:
    return getattr(value, "__name__", str(value))
