"""The subscription guard installed, and the transcriber that users write."""

from __future__ import annotations

import asyncio
from typing import Any

from livekit import rtc
from livekit.agents import stt

from runguard_otel.adapters.livekit.services import Services
from runguard_otel.adapters.livekit.subscription import hooks as subscription
from runguard_otel.adapters.livekit.usage import hooks as usage
from runguard_otel.adapters.patching import PatchSet
from runguard_otel.settings import Settings
from runguard_otel.testing.listening import ScriptedSTT
from tests.kit.recorder import MemoryRecorder


class Guarded:
    """The guard installed, with what it recorded."""

    def __init__(self, tolerant: bool = False, **settings: Any) -> None:
        settings = {"track_subscribe_linger_seconds": 30, **settings}
        self.recorder = MemoryRecorder(tolerant=tolerant)
        self.services = Services(Settings.load(**settings), self.recorder)
        self.patches = PatchSet(
            [*usage.patches(self.services), *subscription.patches(self.services)]
        )

    def __enter__(self) -> Guarded:
        self.patches.install()
        return self

    def __exit__(self, *_: object) -> None:
        self.patches.undo()
        self.services.close()

    def outcomes(self) -> list[str]:
        return [str(e.outcome) for e in self.recorder.events if e.signature == "track_subscribe"]


def frame(rate: int = 16_000, seconds: float = 0.01) -> rtc.AudioFrame:
    return rtc.AudioFrame.create(rate, 1, int(rate * seconds))


class Transcriber:
    """What users write: a stream per track, forwarded by a task, never closed (by default)."""

    def __init__(
        self, room: rtc.Room, model: stt.STT[Any] | None = None, ending: str = "", **parameters: Any
    ) -> None:
        self.model = model or ScriptedSTT()
        self.ending = ending
        self.parameters = parameters
        self.streams: list[stt.RecognizeStream] = []
        self.heard: list[tuple[int, str]] = []
        self.ended: list[int] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._tracks = 0
        room.on("track_subscribed", self._subscribed)

    def _subscribed(self, track: rtc.RemoteTrack, *_: Any) -> None:
        self._tasks.append(asyncio.create_task(self._transcribe(track, self._tracks)))
        self._tracks += 1

    async def _transcribe(self, track: rtc.RemoteTrack, number: int) -> None:
        stream = self.model.stream(**self.parameters)
        self.streams.append(stream)
        self._tasks.append(asyncio.create_task(self._read(stream, number)))
        async for event in rtc.AudioStream(track, sample_rate=16_000):
            stream.push_frame(event.frame)
        if self.ending == "end_input":
            stream.end_input()
        elif self.ending == "aclose":
            await stream.aclose()

    async def _read(self, stream: stt.RecognizeStream, number: int) -> None:
        async for event in stream:
            self.heard.append((number, event.alternatives[0].text))
        self.ended.append(number)

    async def aclose(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for stream in getattr(self.model, "streams", []):
            await stream.aclose()
