"""The four guards as published: in the entrypoint of a 0.12 agent, without ``instrument()``."""

from __future__ import annotations

import asyncio
import importlib
from dataclasses import dataclass, field
from typing import Any

import pytest
import redis.asyncio

from runguard_otel import (
    JobDispatchGuard,
    LoopDetectedError,
    RoomReconnectGuard,
    TrackSubscriptionGuard,
    VADMisfireGuard,
)
from runguard_otel.testing.jobs import job_info
from runguard_otel.testing.listening import ScriptedSTT, final
from runguard_otel.testing.speaking import ScriptedTTS
from runguard_otel.testing.voice_activity import ScriptedVAD
from tests.kit.process import Server
from tests.kit.v0_call import (
    CALLER,
    ROOM,
    Stage,
    job_context,
    settle,
    until,
)
from tests.kit.v0_models import HAS_V0, PipelineLLM

pytestmark = [
    pytest.mark.livekit,
    pytest.mark.skipif(not HAS_V0, reason="needs livekit-agents 0.12, see docs/livekit-0.12.md"),
]


def guard_of(loop: LoopDetectedError) -> str:
    assert loop.trip is not None
    return str(loop.trip.guard)


@dataclass
class Agent:
    """An application, and what came of its guards."""

    stage: Stage
    registry: Any
    stt: ScriptedSTT = field(default_factory=ScriptedSTT)
    loops: list[str] = field(default_factory=list)
    genuine: list[str] = field(default_factory=list)
    new_sessions: list[bool] = field(default_factory=list)
    running: bool = False
    over: asyncio.Event = field(default_factory=asyncio.Event)

    async def entrypoint(self, ctx: Any, worker: str) -> str:
        dispatch_guard = JobDispatchGuard(
            room_name=ctx.room.name, worker_id=worker, _registry=self.registry
        )
        if not await dispatch_guard.claim():
            return "already claimed"
        reconnect_guard = RoomReconnectGuard(room_name=ctx.room.name)
        vad_guard = VADMisfireGuard(consecutive_empty_limit=5, min_confidence=0.55)
        track_guard = TrackSubscriptionGuard(window_seconds=30)
        connecting: set[asyncio.Task[None]] = set()

        async def reconnect() -> None:
            try:
                reconnect_guard.check()
            except LoopDetectedError as loop:
                self.loops.append(guard_of(loop))
                return
            self.stage.leave(ROOM, CALLER)  # a Room cannot be connected twice with people in it
            ctx.room._remote_participants.clear()
            await ctx.room.connect(ctx._info.url, ctx._info.token)

        def on_disconnected(*_: object) -> None:
            connecting.add(asyncio.get_running_loop().create_task(reconnect()))

        def on_result(event: Any) -> None:
            best = event.alternatives[0]
            try:
                if vad_guard.on_stt_result(best.text, best.confidence):
                    self.genuine.append(best.text)
            except LoopDetectedError as loop:
                self.loops.append(guard_of(loop))

        def on_track(track: Any, publication: Any, participant: Any) -> None:
            try:
                self.new_sessions.append(track_guard.on_subscribe(participant.sid))
            except LoopDetectedError as loop:
                self.loops.append(guard_of(loop))

        ctx.room.on("disconnected", on_disconnected)
        ctx.room.on("track_subscribed", on_track)
        try:
            await ctx.connect()
            pipeline: Any = importlib.import_module("livekit.agents.pipeline")
            agent = pipeline.VoicePipelineAgent(
                vad=ScriptedVAD(), stt=self.stt, llm=PipelineLLM(), tts=ScriptedTTS()
            )
            agent.start(ctx.room, CALLER)
            agent._human_input.on("final_transcript", on_result)
            self.running = True
            await self.over.wait()
        finally:
            await dispatch_guard.release()
        await agent._human_input.aclose()
        return "served"


async def test_four_guards_in_a_0_12_entrypoint(redis_server: Server) -> None:
    client = redis.asyncio.from_url(f"redis://127.0.0.1:{redis_server.port}")
    stage = Stage()
    with stage:
        stage.join(ROOM, CALLER)
        ctx = job_context(job_info(stage, ROOM))
        app = Agent(stage, client)
        serving = asyncio.get_running_loop().create_task(app.entrypoint(ctx, "worker-1"))
        await until(lambda: app.running, "the agent runs")

        duplicate = Agent(stage, client)
        assert (
            await duplicate.entrypoint(job_context(job_info(stage, ROOM)), "worker-2")
            == "already claimed"
        )
        assert len(stage.connects) == 1, "the duplicate never connected"

        for _ in range(3):
            stage.unpublish(stage.publish(ROOM, CALLER))
            await stage.settle()
        assert app.new_sessions == [True, False]
        assert app.loops == ["track_subscribe"]

        stage.publish(ROOM, CALLER)
        await stage.settle()
        app.loops.clear()
        for text, confidence in (*[("", 0.0)] * 4, ("mm", 0.3), ("a table for two", 0.9)):
            app.stt.send(final(text, confidence))
            await settle()
        assert app.loops == ["vad_misfire"]
        assert app.genuine == ["a table for two"]

        app.loops.clear()
        for lap in range(4):
            stage.drop(ROOM)
            await settle(0.02)
            if lap < 2:
                stage.join(ROOM, CALLER)
                await stage.settle()
        assert len(stage.connects) == 3, "two reconnects; the third was not tried"
        assert app.loops == ["room_reconnect"]

        app.over.set()
        assert await serving == "served"
        mine = asyncio.current_task()
        for task in asyncio.all_tasks() - {mine}:
            task.cancel()
        await asyncio.sleep(0)
    await client.aclose()
