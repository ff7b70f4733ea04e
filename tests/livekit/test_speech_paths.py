"""Every path by which a misfire wakes the LLM: open in stock LiveKit, closed in enforce."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pytest

from runguard_otel.testing.calls import Call, call
from runguard_otel.testing.models import final, interim, malformed_final, preflight
from runguard_otel.testing.waiting import settle, until
from tests.kit.speech import HAS_PREFLIGHT, Guarded

pytestmark = pytest.mark.livekit

GENUINE = "a table for two please"


async def low_confidence(c: Call) -> None:
    for n in range(3):
        await c.hear(final(f"uh{n}", 0.05))


async def blank_words(c: Call) -> None:
    await c.hear(final("  "))


async def preflight_then_nothing(c: Call) -> None:
    for _ in range(3):  # as many as LiveKit answers preemptively in one turn
        await c.hear(preflight("hm"), final("", 0.0))


async def commit_after_nothing(c: Call) -> None:
    await c.hear(final("", 0.0))
    await c.commit()


async def commit_without_any_result(c: Call) -> None:
    await c.commit()


async def commit_promotes_a_guess(c: Call) -> None:
    await c.hear(interim("noise"), final("", 0.0))
    await c.commit()


async def malformed(c: Call) -> None:
    await c.hear(malformed_final())


async def plain_silence(c: Call) -> None:
    for _ in range(5):
        await c.hear(final("", 0.0))


async def storm_then_guesses(c: Call) -> None:
    for _ in range(5):
        await c.hear(final("", 0.0))
    await c.hear(preflight("hm"), interim("hm hm"))


@dataclass(frozen=True)
class Row:
    storm: Callable[[Call], Awaitable[None]]
    mode: str
    stock: list[str]
    enforced: list[str]


ROWS = [
    Row(low_confidence, "vad", ["uh0", "uh1", "uh2"], []),
    Row(blank_words, "vad", [], []),
    Row(blank_words, "manual", [], []),
    Row(commit_after_nothing, "manual", [""], []),
    Row(commit_without_any_result, "manual", [""], []),
    Row(commit_promotes_a_guess, "manual", ["noise"], []),
    Row(commit_promotes_a_guess, "vad", ["noise"], []),
    Row(plain_silence, "vad", [], []),
]
if HAS_PREFLIGHT:
    # The first preemptive answer starts before the final result can be known to be empty.
    ROWS.append(Row(preflight_then_nothing, "vad", ["hm"] * 3, ["hm"]))
    ROWS.append(Row(storm_then_guesses, "vad", ["hm"], []))
NAMES = [f"{row.storm.__name__}-{row.mode}" for row in ROWS]


@pytest.mark.parametrize("row", ROWS, ids=NAMES)
async def test_stock_livekit_asks_the_llm(row: Row) -> None:
    """The reason for each row; if LiveKit closes the hole itself, this says so."""
    async with call(turn_detection=row.mode) as c:
        await row.storm(c)
        assert c.asked == row.stock


@pytest.mark.parametrize("row", ROWS, ids=NAMES)
async def test_enforce_asks_nothing_and_answers_the_next_genuine_sentence(row: Row) -> None:
    with Guarded() as guarded:
        async with call(turn_detection=row.mode) as c:
            await row.storm(c)
            assert c.asked == row.enforced
            await c.hear(final(GENUINE))
            if row.mode == "manual":
                await c.commit()
            assert c.asked == [*row.enforced, GENUINE]
    assert not guarded.recorder.errors
    assert guarded.recorder.open_guards["vad_misfire"] == 0


@pytest.mark.parametrize("row", ROWS, ids=NAMES)
async def test_observe_counts_the_same_and_leaves_the_host_as_it_is(row: Row) -> None:
    with Guarded() as enforced:
        async with call(turn_detection=row.mode) as c:
            await row.storm(c)
    async with call(turn_detection=row.mode) as stock:
        await row.storm(stock)
        expected = (list(stock.asked), list(stock.transcribed))
    with Guarded(mode="observe") as observed:
        async with call(turn_detection=row.mode) as c:
            await row.storm(c)
            assert (c.asked, c.transcribed) == expected
    assert observed.kinds == enforced.kinds
    assert set(observed.outcomes) <= {"observed"}
    assert [t.signature for t in observed.recorder.trips] == [
        t.signature for t in enforced.recorder.trips
    ]
    assert {t.action for t in observed.recorder.trips} <= {"none"}


async def test_stock_livekit_goes_deaf_after_a_malformed_final() -> None:
    async with call() as c:
        await malformed(c)
        await c.hear(final(GENUINE))
        assert c.asked == []


async def test_enforce_survives_a_malformed_final() -> None:
    with Guarded() as guarded:
        async with call() as c:
            await malformed(c)
            await c.hear(final(GENUINE))
            assert c.asked == [GENUINE]
    assert guarded.kinds == ["empty_transcript"]
    assert guarded.outcomes == ["suppressed"]


async def test_off_patches_nothing() -> None:
    with Guarded(vad_misfire_mode="off") as guarded:
        assert guarded.patches.reports == []


async def test_a_suppressed_result_does_not_make_a_commit_wait() -> None:
    """It is blanked, not dropped: the host's own bookkeeping sees a final result."""
    with Guarded():
        async with call(turn_detection="vad") as c:
            await c.hear(final("uh", 0.05))
            recognition = c.session._activity._audio_recognition  # type: ignore[union-attr]  # runs
            received = getattr(recognition, "_final_transcript_received", None)  # since 1.2
            assert received is None or received.is_set()


@pytest.mark.skipif(not HAS_PREFLIGHT, reason="this release answers nothing preemptively")
async def test_a_suppressed_result_keeps_the_answer_to_what_was_said_before() -> None:
    """Noise at the end of a genuine turn must not cost the preemptive answer its head start."""
    with Guarded() as guarded:
        async with call(min_endpointing_delay=0.15, max_endpointing_delay=0.15) as c:
            c.vad.start_of_speech()
            await settle(20)
            c.stt.send(final(GENUINE))  # type: ignore[attr-defined]  # a ScriptedSTT
            await settle(60)
            assert c.asked == [GENUINE], "answered preemptively"
            c.stt.send(final("", 0.0))  # type: ignore[attr-defined]  # a ScriptedSTT
            await settle(60)
            c.vad.end_of_speech()
            handles: list[object] = []
            c.session.on("conversation_item_added", handles.append)
            await until(lambda: len(handles) >= 2)
            assert c.asked == [GENUINE], "and not asked again"
    assert guarded.kinds == ["empty_transcript"]
