"""What a storm on 0.12 makes us do: thresholds, muting, a sentence, closing."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from runguard_otel.testing.listening import final
from tests.kit.v0_call import Guarded, VoiceCall, until, voice_call
from tests.kit.v0_models import HAS_V0
from tests.kit.v0_storm import ECHO, GENUINE, say, storm

pytestmark = [
    pytest.mark.livekit,
    pytest.mark.skipif(not HAS_V0, reason="needs livekit-agents 0.12, see docs/livekit-0.12.md"),
]


@pytest.fixture
def guarded() -> Iterator[Guarded]:
    with Guarded() as installed:
        yield installed


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
