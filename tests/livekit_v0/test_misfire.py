"""0.12 really does ask the LLM about an empty transcript: what is stopped, and what is not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from runguard_otel.testing.listening import ScriptedBatchSTT, final, interim
from tests.kit.v0_call import Guarded, VoiceCall, settle, until, voice_call
from tests.kit.v0_models import HAS_V0
from tests.kit.v0_storm import ECHO, GENUINE, SPEECH, SUPPRESSED, say, storm

pytestmark = [
    pytest.mark.livekit,
    pytest.mark.skipif(not HAS_V0, reason="needs livekit-agents 0.12, see docs/livekit-0.12.md"),
]


@pytest.fixture
def guarded() -> Iterator[Guarded]:
    with Guarded() as installed:
        yield installed


async def test_stock_0_12_asks_the_llm_about_every_empty_transcript() -> None:
    async with voice_call() as call:
        await storm(call)
        assert call.asked == ["<continue>"] * 5
        assert len(call.tts.said) == 5


async def test_enforced_no_empty_transcript_reaches_the_llm_and_speech_is_answered(
    guarded: Guarded,
) -> None:
    async with voice_call() as call:
        await storm(call)
        assert (call.asked, call.tts.said) == ([], [])
        await call.hear(final(GENUINE))
        await call.quiet()
        assert (call.asked, call.tts.said) == ([GENUINE], ["Of course."])
    assert guarded.misfires == [SUPPRESSED] * 5
    (trip,) = guarded.recorder.trips
    assert (trip.guard, trip.count, trip.action) == ("vad_misfire", 5, "suppress")


async def test_stock_0_12_asks_the_llm_about_noise_that_the_recogniser_ignored() -> None:
    async with voice_call() as call:
        await call.hear()
        await call.quiet()
        assert call.asked == ["<continue>"]


async def test_noise_the_recogniser_ignored_is_one_misfire_and_no_result(guarded: Guarded) -> None:
    async with voice_call() as call:
        for _ in range(5):
            await call.hear()
        assert call.asked == []
    assert guarded.misfires == [SUPPRESSED] * 5
    assert guarded.recorder.count("runguard.stt.results") == 0, "there was none"
    assert len(guarded.recorder.trips) == 1


async def test_an_empty_result_and_its_wordless_turn_are_one_misfire(guarded: Guarded) -> None:
    async with voice_call() as call:
        await call.hear(final("", 0.0))
        await call.hear()
    assert guarded.misfires == [SUPPRESSED] * 2
    assert guarded.recorder.count("runguard.stt.results", kind="empty") == 1


async def test_words_that_come_after_their_turn_was_vetoed_are_answered(guarded: Guarded) -> None:
    """A slow recogniser: the voice segment is long over when its text arrives."""
    async with voice_call() as call:
        await call.hear()
        assert call.asked == []
        call.stt.send(final(GENUINE))
        await call.quiet()
        assert call.asked == [GENUINE]
    assert guarded.recorder.trips == []


async def cut_off(call: VoiceCall) -> None:
    """The agent is in the middle of a sentence when a noise interrupts it."""
    await say(call)
    await settle(0.1)
    call.vad.start_of_speech()
    call.vad.still_speaking(0.6)
    await until(lambda: not call.speaking, "the noise cuts the agent off")
    call.vad.end_of_speech(0.6)
    await call.quiet()


async def test_an_agent_cut_off_by_noise_goes_on_once_between_two_answers(
    guarded: Guarded,
) -> None:
    async with voice_call(pace=0.03) as call:
        await cut_off(call)
        assert call.asked == ["<continue>"]
        await cut_off(call)
        assert call.asked == ["<continue>"]
        await call.hear(final(GENUINE))
        await call.quiet()
        await cut_off(call)
        assert call.asked == ["<continue>", GENUINE, "<continue>"]
    assert [kind for kind, _ in guarded.misfires] == ["empty_transcript"] * 3
    assert [outcome for _, outcome in guarded.misfires] == ["observed", "suppressed", "observed"]


async def test_observe_counts_the_same_and_changes_nothing() -> None:
    with Guarded(mode="observe") as guarded:
        async with voice_call() as call:
            await storm(call)
            assert call.asked == ["<continue>"] * 5
            assert call.vad.thresholds == (0.5, 0.35)
            await call.hear(final("uh", 0.1))
            await call.quiet()
            assert call.asked[5:] == ["uh"]
        assert guarded.misfires[:5] == [("empty_transcript", "observed")] * 5
        (trip,) = guarded.recorder.trips
        assert (trip.mode, trip.action) == ("observe", "none")


async def test_off_patches_nothing_of_it() -> None:
    with Guarded(vad_misfire_mode="off") as guarded:
        assert not [r.name for r in guarded.patches.reports if r.guard == "vad_misfire"]


async def test_a_hopeless_result_starts_no_preemptive_answer() -> None:
    async with voice_call(preemptive_synthesis=True) as call:
        await call.hear(final("uh", 0.1))
        assert call.asked == ["uh"], "stock"
    with Guarded():
        async with voice_call(preemptive_synthesis=True) as call:
            await call.hear(final("uh", 0.1))
            assert call.asked == []
            await call.hear(final(GENUINE))
            await call.quiet()
            assert call.asked == [GENUINE]


async def test_one_unsure_result_is_worth_a_turn(guarded: Guarded) -> None:
    async with voice_call() as call:
        await call.hear(final("is it you", 0.45))
        await call.quiet()
        assert call.asked == ["is it you"]
        await call.hear(final("is it", 0.45))
        await call.quiet()
        assert call.asked == ["is it you"]
    assert [outcome for _, outcome in guarded.misfires] == ["allowed", "suppressed"]


@pytest.mark.parametrize(
    "said",
    [
        [("please cancel", 0.93), ("not the order only the gift wrap", 0.27)],
        [("do not", 0.2), ("cancel the order", 0.93)],
        [("please send it to", 0.5), ("twelve Harbour Street", 0.5), ("before Friday", 0.2)],
    ],
)
async def test_a_turn_with_unsure_parts_reaches_the_llm_whole(
    guarded: Guarded, said: list[tuple[str, float]]
) -> None:
    async with voice_call() as call:
        await call.hear(*(final(text, confidence) for text, confidence in said))
        await call.quiet()
        assert call.asked == [" ".join(text for text, _ in said)]


async def test_unsure_words_of_a_turn_that_is_over_are_not_put_before_the_next(
    guarded: Guarded,
) -> None:
    async with voice_call() as call:
        await call.hear(final("uh", 0.1))
        await call.quiet()
        await call.hear(final(GENUINE))
        await call.quiet()
        assert call.asked == [GENUINE]


async def test_guesses_interrupt_nobody_in_a_storm(guarded: Guarded) -> None:
    async with voice_call() as call:
        await storm(call)
        call.stt.send(interim("mm mm mm"))
        await settle()
        assert call.agent._transcribed_interim_text == ""


async def test_a_batch_recogniser_s_swallowed_results_are_counted_once(guarded: Guarded) -> None:
    batch: Any = ScriptedBatchSTT([final("", 0.0)])
    async with voice_call(stt=batch) as call:
        await call.hear()
        await call.quiet()
        assert len(batch.requests) == 1
        assert call.asked == []
    assert guarded.misfires == [SUPPRESSED]


async def test_noise_while_the_agent_does_not_listen_is_no_misfire(guarded: Guarded) -> None:
    """0.12 ignores such a turn itself."""
    async with voice_call(pace=0.02) as call:
        await call.agent.say(SPEECH, allow_interruptions=False)
        await until(lambda: call.speaking, "the agent speaks")
        await call.hear()
        assert call.speaking
        await call.quiet()
    assert guarded.misfires == []


async def test_noise_wakes_no_preemptive_agent_and_is_no_misfire(guarded: Guarded) -> None:
    """With preemptive synthesis 0.12 answers results only."""
    async with voice_call(preemptive_synthesis=True) as call:
        await call.hear()
        await call.quiet()
        assert call.asked == []
    assert guarded.misfires == []


async def test_of_two_agents_in_one_process_each_has_its_own_words_and_its_own_row(
    guarded: Guarded,
) -> None:
    async with voice_call(pace=0.005) as one:
        other = VoiceCall(one.stage, one.room, pace=0.005)
        other.agent.start(one.room, "caller")
        await until(other.agent._track_published_fut.done, "the other's voice is published")
        await say(one)
        await say(other, "Something quite different is said by this one of the two.")
        await other.hear(final(ECHO, 0.85))
        await other.quiet()
        assert (other.asked, guarded.misfires) == ([ECHO], [])
        await one.hear(final(ECHO, 0.85))
        assert guarded.misfires == [("echo", "allowed")]
        await one.quiet()
        await storm(one, times=3)
        await storm(other, times=4)
        assert guarded.recorder.trips == []
        await other.agent._human_input.aclose()


async def test_two_calls_do_not_share_a_row(guarded: Guarded) -> None:
    async with voice_call() as one:
        await storm(one, times=4)
    async with voice_call() as other:
        await storm(other, times=4)
    assert guarded.recorder.trips == []
