"""Audio and connections: each is billed once, by what was sent or opened."""

from __future__ import annotations

from contextlib import aclosing
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from livekit import rtc
from livekit.agents import Agent, stt
from livekit.agents.metrics import LLMMetrics

from runguard_otel.testing.ffi import StageServer
from runguard_otel.testing.models import (
    ScriptedAudioInput,
    ScriptedBatchSTT,
    ScriptedLLM,
    ScriptedSTT,
    ScriptedVAD,
    final,
)
from tests.kit.usage_desk import (
    IN,
    MINUTE,
    MULTI,
    OUT,
    SECOND,
    Desk,
    session_of,
    until,
)

pytest_plugins = ["tests.kit.usage_fixtures"]
pytestmark = pytest.mark.livekit


async def test_batch_recognition_costs_the_seconds_it_was_sent(desk: Desk) -> None:
    model, voice_detector = ScriptedLLM("One two three."), ScriptedVAD()
    ears = ScriptedBatchSTT([final("hello"), final("", 0.0)])
    session = session_of(
        model, vad=voice_detector, stt=stt.StreamAdapter(stt=ears, vad=voice_detector)
    )
    session.input.audio = ScriptedAudioInput()
    async with aclosing(session):
        await session.start(Agent(instructions="be brief"))
        await until(lambda: len(voice_detector.streams) == 2)
        for n in (1, 2):
            voice_detector.start_of_speech()
            voice_detector.end_of_speech(0.6)
            await until(lambda: len(ears.requests) == n)  # noqa: B023 - awaited in this round
        expected = Decimal(str(round(ears.seconds, 6))) * SECOND
        await until(lambda: desk.meter.session_cost().stt == expected)
    assert len(ears.requests) == 2, "the second heard nothing, and is billed all the same"


def heard_by(ears: ScriptedSTT) -> Decimal:
    return Decimal(str(round(ears.seconds, 6)))


@pytest.mark.parametrize("behind_adapter", [False, True])
@pytest.mark.parametrize(("language", "price"), [("en", SECOND), ("multi", MULTI)])
async def test_a_stream_is_billed_by_the_audio_pushed_and_not_again_by_its_report(
    desk: Desk, behind_adapter: bool, language: str, price: Decimal
) -> None:
    ears, voice_detector = ScriptedSTT(), ScriptedVAD()
    vars(ears)["_opts"] = SimpleNamespace(
        language=language
    )  # as Deepgram's and Inference's keep it
    session = session_of(
        ScriptedLLM(),
        vad=voice_detector,
        stt=stt.FallbackAdapter([ears]) if behind_adapter else ears,
    )
    microphone = ScriptedAudioInput()
    session.input.audio = microphone
    async with aclosing(session):
        await session.start(Agent(instructions="be brief"))
        await until(lambda: bool(ears.streams))
        microphone.push_silence(3.0)
        await until(lambda: round(ears.seconds, 6) == 3)
        heard = stt.RecognitionUsage(audio_duration=3.0)
        kind = stt.SpeechEventType.RECOGNITION_USAGE
        ears.send(stt.SpeechEvent(type=kind, request_id="x", recognition_usage=heard))
        await until(lambda: desk.reports() == 1)
    # Closing, the session pushes some silence to get the last words out: billed like the rest.
    await until(lambda: round(desk.meter.session_cost().stt, 6) == heard_by(ears) * price)
    assert desk.reports() == 1, "the report arrived, and was not billed again"
    assert heard_by(ears) >= 3
    assert round(desk.meter.session_cost().stt, 6) == heard_by(ears) * price
    assert not desk.meter.session_cost().unpriced


async def test_the_same_metrics_object_counts_once_however_often_it_arrives(desk: Desk) -> None:
    model = ScriptedLLM()
    async with aclosing(session_of(model)) as session:
        await session.start(Agent(instructions="be brief"))
        metrics: Any = LLMMetrics(
            label=model.label,
            request_id="1",
            timestamp=0,
            duration=1,
            ttft=0,
            cancelled=False,
            completion_tokens=10,
            prompt_tokens=100,
            prompt_cached_tokens=0,
            total_tokens=110,
            tokens_per_second=1,
            metadata={"model_name": "scripted-llm", "model_provider": "scripted"},
        )
        activity: Any = session._activity
        activity._on_metrics_collected(metrics)
        activity._on_metrics_collected(metrics)
        assert desk.meter.session_cost().llm == 100 * IN + 10 * OUT
        activity._on_metrics_collected(metrics.model_copy())
        assert desk.meter.session_cost().llm == 2 * (100 * IN + 10 * OUT)


async def test_each_connection_of_a_room_is_a_started_minute(desk: Desk) -> None:
    with StageServer() as server:
        for leave in ("left", "removed", "stays"):
            room = rtc.Room()
            await room.connect("wss://stage", server.token("lobby", "agent"))
            if leave == "left":
                await room.disconnect()
            elif leave == "removed":
                server.drop("lobby")
                await server.settle()
                assert not desk.meter._connections
        assert desk.meter.session_cost().transport == 3 * MINUTE
        await room.disconnect()
        await room.disconnect()
    assert desk.meter.session_cost().transport == 3 * MINUTE
    assert not desk.meter._connections, "a connection that has ended is billed no longer"


async def test_a_connect_that_fails_is_no_connection(desk: Desk) -> None:
    with StageServer() as server:
        server.refuse_connects("no such project")
        with pytest.raises(rtc.ConnectError):
            await rtc.Room().connect("wss://stage", server.token("lobby", "agent"))
    assert desk.meter.session_cost().transport == 0
