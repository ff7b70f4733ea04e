"""What tracks of one microphone do to a transcriber: flap, and end late."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from livekit import rtc
from livekit.agents import stt

from runguard_otel.testing.ffi import StageServer
from runguard_otel.testing.listening import ScriptedSTT, final
from tests.kit.tracks import Transcriber, frame

Source = rtc.TrackSource
SUBSCRIBED = "runguard.track.subscriptions"
LONG: dict[str, Any] = {"track_subscribe_grace_seconds": 5}
SHORT: dict[str, Any] = {"track_subscribe_grace_seconds": 0.05}


async def flap(server: StageServer, transcriber: Transcriber, times: int) -> None:
    """Publish and unpublish the microphone; each time some audio, and a final said about it."""
    for number in range(times):
        sid = server.publish("lobby", "alice")
        await server.settle()
        for _ in range(10):
            server.push_audio(sid, frame())
        await server.settle()
        model = transcriber.model
        assert isinstance(model, ScriptedSTT)
        model.send(final(f"sentence {number}"))
        await server.settle()
        if number < times - 1:
            server.unpublish(sid)
            await server.settle()


async def flap_opening(server: StageServer, room: rtc.Room, openers: list[Any]) -> list[Any]:
    """One republish per opener, which opens the stream in the handler; the streams."""
    opened: list[Any] = []
    waiting = iter(openers)
    room.on("track_subscribed", lambda *_: opened.append(next(waiting)()))
    for _ in openers:
        server.unpublish(server.publish("lobby", "alice"))
        await server.settle()
    return opened


class Tracks:
    """Tracks of one microphone; each handler opens one stream, as ``opens`` says."""

    def __init__(self, server: StageServer, room: rtc.Room, opens: Callable[[], Any]) -> None:
        self._server = server
        self.opened: list[Any] = []
        room.on("track_subscribed", lambda *_: self.opened.append(opens()))

    async def publish(self) -> str:
        sid = self._server.publish("lobby", "alice")
        await self._server.settle()
        return sid

    async def unpublish(self, sid: str) -> None:
        self._server.unpublish(sid)
        await self._server.settle()


async def until(reached: Callable[[], bool]) -> None:
    """Wait for a timer of the guard, which runs on the loop's clock."""
    for _ in range(1000):
        if reached():
            return
        await asyncio.sleep(0.005)
    raise TimeoutError("not reached within 5 s")


async def close(*streams: stt.RecognizeStream) -> None:
    for stream in streams:
        await stream.aclose()
