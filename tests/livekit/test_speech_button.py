"""Push to talk: the application says when a turn is, and no noise presses a button."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from runguard_otel.testing.calls import Call, call
from runguard_otel.testing.models import final, interim, malformed_final
from tests.kit.speech import Guarded

pytestmark = pytest.mark.livekit


async def a_soft_spoken_user(c: Call) -> None:
    said = (
        "what is my balance",
        "and the last transfer",
        "send it again",
        "yes",
        "to my mail",
        "no",
    )
    for n, text in enumerate(said):
        await c.hear(final(text, 0.52 if n % 2 else 0.12))
        await c.commit()


async def several_unsure_parts(c: Call) -> None:
    await c.hear(final("please send it to", 0.2), final("twelve Harbour Street", 0.5))
    await c.hear(final("before Friday", 0.4))
    await c.commit()


@pytest.mark.parametrize("user", [a_soft_spoken_user, several_unsure_parts])
async def test_must_not_fire_a_user_with_a_button(user: Callable[[Call], Awaitable[None]]) -> None:
    heard: list[tuple[list[str], list[str]]] = []
    for on in (False, True):
        with Guarded(on=on, vad_misfire_say="Hello?", vad_misfire_close_after_trips=1) as guarded:
            async with call(turn_detection="manual", voice=True) as c:
                await user(c)
                heard.append((list(c.asked), list(c.transcribed)))
                assert c.vad.thresholds == (0.5, 0.35)
                assert c.listens()
                assert c.tts is not None
                assert "Hello?" not in c.tts.said
    assert heard[0] == heard[1]
    assert heard[0][0]
    assert set(guarded.outcomes) == {"observed"}
    assert {trip.action for trip in guarded.recorder.trips} <= {"none"}


async def test_a_guess_that_the_final_result_took_back_is_not_promoted_by_the_commit() -> None:
    for on, asked in ((False, ["a noise"]), (True, [])):
        with Guarded(on=on):
            async with call(turn_detection="manual") as c:
                await c.hear(interim("a noise"), final("", 0.0))
                await c.commit()
                assert c.asked == asked


async def test_a_guess_without_a_final_result_is_the_users() -> None:
    """He let the button go before the recogniser was done."""
    with Guarded():
        async with call(turn_detection="manual") as c:
            await c.hear(interim("what is my balance"))
            await c.commit()
            assert c.asked == ["what is my balance"]


async def test_a_button_without_a_word_asks_nobody() -> None:
    with Guarded():
        async with call(turn_detection="manual") as c:
            await c.commit()
            for _ in range(6):
                await c.hear(final("", 0.0))
                await c.commit()
            assert c.asked == []
            await c.hear(final("what is my balance", 0.2))
            await c.commit()
            assert c.asked == ["what is my balance"]


async def test_a_malformed_result_does_not_end_recognition() -> None:
    with Guarded() as guarded:
        async with call(turn_detection="manual") as c:
            await c.hear(malformed_final())
            await c.hear(final("what is my balance", 0.9))
            await c.commit()
            assert c.asked == ["what is my balance"]
    assert guarded.kinds == ["empty_transcript"]
