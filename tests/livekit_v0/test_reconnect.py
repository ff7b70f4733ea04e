"""Reconnect loops on 0.12: every lap opens a connection, a recogniser and says hello again."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
from livekit import rtc

from runguard_otel.testing.listening import ScriptedSTT
from runguard_otel.testing.speaking import ScriptedTTS
from runguard_otel.testing.voice_activity import ScriptedVAD
from tests.kit.v0_call import CALLER, ROOM, Guarded, Stage, settle, until
from tests.kit.v0_models import HAS_V0, PipelineLLM, ScriptedRealtime

pytestmark = [
    pytest.mark.livekit,
    pytest.mark.skipif(not HAS_V0, reason="needs livekit-agents 0.12, see docs/livekit-0.12.md"),
]

LAPS = 8


class Lap:
    """What an application's reconnect handler makes each time: a Room and an agent in it."""

    def __init__(self, stage: Stage, *, realtime: bool) -> None:
        self.stage = stage
        self.stt, self.tts = ScriptedSTT(), ScriptedTTS(seconds_per_character=0.001)
        self.llm, self.model = PipelineLLM(), ScriptedRealtime()
        self.realtime = realtime
        self.refused: list[Exception] = []

    def agent(self) -> Any:
        if self.realtime:
            multimodal = importlib.import_module("livekit.agents.multimodal")
            return multimodal.MultimodalAgent(model=self.model)
        pipeline = importlib.import_module("livekit.agents.pipeline")
        return pipeline.VoicePipelineAgent(
            vad=ScriptedVAD(), stt=self.stt, llm=self.llm, tts=self.tts
        )

    async def run(self) -> None:
        room = rtc.Room()
        try:
            await room.connect("wss://stage", self.stage.token(ROOM, "agent"))
        except rtc.ConnectError as refused:  # what an application of 0.12 writes
            self.refused.append(refused)
            return
        agent = self.agent()
        agent.start(room, CALLER)
        if not self.realtime:
            said = len(self.tts.said)
            await agent.say("Hello again!")
            await until(lambda: len(self.tts.said) > said, "the greeting is synthesised")
        track = self.stage.publish(ROOM, CALLER)
        await settle(0.02)
        self.stage.unpublish(track)
        self.stage.drop(ROOM, rtc.DisconnectReason.SIGNAL_CLOSE)
        await settle()


async def storm(*, realtime: bool) -> Lap:
    stage = Stage()
    with stage:
        stage.join(ROOM, CALLER)
        lap = Lap(stage, realtime=realtime)
        for _ in range(LAPS):
            await lap.run()
    return lap


async def test_stock_0_12_pays_for_every_lap() -> None:
    lap = await storm(realtime=False)
    assert (len(lap.stage.connects), len(lap.stt.streams), len(lap.tts.said)) == (LAPS,) * 3


async def test_enforced_the_loop_ends_at_the_third_reconnect_before_any_request() -> None:
    with Guarded() as guarded:
        lap = await storm(realtime=False)
        assert (len(lap.stage.connects), len(lap.tts.said)) == (3, 3)
        assert len(lap.stt.streams) == 1, "and even those three share their recogniser"
        assert len(lap.refused) == LAPS - 3
        (trip,) = [t for t in guarded.recorder.trips if t.guard == "room_reconnect"]
        assert (trip.guard, trip.count, trip.action) == ("room_reconnect", 3, "refuse_connect")
        assert guarded.recorder.count("runguard.room.disconnects", reason="signal_close") == 3


async def test_stock_0_12_opens_a_realtime_session_for_every_lap() -> None:
    lap = await storm(realtime=True)
    assert len(lap.model.sessions) == LAPS


async def test_enforced_the_realtime_agent_s_loop_ends_as_well() -> None:
    with Guarded():
        lap = await storm(realtime=True)
        assert len(lap.model.sessions) == 3
