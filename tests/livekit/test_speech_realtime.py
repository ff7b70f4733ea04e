"""The misfire guard with realtime models that take turns by themselves."""

from __future__ import annotations

import pytest
from livekit.agents.llm import InputTranscriptionCompleted

from runguard_otel.testing.responses import Heard
from runguard_otel.testing.waiting import until
from tests.kit.realtime import realtime_call
from tests.kit.realtime_storm import NEVER, ORDERS, model, storm
from tests.kit.speech import Guarded

pytestmark = pytest.mark.livekit


@ORDERS
async def test_without_us_every_noise_is_answered_and_becomes_a_blank_turn(first: bool) -> None:
    with Guarded(on=False):
        async with realtime_call(model(transcript_first=first)) as c:
            await storm(c, 12)
            assert len(c.responses) == c.answers == 12
            assert c.turns == [""] * 12


@ORDERS
async def test_the_fifth_noise_in_a_row_closes_the_input_and_stops_its_answer(first: bool) -> None:
    with Guarded(vad_misfire_cooldown_seconds=NEVER) as guarded:
        async with realtime_call(model(transcript_first=first)) as c:
            await storm(c, 12)
            assert not c.listens()
            assert len(c.responses) == 5, "what the provider never heard is not billed"
            assert [r.cancelled for r in c.responses] == [False] * 4 + [True]
            assert c.answers == 4
            assert c.turns == [""] * 4
            assert c.model.spoken_seconds < 4.5 * c.model.answer_seconds
        assert c.listens(), "the session may start again, and is not deaf then"
    assert guarded.kinds == ["empty_transcript"] * 5
    assert guarded.outcomes == ["allowed"] * 4 + ["suppressed"]
    (trip,) = guarded.recorder.trips
    assert (trip.count, trip.signature) == (5, "vad_misfire:empty_transcript")
    assert guarded.recorder.count("runguard.stt.results", kind="empty", provider="scripted") == 5
    assert guarded.recorder.open_guards["vad_misfire"] == 0


async def test_an_answer_that_comes_after_the_trip_is_read_to_its_end_and_not_spoken() -> None:
    with Guarded(vad_misfire_cooldown_seconds=NEVER):
        async with realtime_call(model(transcript_first=True)) as c:
            await storm(c)
            late = c.responses[-1]
            assert late.cancelled
            await until(lambda: late.unread == 0)
            spoken = c.answers
            c.model.sessions[0]._respond(asked=False)  # was on its way when the input closed
            await c.quiet()
            assert c.responses[-1].cancelled
            await until(lambda: c.responses[-1].unread == 0)
            assert c.answers == spoken


@pytest.mark.skipif(
    "confidence" not in InputTranscriptionCompleted.__dataclass_fields__,
    reason="this release of livekit-agents reports no confidence of realtime transcripts",
)
async def test_unsure_transcripts_count_once_the_model_is_known_to_report_confidence() -> None:
    with Guarded(vad_misfire_cooldown_seconds=NEVER) as guarded:
        async with realtime_call(model()) as c:
            for _ in range(6):
                await c.hear(Heard("uh", 0.2))
                await c.quiet()
            assert not c.listens()
    assert guarded.kinds == ["low_confidence"] * 5


async def test_the_agents_own_voice_in_its_transcripts_is_an_echo() -> None:
    said = "we are open every day from nine to five"
    with Guarded(vad_misfire_cooldown_seconds=NEVER) as guarded:
        async with realtime_call(model(answer=said)) as c:
            await c.hear(Heard("when are you open"))
            await c.quiet()
            for _ in range(5):
                await c.hear(Heard("we are open every day from nine"))
                await c.quiet()
            assert not c.listens()
    assert guarded.kinds == ["echo"] * 5


async def test_a_late_transcript_of_an_echo_is_judged_by_when_the_voice_began() -> None:
    with Guarded() as guarded:
        async with realtime_call(model(answer="we are open every day from nine to five")) as c:
            await c.hear(Heard("when are you open"))
            await c.quiet()
            guarded.now += 1.5
            await c.hear(Heard(None))
            await c.quiet()
            guarded.now += 3
            c.model.sessions[0]._report(Heard("we are open every day from nine"))
            await c.quiet()
            guarded.now += 9
            await c.hear(Heard("we are open every day from nine"))
    assert guarded.kinds == ["echo"], "nine seconds later it is a guest who repeats it"


async def test_answers_nobody_is_known_to_have_asked_for_are_counted_and_left_alone() -> None:
    with Guarded() as guarded:
        async with realtime_call(model()) as c:
            for _ in range(7):
                await c.hear(Heard(None))
                await c.quiet()
            assert c.listens()
            assert c.answers == 7
    assert guarded.recorder.signatures() == [("vad_misfire:no_transcript", "observed")] * 6
    assert not guarded.recorder.trips


async def test_an_answer_after_its_transcript_is_explained() -> None:
    with Guarded() as guarded:
        async with realtime_call(model(transcript_first=True)) as c:
            for text, unasked in (("hello", 0), (None, 0), (None, 1), (None, 2)):
                await c.hear(Heard(text))
                await c.quiet()
                assert len(guarded.recorder.events) == unasked


async def test_guesses_of_the_model_are_not_judged() -> None:
    kind = InputTranscriptionCompleted
    with Guarded() as guarded:
        async with realtime_call(model()) as c:
            for _ in range(6):
                guess = kind(item_id="1", transcript="", is_final=False)
                c.model.sessions[0].emit("input_audio_transcription_completed", guess)
    assert not guarded.recorder.events


async def test_without_transcripts_an_answer_without_speech_is_counted() -> None:
    with Guarded() as guarded:
        async with realtime_call(model(transcribes=False)) as c:
            c.model.sessions[0]._respond(asked=False)  # nobody told of any speech so far
            await c.quiet()
            await c.hear()
            await c.quiet()
            await c.hear()
            await c.quiet()
            assert not guarded.recorder.events
            c.model.sessions[0]._respond(asked=False)
            await c.quiet()
            assert c.answers == 4
    assert guarded.recorder.signatures() == [("vad_misfire:no_transcript", "observed")]
