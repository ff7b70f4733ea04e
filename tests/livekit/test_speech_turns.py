"""A turn reaches the LLM whole or not at all: half of it is another one."""

from __future__ import annotations

from typing import Any

import pytest

from runguard_otel.adapters.livekit.facts.turn import pause_within
from runguard_otel.adapters.livekit.misfire.held_back import LATE_SECONDS, KeptBack
from runguard_otel.adapters.livekit.misfire.segments import VoiceSegments
from runguard_otel.testing.calls import Call, call
from runguard_otel.testing.models import ScriptedSTT, final
from runguard_otel.testing.waiting import settle, until
from tests.kit.speech import HAS_PREFLIGHT, Guarded

pytestmark = pytest.mark.livekit

LATE: dict[str, Any] = {"preemptive_generation": False} if HAS_PREFLIGHT else {}
"""The LLM is asked when the turn is over, not before."""
ONE_TURN: dict[str, list[tuple[str, float]]] = {
    "unsure at the end": [("please cancel", 0.93), ("not the order only the gift wrap", 0.27)],
    "unsure all along": [
        ("please send it to", 0.55),
        ("twelve Harbour Street", 0.52),
        ("before Friday", 0.25),
    ],
    "unsure for long": [(f"then take road number {n}", 0.45) for n in range(8)],
    "unsure at the beginning": [
        ("do not", 0.2),
        ("and I repeat not", 0.28),
        ("cancel the order", 0.93),
    ],
    "unsure on both sides": [("do not", 0.2), ("cancel", 0.9), ("the order", 0.1)],
    "hopeless, then unsure": [("do not", 0.2), ("cancel the order", 0.5)],
}


@pytest.mark.parametrize("said", ONE_TURN.values(), ids=ONE_TURN)
@pytest.mark.parametrize("preemptive", [True, False])
async def test_one_turn_with_unsure_parts_is_heard_as_without_us(
    said: list[tuple[str, float]], preemptive: bool
) -> None:
    heard: list[tuple[list[str], list[str]]] = []
    for on in (False, True):
        with Guarded(on=on) as guarded:
            async with call(**({} if preemptive else LATE)) as c:
                await c.hear(*(final(text, confidence) for text, confidence in said))
                # 1.0 tells the application of blank results as well.
                heard.append((list(c.asked), [text for text in c.transcribed if text]))
            assert guarded.recorder.trips == []
    assert heard[0] == heard[1]
    assert heard[0][0][-1] == " ".join(text for text, _ in said)


async def two_voices(c: Call, guarded: Guarded, pause: float) -> None:
    """Unsure words; silence; clear words."""
    await c.hear(final("do not", 0.2))
    guarded.now += 0.55 + pause  # the detector reports both ends where they were
    await c.hear(final("cancel the order", 0.93))


@pytest.mark.parametrize(
    ("pause", "heard"), [(0.09, "do not cancel the order"), (0.11, "cancel the order")]
)
async def test_a_pause_shorter_than_the_end_of_a_turn_belongs_to_it(
    pause: float, heard: str
) -> None:
    waits = {**LATE, "min_endpointing_delay": 0.1, "max_endpointing_delay": 0.1}
    with Guarded() as guarded:
        async with call(**waits) as c:
            await two_voices(c, guarded, pause)
            await until(lambda: c.asked)
            assert c.asked == [heard]


async def test_noise_of_another_voice_segment_is_not_put_before_a_sentence() -> None:
    with Guarded():
        async with call() as c:
            for _ in range(3):
                await c.hear(final("uh", 0.1))
            await c.hear(final("cancel the order", 0.93))
            assert c.asked == ["cancel the order"]


async def test_what_came_before_a_trip_is_not_put_before_a_sentence() -> None:
    with Guarded() as guarded:
        async with call() as c:
            noise = [final("uh", 0.1) for _ in range(5)]
            await c.hear(*noise, final("cancel the order", 0.93))
            assert c.asked == ["cancel the order"]
    assert len(guarded.recorder.trips) == 1


async def test_a_result_long_after_its_voice_brings_nothing_along() -> None:
    with Guarded() as guarded:
        async with call() as c:
            await c.hear(final("do not", 0.2))
            guarded.now += LATE_SECONDS + 1
            assert isinstance(c.stt, ScriptedSTT)
            c.stt.send(final("cancel the order", 0.93))
            await settle()
            assert c.asked == ["cancel the order"]


async def test_the_next_turn_is_judged_for_itself() -> None:
    with Guarded() as guarded:
        async with call(**LATE) as c:
            await c.hear(final("please cancel", 0.93), final("the gift wrap", 0.27))
            await c.hear(final("uh", 0.1))
            assert c.asked == ["please cancel the gift wrap"]
    assert guarded.outcomes == ["allowed", "suppressed"]


async def test_the_host_tells_how_long_a_pause_may_be() -> None:
    waits = {"min_endpointing_delay": 0.3, "max_endpointing_delay": 4.0}
    async with call(**waits) as c:
        recognition: Any = c.session._activity._audio_recognition  # type: ignore[union-attr]  # runs
        detector, recognition._turn_detector = recognition._turn_detector, object()
        assert pause_within(recognition) == 4.0
        recognition._turn_detector = None
        assert pause_within(recognition) == 0.3
        recognition._turn_detector = detector


def test_a_voice_continues_a_turn_while_it_lasts_and_within_the_pause() -> None:
    segments = VoiceSegments()
    assert not segments.continues(1, 9)
    segments.began(1)
    assert segments.continues(5, 0)
    segments.ended(6, 5)
    assert segments.continues(6.4, 0.5)
    assert not segments.continues(6.6, 0.5)
    assert not segments.continues(6, 0)


def test_what_is_kept_back_is_bounded() -> None:
    kept = KeptBack()
    for n in range(1000):
        kept.keep(n)
    assert kept.take() == list(range(984, 1000))
    assert kept.take() == []
