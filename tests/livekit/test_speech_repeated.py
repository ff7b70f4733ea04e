"""Recognisers that report an utterance twice, make one up, or score on a scale of their own."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest
from livekit.agents import stt

from runguard_otel.testing.calls import Call, call
from runguard_otel.testing.models import ScriptedSTT, final, interim
from runguard_otel.testing.waiting import settle, until
from tests.kit.facts import since
from tests.kit.speech import Guarded

pytestmark = pytest.mark.livekit

START = stt.SpeechEvent(type=stt.SpeechEventType.START_OF_SPEECH)
END = stt.SpeechEvent(type=stt.SpeechEventType.END_OF_SPEECH)
TURNS = ("what are your opening hours", "and on sundays", "yes")
AS_RECOGNISER: dict[str, Any] = {"turn_detection": "stt"}


async def told(c: Call, *events: stt.SpeechEvent) -> None:
    """What a recogniser says of a voice that no detector heard."""
    assert isinstance(c.stt, ScriptedSTT)
    for event in events:
        c.stt.send(event)
        await settle(60)
    await settle()


def heard_for_a_minute(c: Call) -> None:
    """1.5 adds a result's times to when its input began, and waits for what is still to come.

    Later releases know that what a result tells of is over.
    """
    if since(1, 5) and not since(1, 6):
        recognition: Any = c.session._activity._audio_recognition  # type: ignore[union-attr]
        recognition._input_started_at = time.time() - 60


def timed(event: stt.SpeechEvent, start: float, end: float) -> stt.SpeechEvent:
    (best,) = event.alternatives
    return replace(event, alternatives=[replace(best, start_time=start, end_time=end)])


async def test_two_finals_of_each_commit_are_one_request_per_turn() -> None:
    """As livekit-plugins-elevenlabs 1.4.1 does: the second has words with times, and is 0.5 s late.

    Fails without the rule, and if the times of the first one, which are those of no word, are held
    against the second.
    """
    heard: dict[bool, list[str]] = {}
    for on in (False, True):
        with Guarded(on=on) as guarded:
            async with call() as c:
                heard_for_a_minute(c)
                for n, text in enumerate(TURNS):
                    at = 10.0 * n + 1
                    await c.hear(interim(text), timed(final(text, 0.0), at, at))
                    guarded.now += 0.5
                    await told(c, timed(final(text, 0.0), at + 0.1, at + 0.6))
                    guarded.now += 9.5
                heard[on] = list(c.asked)
        if on:
            assert guarded.kinds == ["duplicate_transcript"] * 3
            assert set(guarded.outcomes) == {"suppressed"}
            assert guarded.recorder.trips == []
    assert heard[True] == list(TURNS)
    assert len(heard[False]) > len(TURNS), "left alone, turns are answered twice"


@pytest.mark.parametrize("apart", [1.2, 2.0])
async def test_three_times_yes_are_three_turns_though_nothing_tells_of_a_voice(
    apart: float,
) -> None:
    """Fails if the time runs from a duplicate, or if there is none."""
    with Guarded() as guarded:
        async with call(**AS_RECOGNISER) as c:
            for _ in range(3):
                await told(c, final("yes", 0.9), END)
                guarded.now += apart
            assert c.asked == ["yes"] * 3
    assert guarded.kinds == []


async def test_the_same_word_in_a_new_voice_is_heard_however_soon() -> None:
    """Fails if voices are not asked: prompt answers to two questions would be one."""
    with Guarded() as guarded:
        async with call() as c:
            for _ in range(3):
                await c.hear(final("yes", 0.9))
                guarded.now += 0.4
            assert c.asked == ["yes"] * 3
    assert guarded.kinds == []


async def test_digits_that_a_recogniser_reports_one_by_one_are_all_heard() -> None:
    """One voice for a detector; its guesses, or its times, say that each digit is another one."""
    for signs in ("guesses", "times"):
        with Guarded() as guarded:
            async with call(**AS_RECOGNISER) as c:
                heard_for_a_minute(c)
                for n in range(4):
                    digit = timed(final("five", 0.9), n * 0.5, n * 0.5 + 0.4)
                    if signs == "guesses":
                        await told(c, interim("five"), final("five", 0.9), END)
                    else:
                        await told(c, digit, END)
                    guarded.now += 0.5
                assert c.asked == ["five"] * 4
        assert guarded.kinds == []


async def test_observe_mode_counts_duplicates_and_lets_them_pass() -> None:
    with Guarded(mode="observe") as guarded:
        async with call(**AS_RECOGNISER) as c:
            await told(c, START, final("yes please do", 0.9), END)
            await told(c, final("yes please do", 0.9), END)
            assert len(c.asked) == 2
    assert list(zip(guarded.kinds, guarded.outcomes, strict=True)) == [
        ("duplicate_transcript", "observed")
    ]


async def test_a_row_of_one_sentence_is_counted_and_never_held_back() -> None:
    """Fails if it is suppressed: a caller who repeats himself must be heard."""
    with Guarded() as guarded:
        async with call() as c:
            for _ in range(12):
                await c.hear(final("I want to speak to a human", 0.0))
                guarded.now += 6.0
            assert c.asked == ["I want to speak to a human"] * 12
    assert guarded.kinds == ["repeated_transcript"] * 8
    assert set(guarded.outcomes) == {"observed"}
    assert guarded.recorder.trips == []


CLEAR = [
    ("Good morning, I would like to place an order.", 0.36),
    ("Two boxes of the large ones.", 0.21),
    ("No, the large ones.", -0.9994),
    ("Processing?", 0.36569),
    ("Processing?", 0.36569),
    ("Thank you, that is all.", -2.6),
    ("Yes.", 0.05),
    ("Goodbye.", 0.4),
]


@pytest.mark.parametrize("provider", ["nvidia", "someone new"])
async def test_clear_speech_on_a_raw_scale_reaches_the_llm(provider: str) -> None:
    """What is known of a recogniser holds from its first result; else the first proof does.

    Fails if a value outside of 0..1 says nothing of those inside.
    """
    sent = CLEAR if provider == "nvidia" else CLEAR[2:]
    with Guarded() as guarded:
        async with call(recogniser=ScriptedSTT(provider, "asr")) as c:
            for text, score in sent:
                await c.hear(final(text, score))
                guarded.now += 4.0
            assert c.asked == [text for text, _ in sent]
    assert guarded.kinds == []
    results = guarded.recorder.count("runguard.stt.results", confidence="unusable")
    assert results == len(sent)


async def test_each_result_says_whether_its_confidence_could_be_judged() -> None:
    with Guarded() as guarded:
        async with call() as c:
            for confidence in (0.9, 0.0, 1.0):
                await c.hear(final(f"sentence with {confidence}", confidence))
    counted = guarded.recorder.count
    assert counted("runguard.stt.results", confidence="judged") == 2
    assert counted("runguard.stt.results", confidence="absent") == 1


async def test_an_echo_is_known_without_the_start_that_some_recognisers_tell_only_once() -> None:
    """NVIDIA: ``start, final, end, final, end``. Fails if the first voice stands for all others."""
    said = "we are open every day from nine to five"
    with Guarded() as guarded:
        async with call(voice=True, speed=8, **AS_RECOGNISER) as c:
            await told(c, START, final("when are you open", 0.0), END)
            await until(lambda: not c.speaking)
            guarded.now += 20.0
            c.session.say(said)
            await until(lambda: c.speaking)
            guarded.now += 1.0
            await told(c, final("open every day from nine", 0.0), END)
            assert guarded.kinds == ["echo"]
            await until(lambda: not c.speaking)
            guarded.now += 8.0
            await told(c, final("open every day from nine", 0.0), END)
            assert guarded.kinds == ["echo"], "the user repeats it, long after"
