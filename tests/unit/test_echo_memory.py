"""The agent's words are remembered from when it gets them until ten seconds after it said them."""

from __future__ import annotations

from weakref import ref

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runguard_otel.core.guards.echo import EchoMemory

pytestmark = pytest.mark.unit

SENTENCE = "your table for two is booked for eight"
HEARD = "table for two is booked"


def spoken(memory: EchoMemory, text: str, start: float, end: float) -> None:
    memory.push(text, text)
    memory.started(start)
    memory.stopped(end)


def test_an_echo_is_heard_while_the_agent_speaks_and_two_seconds_after() -> None:
    memory = EchoMemory()
    memory.push(SENTENCE, 1)
    assert not memory.is_echo(HEARD, 0), "not yet said"
    memory.started(5)
    assert memory.is_echo(HEARD, 6)
    memory.stopped(9)
    assert memory.is_echo(HEARD, 11)
    assert not memory.is_echo(HEARD, 11.1)


def test_text_that_waited_long_is_still_known_when_it_is_spoken() -> None:
    memory = EchoMemory()
    memory.push(SENTENCE, 1)
    memory.started(500)
    assert memory.is_echo(HEARD, 900), "a long speech"
    memory.stopped(901)
    memory.push("and now something else entirely", 2)
    memory.started(905)
    assert memory.is_echo(HEARD, 910.9)
    assert not memory.is_echo(HEARD, 911), "ten seconds after it was said"


def test_a_paused_speech_is_still_known_when_it_goes_on() -> None:
    memory = EchoMemory()
    memory.push(SENTENCE, 1)
    memory.started(0)
    memory.stopped(1)
    memory.started(3)
    assert memory.is_echo(HEARD, 60)


STEPS = st.one_of(
    st.tuples(st.just("say"), st.sampled_from([SENTENCE, " and then ", "another word of it"])),
    st.tuples(st.just("ask"), st.sampled_from([HEARD, "then another word", "who is there"])),
    st.tuples(st.sampled_from(["start", "stop", "next"]), st.just("")),
)


@given(st.lists(st.tuples(STEPS, st.floats(0, 8)), max_size=30))
def test_what_is_fed_is_what_is_pushed(steps: list[tuple[tuple[str, str], float]]) -> None:
    """Fails if the words of an answer are found too late, or in another order than they came."""
    pushed, fed = EchoMemory(max_words=40), EchoMemory(max_words=40)
    now, source, says = 0.0, 0, fed.feed(0)
    for (step, words), later in steps:
        now += later
        if step == "say":
            pushed.push(words, source)
            says(words)
        elif step == "ask":
            assert fed.is_echo(words, now) == pushed.is_echo(words, now)
        elif step == "next":
            source += 1
            says = fed.feed(source)
        else:
            for memory in (pushed, fed):
                (memory.started if step == "start" else memory.stopped)(now)


def test_a_voice_that_is_gone_leaves_its_words_and_nothing_else() -> None:
    class Voice:
        pass

    memory = EchoMemory()
    for _ in range(100):
        voice = Voice()
        memory.feed(ref(voice))(SENTENCE)
        del voice
    memory.started(0)
    assert memory.is_echo(HEARD, 1)
    assert memory.characters > 0
    assert memory._feeds == []


def test_pieces_of_words_are_put_together() -> None:
    memory = EchoMemory()
    for piece in ("your ta", "ble for", " two is boo", "ked"):
        memory.push(piece, 1)
    memory.started(0)
    assert memory.is_echo("table for two is booked", 1)


def test_pieces_of_two_texts_do_not_mix() -> None:
    memory = EchoMemory()
    for a, b in zip(["one ", "two ", "three"], ["red ", "green ", "blue"], strict=True):
        memory.push(a, 1)
        memory.push(b, 2)
    memory.started(0)
    assert memory.is_echo("one two three", 1)
    assert memory.is_echo("red green blue", 1)


@pytest.mark.parametrize("heard", ["", "yes", "for two", "is booked", "no make it nine please"])
def test_short_answers_and_other_words_are_no_echo(heard: str) -> None:
    memory = EchoMemory()
    memory.push(SENTENCE, 1)
    memory.started(0)
    assert not memory.is_echo(heard, 1)


def test_a_sentence_handed_on_by_an_adapter_is_kept_once() -> None:
    memory = EchoMemory()
    memory.push("Hello there. " + SENTENCE, 1)
    held = memory.characters
    memory.push_whole("Hello there.", 2)
    memory.push_whole(SENTENCE, 3)
    assert memory.characters == held
    memory.push_whole("Something new.", 4)
    assert memory.characters == held + len("Something new.")


def test_a_sentence_said_again_later_is_remembered_again() -> None:
    memory = EchoMemory()
    memory.push_whole(SENTENCE, 1)
    memory.started(0)
    memory.stopped(1)
    memory.push_whole(SENTENCE, 2)
    memory.started(2)
    assert memory.is_echo(HEARD, 60)


@given(
    st.lists(
        st.tuples(st.text(max_size=300), st.integers(0, 5), st.sampled_from("pwse")), max_size=60
    )
)
def test_memory_is_bounded_whatever_is_pushed(events: list[tuple[str, int, str]]) -> None:
    memory = EchoMemory(max_words=20)
    for now, (text, source, what) in enumerate(events):
        if what == "p":
            memory.push(text, source)
        elif what == "w":
            memory.push_whole(text, source)
        elif what == "s":
            memory.started(now)
        else:
            memory.stopped(now)
        memory.is_echo("one two three four", now)
        assert 0 <= memory.characters <= 2 * 20 * 8 + 300


def test_one_endless_text_keeps_its_end() -> None:
    memory = EchoMemory(max_words=20)
    for n in range(5000):
        memory.push(f"word{n} ", 1)
    memory.started(0)
    assert memory.is_echo("word4997 word4998 word4999", 1)
    assert not memory.is_echo("word1 word2 word3", 1)
    assert memory.characters <= 2 * 20 * 8


@pytest.mark.parametrize("arguments", [{"seconds": 0}, {"max_words": 2}])
def test_a_bad_argument_is_named(arguments: dict[str, float]) -> None:
    (name,) = arguments
    with pytest.raises(ValueError, match=name):
        EchoMemory(**arguments)  # type: ignore[arg-type]  # that is the test


def test_what_is_known_only_when_it_is_over_is_kept_from_then_on() -> None:
    memory = EchoMemory()
    memory.started(0)
    memory.stopped(5)
    memory.said(SENTENCE, 1, 5)
    assert memory.is_echo(HEARD, 7)
    memory.started(8)
    assert memory.is_echo(HEARD, 14.9)
    assert not memory.is_echo(HEARD, 15), "speaking again does not say it again"


def test_what_is_over_does_not_pass_for_what_waits_to_be_said() -> None:
    memory = EchoMemory()
    spoken(memory, SENTENCE, 0, 1)
    memory.said("and now something else entirely", 2, 1)
    memory.started(3)
    assert memory.is_echo(HEARD, 60), "the agent went on after a pause"


def test_what_a_synthesiser_was_given_is_not_kept_twice() -> None:
    memory = EchoMemory()
    spoken(memory, SENTENCE, 0, 1)
    memory.said(f" {SENTENCE} ", 2, 1)
    assert memory.characters == len(SENTENCE)


@pytest.mark.parametrize(
    ("began", "echo"),
    [
        (3.9, False),
        (4, True),
        (5, True),
        (8, True),
        (9.25, True),
        (9.4, False),
        (12.9, False),
        (13.1, True),
        (14, True),
        (16.25, True),
        (16.4, False),
    ],
)
def test_what_counts_is_when_the_voice_began_not_when_its_text_comes(
    began: float, echo: bool
) -> None:
    """The agent spoke from 5 to 9 and from 14 to 16, and is heard 0.3 s longer.

    A detector may have an echo begin up to a second before it: that of a noise it joins.
    """
    memory = EchoMemory()
    spoken(memory, SENTENCE, 5, 9)
    memory.started(14)
    memory.stopped(16)
    assert memory.is_echo(HEARD, 18, (began, 18)) is echo
    assert memory.is_echo(HEARD, 18, (began, 18), clear=True) is echo


def test_a_voice_that_was_over_when_the_agent_began_is_no_echo() -> None:
    memory = EchoMemory()
    memory.push(SENTENCE, 1)
    memory.started(5)
    assert not memory.is_echo(HEARD, 6, (4.5, 4.9))
    assert memory.is_echo(HEARD, 6, (4.5, 5.1))


def test_clear_words_of_a_voice_that_nobody_told_of_are_an_echo_only_while_the_agent_speaks() -> (
    None
):
    memory = EchoMemory()
    memory.push(SENTENCE, 1)
    memory.started(5)
    assert memory.is_echo(HEARD, 6, clear=True)
    memory.stopped(9)
    assert not memory.is_echo(HEARD, 9.1, clear=True)
    assert memory.is_echo(HEARD, 9.1)


def test_a_voice_that_goes_on_for_long_is_no_echo_of_words_long_over() -> None:
    """Noise can hold a voice segment open for minutes."""
    memory = EchoMemory()
    spoken(memory, SENTENCE, 5, 9)
    assert memory.is_echo(HEARD, 18.9, (6, 18.9))
    assert not memory.is_echo(HEARD, 19, (6, 19))


def test_of_an_agent_that_is_paused_again_and_again_the_last_periods_are_known() -> None:
    memory = EchoMemory()
    memory.push(SENTENCE, 1)
    for n in range(0, 1000, 10):
        memory.started(n)
        memory.stopped(n + 1)
    assert memory.audible(990 - 15 * 10, 0)
    assert not memory.audible(1, 0)
