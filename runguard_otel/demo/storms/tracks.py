"""Track subscriptions: a phone on a bad network publishes its microphone again and again.

Real: ``rtc.Room``, ``rtc.AudioStream`` and the recogniser. Scripted: the server. The application is
the transcriber of many tutorials: one recogniser stream per ``track_subscribed``, never closed.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any, Final

from livekit import rtc
from livekit.agents import stt

from runguard_otel.demo.clips import Cue, Soundtrack
from runguard_otel.demo.machine import patient
from runguard_otel.demo.recogniser import Recogniser
from runguard_otel.demo.usage import Used
from runguard_otel.demo.watch import guards_on
from runguard_otel.demo.wire import Report
from runguard_otel.testing.ffi import StageServer
from runguard_otel.testing.storms import flaps

__all__ = ["FLAPS", "Transcriber", "play"]

ROOM: Final = "support-42"
CALLER: Final = "caller"
FLAPS: Final = 8
FRAMES_BETWEEN_REPORTS: Final = 50
SETTLE_SECONDS: Final = 6.0
SPEED: Final = 2.5
"""The caller's audio arrives so much faster than it was spoken, to save time."""


class Transcriber:
    """Prints what is said in the room.

    Args:
        ear: The recogniser.
        report: Hears what is done.
    """

    def __init__(self, ear: Recogniser, report: Report) -> None:
        self.heard: list[str] = []
        self._ear = ear
        self._report = report
        self._news = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    def subscribed(self, track: rtc.Track, *_: object) -> None:
        """The ``track_subscribed`` handler."""
        self._start(self._transcribe(track))

    async def _transcribe(self, track: rtc.Track) -> None:
        stream = self._ear.stream()
        self._report.note(f"{len(self._ear.streams)} recogniser streams opened")
        self._start(self._print(stream))
        async for event in rtc.AudioStream(track, sample_rate=16_000, num_channels=1):
            stream.push_frame(event.frame)

    async def _print(self, stream: stt.RecognizeStream) -> None:
        async for event in stream:
            if event.type is stt.SpeechEventType.FINAL_TRANSCRIPT and event.alternatives[0].text:
                self.heard.append(event.alternatives[0].text)
                self._news.set()
                self._report.note(f'heard {len(self.heard)}: "{event.alternatives[0].text}"')

    async def heard_all(self, sentences: int) -> None:
        """Wait for the last sentence to be decoded, but not for long."""

        async def all_heard() -> None:
            while len(self.heard) < sentences:
                self._news.clear()
                await self._news.wait()

        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(all_heard(), patient(SETTLE_SECONDS))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Stop."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def play(report: Report, guards: bool) -> None:
    """Publish and unpublish the caller's microphone, with a sentence each time."""
    if guards:
        guards_on(report)
    sentence = [f for _, f in Soundtrack([Cue(0.2, "guest_book", "")], seconds=3.5).frames()]
    ear = Recogniser()
    transcriber = Transcriber(ear, report)

    def used() -> Used:
        return Used(
            connections=1,
            stt_sessions=len(ear.streams),
            stt_seconds=round(ear.open_seconds, 1),
        )

    with StageServer() as server:
        room = rtc.Room()
        room.on("track_subscribed", transcriber.subscribed)
        await room.connect("wss://stage", server.token(ROOM, "transcriber"))
        server.join(ROOM, CALLER)
        report.ready()
        async for n, track in flaps(server, ROOM, CALLER, FLAPS):
            report.input(f"the caller's microphone is published, {n} of {FLAPS}")
            for at, frame in enumerate(sentence):
                if at % FRAMES_BETWEEN_REPORTS == 0:
                    report.used(used())
                server.push_audio(track, frame)
                await asyncio.sleep(frame.duration / SPEED)
        await transcriber.heard_all(FLAPS)
        report.served(len(transcriber.heard), of=FLAPS)
        report.done(used())
        await transcriber.close()
        await room.disconnect()
    await ear.aclose()
