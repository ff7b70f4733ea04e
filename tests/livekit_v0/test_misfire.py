"""VAD misfires on 0.12: what wakes the LLM, before and after."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from runguard_otel.demo.stage.listening import ScriptedBatchSTT, final, interim
from tests.kit.v0_call import Guarded, VoiceCall, settle, until, voice_call
from tests.kit.v0_models import HAS_V0

pytestmark = [
    pytest.mark.livekit,
    pytest.mark.skipif(not HAS_V0, reason="needs livekit-agents 0.12, see docs/livekit-0.12.md"),
]

GENUINE = "a table for two please"
SPEECH = "Your table for two is booked for eight on Friday, see you then."
ECHO = "table for two is booked"
SUPPRESSED = ("empty_transcript", "suppressed")


@pytest.fixture
def guarded() -> Iterator[Guarded]:
    with Guarded() as installed:
        yield installed


async def storm(call: VoiceCall, times: int = 5) -> None:
    for _ in range(times):
        await call.hear(final("", 0.0))
        await call.quiet()


async def say(call: VoiceCall, text: str = SPEECH) -> None:
    """The agent says ``text``; returns while it speaks."""
    await call.agent.say(text)
    await until(lambda: call.speaking, "the agent speaks")


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


async def test_guesses_interrupt_nobody_in_a_storm(guarded: Guarded) -> None:
    async with voice_call() as call:
        await storm(call)
        call.stt.send(interim("mm mm mm"))
        await settle()
        assert call.agent._transcribed_interim_text == ""


class TestThresholds:
    """Raised by a trip, given back by whatever ends the storm."""

    async def test_genuine_speech(self, guarded: Guarded) -> None:
        async with voice_call() as call:
            await storm(call)
            assert call.vad.thresholds == pytest.approx((0.7, 0.55))
            await call.hear(final(GENUINE))
            assert call.vad.thresholds == (0.5, 0.35)
            assert guarded.recorder.open_guards["vad_misfire"] == 0

    async def test_the_end_of_the_room(self, guarded: Guarded) -> None:
        async with voice_call() as call:
            await storm(call)
            await call.room.disconnect()
            assert call.vad.thresholds == (0.5, 0.35)
            assert guarded.recorder.open_guards["vad_misfire"] == 0

    async def test_us_leaving(self) -> None:
        with Guarded() as guarded:
            async with voice_call() as call:
                await storm(call)
                guarded.__exit__()
                assert call.vad.thresholds == (0.5, 0.35)


class TestEcho:
    """The agent hears itself."""

    async def test_stock_0_12_answers_itself(self) -> None:
        async with voice_call(pace=0.005) as call:
            for _ in range(3):
                await self.echo(call)
            assert call.asked == [ECHO] * 3

    async def test_enforced_it_answers_one_echo_and_no_more(self, guarded: Guarded) -> None:
        async with voice_call(pace=0.005) as call:
            for _ in range(3):
                await self.echo(call)
            assert call.asked == [ECHO]
        assert guarded.misfires == [
            ("echo", "allowed"),
            ("echo", "suppressed"),
            ("echo", "suppressed"),
        ]

    async def test_after_an_echo_storm_nothing_is_heard_while_the_agent_speaks(
        self, guarded: Guarded
    ) -> None:
        async with voice_call(pace=0.005) as call:
            await call.noise()
            assert call.stt.seconds == pytest.approx(0.2)
            for _ in range(5):
                await self.echo(call)
            assert [t.action for t in guarded.recorder.trips] == ["mute_while_speaking"]
            await say(call)
            await call.noise()
            assert call.stt.seconds == pytest.approx(0.2), "not a frame reached the recogniser"
            await call.quiet()
            await call.noise()
            assert call.stt.seconds == pytest.approx(0.4)

    async def echo(self, call: VoiceCall) -> None:
        await say(call)
        await call.hear(final(ECHO, 0.85))
        await call.quiet()


async def test_a_batch_recogniser_s_swallowed_results_are_counted_once(guarded: Guarded) -> None:
    batch: Any = ScriptedBatchSTT([final("", 0.0)])
    async with voice_call(stt=batch) as call:
        await call.hear()
        await call.quiet()
        assert len(batch.requests) == 1
        assert call.asked == []
    assert guarded.misfires == [SUPPRESSED]


async def test_the_sentence_is_said_once() -> None:
    with Guarded(vad_misfire_say="I can hardly hear you."):
        async with voice_call() as call:
            for _ in range(2):
                await storm(call)
                await call.quiet()
                await call.hear(final(GENUINE))
                await call.quiet()
            assert call.tts.said.count("I can hardly hear you.") == 1


class Job:
    """What we ask of a job."""

    def __init__(self) -> None:
        self.job = SimpleNamespace(id="AJ_1", agent_name="", room=SimpleNamespace(name="a room"))
        self.room = None
        self.reasons: list[str] = []

    def shutdown(self, reason: str) -> None:
        self.reasons.append(reason)

    def add_shutdown_callback(self, callback: Any) -> None: ...


async def test_closing_after_a_trip_closes_the_ears_and_after_the_last_words_the_job() -> None:
    host: Any = importlib.import_module("livekit.agents.job")
    job = Job()
    token = host._JobContextVar.set(job)
    try:
        with Guarded(vad_misfire_close_after_trips=1, vad_misfire_say="Good-bye then.") as guarded:
            async with voice_call(pace=0.02) as call:
                for _ in range(5):
                    await call.hear(final("", 0.0))
                await until(lambda: call.speaking, "the agent says the sentence")
                assert call.agent._human_input._closed
                assert job.reasons == []
                await until(lambda: bool(job.reasons), "the job ends")
                assert not call.speaking
            (trip,) = guarded.recorder.trips
    finally:
        host._JobContextVar.reset(token)
    assert (trip.action, trip.subject.job_id) == ("close_session", "AJ_1")
    assert job.reasons == ["runguard: VAD misfire storm"]


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
