"""AgentSession keeps one STT stream over all tracks by itself: what it opens is never a lease."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from livekit import rtc
from livekit.agents import Agent, stt

from runguard_otel.adapters.livekit.services import Services
from runguard_otel.adapters.livekit.subscription import hooks as subscription
from runguard_otel.adapters.livekit.subscription.handle import StreamHandle
from runguard_otel.adapters.livekit.usage import hooks as usage
from runguard_otel.adapters.patching import PatchSet
from runguard_otel.settings import Settings
from runguard_otel.testing.calls import Call
from runguard_otel.testing.ffi import StageServer
from runguard_otel.testing.models import ScriptedSTT, final
from tests.kit.recorder import MemoryRecorder

pytestmark = pytest.mark.livekit


class OwnNode(Agent):
    """An agent whose user opens the stream in an overridden node."""

    def __init__(self, model: stt.STT[Any]) -> None:
        super().__init__(instructions="Be brief.")
        self.model = model
        self.opened: list[Any] = []

    async def stt_node(self, audio: Any, model_settings: Any) -> AsyncIterator[stt.SpeechEvent]:
        async with self.model.stream() as stream:
            self.opened.append(stream)
            task = asyncio.create_task(self._forward(audio, stream))
            try:
                async for event in stream:
                    yield event
            finally:
                task.cancel()

    @staticmethod
    async def _forward(audio: Any, stream: stt.RecognizeStream) -> None:
        async for frame in audio:
            stream.push_frame(frame)


@pytest.mark.parametrize("own_node", [False, True], ids=["default node", "overridden node"])
async def test_must_not_fire_a_session_started_in_a_handler_has_its_own_real_stream(
    own_node: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One AgentSession per participant is LiveKit's documented multi-user transcriber."""
    given: list[StreamHandle] = []
    give = StreamHandle.__init__

    def remember(self: StreamHandle, *args: Any) -> None:
        given.append(self)
        give(self, *args)

    monkeypatch.setattr(StreamHandle, "__init__", remember)
    services = Services(Settings.load(), MemoryRecorder())
    patches = PatchSet([*usage.patches(services), *subscription.patches(services)])
    patches.install()
    calls: list[Call] = []
    starting: list[asyncio.Task[None]] = []
    with StageServer() as server:
        room = rtc.Room()

        @room.on("track_subscribed")
        def subscribed(*_: Any) -> None:
            model = ScriptedSTT()
            calls.append(Call(recogniser=model, agent=OwnNode(model) if own_node else None))
            starting.append(asyncio.create_task(calls[-1].start()))

        await room.connect("wss://stage", server.token("lobby", "agent"))
        for name in ("alice", "bob"):
            server.join("lobby", name)
            server.publish("lobby", name)
        await server.settle()
        await asyncio.gather(*starting)
        try:
            for call in calls:
                assert isinstance(call.stt, ScriptedSTT)
                assert len(call.stt.streams) == 1
                await call.hear(final("hello there"))
                assert call.transcribed == ["hello there"]
        finally:
            for call in calls:
                await call.session.aclose()
            await room.disconnect()
            patches.undo()
            services.close()
    assert given == []
    recorder = services.recorder
    assert isinstance(recorder, MemoryRecorder)
    assert recorder.count("runguard.stt.streams", provider="scripted", model="scripted-stt") == 0
