"""An echo is found whatever the recogniser made of it; the user's own words are not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runguard_otel.core.similarity import WordIndex, containment, normalise, tokens, words

pytestmark = pytest.mark.unit

SPEECH = (
    "Thanks for calling. Your table for two is booked for eight o'clock on Friday, and we will "
    "send you a message to confirm. Is there anything else I can do for you today?"
)
SMALL = st.lists(st.sampled_from("abcd"), max_size=12)


def longest_common_subsequence(a: list[str], b: list[str]) -> int:
    """The textbook table: slow, and plainly right."""
    table = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            table[i + 1][j + 1] = (
                table[i][j] + 1 if x == y else max(table[i][j + 1], table[i + 1][j])
            )
    return table[len(a)][len(b)]


@given(heard=SMALL, said=SMALL)
def test_where_no_stretch_limits_it_it_is_the_common_subsequence(
    heard: list[str], said: list[str]
) -> None:
    share = WordIndex(said).containment(heard)
    if not heard or not said:
        assert share == 0
    elif len(said) <= 2 * len(heard):
        assert share == longest_common_subsequence(heard, said) / len(heard)
    else:
        assert share <= longest_common_subsequence(heard, said) / len(heard)


@given(heard=SMALL, said=SMALL)
def test_a_stretch_never_claims_more_than_the_best_window_has(
    heard: list[str], said: list[str]
) -> None:
    stretch = 2 * len(heard)
    best = max(
        (
            longest_common_subsequence(heard, said[i : i + stretch])
            for i in range(max(1, len(said)))
        ),
        default=0,
    )
    share = WordIndex(said).containment(heard)
    assert share <= (best / len(heard) if heard else 0)


@given(said=st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=60), data=st.data())
def test_any_piece_of_the_speech_is_wholly_contained(said: list[str], data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(said) - 1))
    end = data.draw(st.integers(start + 1, len(said)))
    assert WordIndex(said).containment(said[start:end]) == 1


@given(said=SMALL, heard=SMALL, limit=st.floats(0, 1))
def test_the_short_cut_changes_no_verdict(said: list[str], heard: list[str], limit: float) -> None:
    index = WordIndex(said)
    quick, exact = index.containment(heard, limit), index.containment(heard)
    assert (quick >= limit) == (exact >= limit)


@pytest.mark.parametrize(
    "heard",
    [
        "your table for two is booked",
        "YOUR TABLE, for two: is booked!",
        "table for two booked for eight oclock on friday",
        "is there anything else I can do for you today",
    ],
)
def test_an_echo_is_contained(heard: str) -> None:
    assert containment(heard, SPEECH) >= 0.8


@pytest.mark.parametrize(
    "heard",
    [
        "no actually can you make it nine",
        "yes please send me a message on Friday and confirm it",
        "eight today for you to send",  # its words, from all over the place
    ],
)
def test_the_users_own_sentence_is_not(heard: str) -> None:
    assert containment(heard, SPEECH) < 0.8


@pytest.mark.parametrize(
    ("text", "expected", "count"),
    [
        ("Don't stop", ["dont", "stop"], 2),
        ("Café \uff21\uff22\uff23", ["cafe", "abc"], 2),
        ("Straße", ["strasse"], 1),
        ("हिन्दी भाषा", [normalise("हिन्दी"), normalise("भाषा")], 2),
        ("您的订单", ["您", "的", "订", "单"], 2),
        ("注文ABCです", ["注", "文", "abc", "て", "す"], 3),
        ("예약 확인", [normalise("예약"), normalise("확인")], 2),
        ("a I 7", ["a", "i", "7"], 3),
        ("... !?", [], 0),
        ("", [], 0),
    ],
)
def test_words_of_many_scripts(text: str, expected: list[str], count: float) -> None:
    assert tokens(text) == expected
    assert words(tokens(text)) == count


def test_an_echo_in_a_script_without_spaces_is_contained() -> None:
    assert containment("预订了两人的桌子", "好的 我已经为您预订了两人的桌子 周五晚上八点。") == 1


@given(st.text())
def test_normalising_twice_is_normalising_once_and_never_fails(text: str) -> None:
    assert tokens(" ".join(tokens(text))) == tokens(text)
