"""The same words again: when that is one utterance reported twice, and when a caller's own."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from runguard_otel.core.guards.repetition import Heard, Repetition

pytestmark = pytest.mark.unit

HELLO = "Hello, is anybody there?"


class Results:
    """Feeds results to a :class:`Repetition` as a session would; ``True`` for a duplicate."""

    def __init__(self, seconds: float = 1.0) -> None:
        self.repetition = Repetition(seconds)
        self.now = 100.0

    def final(self, said: Heard | str, after: float = 0.6) -> bool:
        self.now += after
        heard = Heard(said) if isinstance(said, str) else said
        duplicate = self.repetition.is_duplicate(heard, self.now)
        if not duplicate:
            self.repetition.delivered(heard, self.now)
        return duplicate


@pytest.mark.parametrize("again", [HELLO, "hello is anybody there", "HELLO... Is Anybody There!"])
def test_the_same_words_within_a_second_are_one_utterance(again: str) -> None:
    """Fails if texts are compared as they are: case and punctuation differ between two finals."""
    results = Results()
    results.repetition.voice(results.now, detected=True)
    assert [results.final(HELLO), results.final(again)] == [False, True]


def test_a_third_one_is_measured_from_the_one_that_was_delivered() -> None:
    """Fails if a duplicate starts the second anew: whoever says yes once a second is heard."""
    results = Results()
    assert [results.final("yes") for _ in range(4)] == [False, True, False, True]


@pytest.mark.parametrize("seconds", [1.01, 1.2, 5.0])
def test_later_than_that_it_is_said_again(seconds: float) -> None:
    results = Results()
    assert [results.final("yes", seconds) for _ in range(3)] == [False] * 3


@pytest.mark.parametrize("text", ["yes", HELLO])
@pytest.mark.parametrize("by", ["detector", "recogniser", "guess"])
def test_a_new_voice_between_is_a_new_utterance(by: str, text: str) -> None:
    """Fails for each kind of voice that is not asked."""
    results = Results()
    results.final(text)
    if by == "guess":
        results.repetition.guessed(results.now)
    else:
        results.repetition.voice(results.now, detected=by == "detector")
    assert not results.final(text, 0.2)
    assert results.final(text, 0.2), "and that voice is accounted for"


def test_two_digits_said_before_the_first_is_reported_are_two() -> None:
    """Fails if only what began between the two results counts: a late result loses a digit."""
    results = Results()
    results.repetition.voice(100.0, detected=True)
    results.repetition.voice(100.9, detected=True)
    assert [results.final("five", 1.5), results.final("five", 0.5)] == [False, False]
    assert results.final("five", 0.3)


def test_a_sentence_in_two_breaths_reported_twice_is_one() -> None:
    results = Results()
    results.repetition.voice(100.0, detected=True)
    results.repetition.voice(100.9, detected=True)
    assert [results.final(HELLO, 1.5), results.final(HELLO, 0.5)] == [False, True]


def test_a_noise_long_ago_is_no_voice_to_account_for() -> None:
    results = Results()
    for _ in range(20):
        results.repetition.voice(results.now, detected=True)
    assert [results.final("yes", 30.0), results.final("yes", 0.5)] == [False, True]


@pytest.mark.parametrize(
    ("first", "second", "duplicate"),
    [
        (("A", 0, 0), ("B", 0, 0), False),
        (("A", 0, 0), (None, 0, 0), False),
        ((None, 0, 0), ("A", 0, 0), True),
        (("A", 0, 0), ("A", 0, 0), True),
        ((None, 1.0, 1.4), (None, 1.5, 1.9), False),
        ((None, 1.0, 1.4), (None, 1.0, 1.4), True),
        ((None, 9.0, 9.0), (None, 9.2, 9.6), True),
        ((None, 9.2, 9.6), (None, 9.0, 9.0), True),
    ],
    ids=[
        "two speakers",
        "one speaker, then an unknown one",
        "who it was comes later",
        "one speaker",
        "another piece of the audio",
        "the same piece",
        "a time that is none, then the real one",
        "the real time, then none",
    ],
)
def test_what_tells_two_results_apart(
    first: tuple[str | None, float, float],
    second: tuple[str | None, float, float],
    duplicate: bool,
) -> None:
    results = Results()
    assert not results.final(Heard("seven", *first))
    assert results.final(Heard("seven", *second), 0.3) is duplicate


def test_other_words_between_make_it_another_utterance() -> None:
    results = Results()
    assert [results.final(t, 0.2) for t in ("no", "yes", "no")] == [False] * 3


@pytest.mark.parametrize("text", ["", "  ", "?!", "..."])
def test_a_result_without_words_is_no_duplicate(text: str) -> None:
    results = Results()
    assert not any(results.final(text, 0.1) for _ in range(3))


def test_zero_seconds_are_never() -> None:
    results = Results(0.0)
    assert not any(results.final("yes", 0.01) for _ in range(3))


def rows(texts: Sequence[str]) -> list[bool]:
    repetition = Repetition()
    return [repetition.repeated(text) for text in texts]


def test_the_fifth_time_and_each_after_it_is_a_row() -> None:
    assert rows(["Thanks for watching!"] * 7) == [False] * 4 + [True] * 3


def test_another_sentence_ends_the_row() -> None:
    said = ["thanks for watching"] * 4 + ["what"] + ["thanks for watching"] * 4
    assert not any(rows(said))


def test_two_words_are_no_sentence() -> None:
    assert not any(rows(["thank you"] * 12))
    assert rows(["ご視聴ありがとう"] * 5)[-1], (
        "and characters of a script without spaces make words"
    )
