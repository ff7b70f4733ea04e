"""A misfire that was let through, but waits in an open turn, never reaches the LLM after a trip."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from livekit.agents import stt

from runguard_otel.adapters.livekit.misfire import session as speech_state
from runguard_otel.adapters.livekit.misfire.held_back import drop_misfires
from runguard_otel.testing.calls import Call, call
from runguard_otel.testing.models import ScriptedSTT, final
from runguard_otel.testing.waiting import settle
from tests.kit.speech import HAS_PREFLIGHT, Guarded

pytestmark = pytest.mark.livekit

GENUINE = "a table for two please"
UNSURE = "maybe so"
LATE: dict[str, Any] = {"preemptive_generation": False} if HAS_PREFLIGHT else {}
"""The LLM is asked when the turn is over, not before."""


async def one_segment(c: Call, *texts: str, confidence: float = 0.45) -> None:
    """A voice that does not end yet, with an unsure result and enough blanks for a trip."""
    assert isinstance(c.stt, ScriptedSTT)
    c.vad.start_of_speech()
    await settle(20)
    for text in texts:
        c.stt.send(final(text, 0.9 if text == GENUINE else confidence))
        await settle(20)
    for _ in range(4):
        c.stt.send(final("", 0.0))
        await settle(20)


async def ends(c: Call) -> None:
    c.vad.end_of_speech()
    await settle()


async def test_at_a_trip_a_pending_turn_of_misfires_is_dropped() -> None:
    with Guarded() as guarded:
        async with call(turn_detection="vad", **LATE) as c:
            streams = len(c.stt.streams)  # type: ignore[attr-defined]  # a ScriptedSTT
            await one_segment(c, UNSURE)
            assert guarded.recorder.trips
            assert guarded.outcomes[0] == "allowed"
            await ends(c)
            assert c.asked == []
            await c.hear(final(GENUINE))
            assert c.asked == [GENUINE]
            assert len(c.stt.streams) == streams  # type: ignore[attr-defined]  # the same


async def test_left_alone_it_would_reach_the_llm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speech_state, "drop_misfires", lambda *_: None)
    with Guarded():
        async with call(turn_detection="vad", **LATE) as c:
            await one_segment(c, UNSURE)
            await ends(c)
            assert c.asked == [UNSURE]


@pytest.mark.parametrize("texts", [(GENUINE, UNSURE), (UNSURE, GENUINE)])
async def test_a_pending_turn_that_holds_genuine_words_is_never_touched(
    texts: tuple[str, ...],
) -> None:
    with Guarded() as guarded:
        async with call(**LATE) as c:
            await one_segment(c, *texts)
            c.stt.send(final("", 0.0))  # type: ignore[attr-defined]  # a ScriptedSTT
            await settle(20)
            assert guarded.recorder.trips
            await ends(c)
            assert c.asked == [" ".join(texts)]


async def test_a_user_who_says_clearly_what_was_unsure_before_is_heard() -> None:
    with Guarded() as guarded:
        async with call(**LATE) as c:
            await c.hear(final(UNSURE, 0.45))
            c.vad.start_of_speech()
            await settle(20)
            c.stt.send(final(UNSURE, 0.9))  # type: ignore[attr-defined]  # a ScriptedSTT
            await settle(20)
            c.stt.send(final("", 0.0))  # type: ignore[attr-defined]  # the same
            await one_segment(c)
            assert guarded.recorder.trips
            await ends(c)
            assert c.asked == [UNSURE, UNSURE]


@pytest.mark.parametrize(
    ("passed", "pending", "left"),
    [
        (["uh", "maybe so"], "maybe so", ""),
        (["uh", "maybe so"], "uh maybe so", ""),
        (["uh", "maybe so"], "uh", "uh"),
        (["uh", "maybe so"], "yes maybe so", "yes maybe so"),
        (["uh", "maybe so"], "maybe so yes", "maybe so yes"),
        ([], "yes", "yes"),
    ],
)
def test_only_the_last_misfires_and_nothing_else_are_dropped(
    passed: list[str], pending: str, left: str
) -> None:
    """A commit takes the whole turn: what came before the last ones cannot be pending alone."""
    recognition = SimpleNamespace(_audio_transcript=pending)
    drop_misfires(SimpleNamespace(_audio_recognition=recognition), passed)
    assert recognition._audio_transcript == left


async def test_before_the_trip_the_one_unsure_result_reaches_the_llm() -> None:
    with Guarded() as guarded:
        async with call(**LATE) as c:
            await c.hear(final(UNSURE, 0.45))
            await one_segment(c)
            assert guarded.recorder.trips
            await ends(c)
            assert c.asked == [UNSURE]


async def test_observe_leaves_the_pending_turn_alone() -> None:
    with Guarded(mode="observe") as guarded:
        async with call(**LATE) as c:
            await one_segment(c, UNSURE)
            assert guarded.recorder.trips
            await ends(c)
            assert c.asked == [UNSURE]


@pytest.mark.skipif(not HAS_PREFLIGHT, reason="this release answers nothing preemptively")
async def test_a_preemptive_answer_to_what_is_dropped_is_cancelled() -> None:
    with Guarded() as guarded:
        async with call(voice=True) as c:
            activity: Any = c.session._activity
            c.vad.start_of_speech()
            await settle(20)
            c.stt.send(final(UNSURE, 0.45))  # type: ignore[attr-defined]  # a ScriptedSTT
            await settle(20)
            answer = activity._preemptive_generation
            assert c.asked == [UNSURE], "before the trip"
            assert answer is not None
            await one_segment(c)
            assert guarded.recorder.trips
            assert activity._preemptive_generation is None
            assert answer.speech_handle.done()
            await ends(c)
            roles = [getattr(item, "role", "") for item in c.session.history.items]
            assert "assistant" not in roles


class TestHeldByTheHost:
    """While the agent speaks, newer hosts hold results back and process them afterwards."""

    async def held(self, c: Call, *texts: str) -> None:
        recognition: Any = c.session._activity._audio_recognition  # type: ignore[union-attr]  # runs
        if not hasattr(recognition, "_transcript_gate_active"):
            pytest.skip("this release holds nothing back")
        recognition._transcript_gate_active = True
        start = stt.SpeechEvent(type=stt.SpeechEventType.START_OF_SPEECH)
        c.stt.send(start)  # type: ignore[attr-defined]  # a ScriptedSTT
        await one_segment(c, *texts)
        kinds = [event.type.value for event in recognition._transcript_buffer]
        assert kinds[0] == "start_of_speech", "only results are dropped"
        recognition._flush_held_transcripts()
        await ends(c)

    async def test_misfires_are_dropped(self) -> None:
        with Guarded() as guarded:
            async with call(**LATE) as c:
                await self.held(c, UNSURE)
                assert guarded.recorder.trips
                assert c.asked == []

    async def test_left_alone_they_would_reach_the_llm(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(speech_state, "drop_misfires", lambda *_: None)
        with Guarded():
            async with call(**LATE) as c:
                await self.held(c, UNSURE)
                assert c.asked == [UNSURE]

    @pytest.mark.parametrize("texts", [(GENUINE, UNSURE), (UNSURE, GENUINE)])
    async def test_what_holds_genuine_words_is_never_touched(self, texts: tuple[str, ...]) -> None:
        with Guarded() as guarded:
            async with call(**LATE) as c:
                await self.held(c, *texts)
                assert bool(guarded.recorder.trips) == (texts[-1] == UNSURE)
                assert c.asked == [" ".join(texts)]

    async def test_words_the_host_has_processed_before_count(self) -> None:
        with Guarded() as guarded:
            async with call(**LATE) as c:
                c.vad.start_of_speech()
                await settle(20)
                c.stt.send(final(GENUINE))  # type: ignore[attr-defined]  # a ScriptedSTT
                await settle(20)
                await self.held(c, UNSURE)
                assert guarded.recorder.trips
                assert c.asked == [f"{GENUINE} {UNSURE}"]
