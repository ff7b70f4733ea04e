"""Overruns: a caller who leaves, an agent that stays, and a recogniser whose provider hangs up.

Real: ``rtc.Room``, and LiveKit's recogniser stream with its retries. Scripted: the server and the
provider, which closes each connection after twelve seconds. A minute passes in a second, so the
guard's limits are shorter by as much.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final

from livekit import rtc
from livekit.agents import NOT_GIVEN, APIConnectionError, APIConnectOptions, stt

from runguard_otel.demo.usage import Used
from runguard_otel.demo.watch import guards_on
from runguard_otel.demo.wire import Report
from runguard_otel.testing.ffi import StageServer
from runguard_otel.testing.storms import simulate_storm

__all__ = ["Flaky", "play"]

ROOM: Final = "support-42"
CALLER: Final = "caller"
FASTER: Final = 60
"""So many seconds pass in one."""
CALL_MINUTES: Final = 1
ROOM_MINUTES: Final = 10
"""When the server closes the room at last."""
KEPT_SECONDS: Final = 12
LEFT_SECONDS: Final = 30
LOOK_SECONDS: Final = 0.1
RETRIES: Final = APIConnectOptions(max_retry=3, retry_interval=0.0, timeout=6 / FASTER)
"""An attempt that outlives the timeout makes LiveKit's retries start over: they never end."""


class Flaky(stt.STT[Any]):
    """A recogniser that is billed while its socket is open, and whose provider closes it."""

    def __init__(self) -> None:
        super().__init__(capabilities=stt.STTCapabilities(streaming=True, interim_results=False))
        self.connections = 0
        self.opened_at = 0.0
        self.closed_seconds = 0.0

    @property
    def open_seconds(self) -> float:
        """How long sockets were open so far, as the provider bills it."""
        now = time.monotonic() - self.opened_at if self.opened_at else 0.0
        return (self.closed_seconds + now) * FASTER

    def stream(self, *, language: Any = NOT_GIVEN, conn_options: Any = None) -> _FlakyStream:
        """Open a stream."""
        return _FlakyStream(stt=self, conn_options=RETRIES)

    async def _recognize_impl(self, buffer: Any, **_: Any) -> stt.SpeechEvent:
        raise NotImplementedError("this recogniser only streams")


class _FlakyStream(stt.RecognizeStream):
    async def _run(self) -> None:
        model: Any = self._stt
        model.connections += 1
        model.opened_at = time.monotonic()
        try:
            await asyncio.sleep(KEPT_SECONDS / FASTER)
        finally:
            model.closed_seconds += time.monotonic() - model.opened_at
            model.opened_at = 0.0
        raise APIConnectionError("the provider closed the connection")


async def play(report: Report, guards: bool) -> None:
    """Let the caller hang up, and wait for somebody to notice."""
    if guards:
        guards_on(
            report,
            session_overrun_mode="enforce",
            session_overrun_left_seconds=LEFT_SECONDS / FASTER,
        )
    with StageServer() as server:
        room, ear = rtc.Room(), Flaky()
        await room.connect("wss://stage", server.token(ROOM, "agent"))
        server.join(ROOM, CALLER)
        await server.settle()
        report.ready()
        began = time.monotonic()
        reading = asyncio.create_task(_read(ear.stream(), report))
        called = True
        while room.isconnected() and (minutes := _minutes(began)) < ROOM_MINUTES:
            report.used(_used(ear, minutes))
            if called and minutes >= CALL_MINUTES:
                called = False
                report.input("the caller hangs up; the agent does not")
                await simulate_storm("overrun", server, room=ROOM, identity=CALLER)
            await asyncio.sleep(LOOK_SECONDS)
        if room.isconnected():
            report.input(f"the server closes the room after {ROOM_MINUTES} minutes")
            await room.disconnect()
        else:
            report.note("the agent has left the room")
        report.done(_used(ear, _minutes(began)))
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


def _minutes(began: float) -> float:
    return (time.monotonic() - began) * FASTER / 60


def _used(ear: Flaky, minutes: float) -> Used:
    return Used(
        connections=1,
        further_minutes=int(minutes),
        stt_sessions=ear.connections,
        stt_seconds=round(ear.open_seconds),
    )


async def _read(stream: stt.RecognizeStream, report: Report) -> None:
    """What an application does with a recogniser: it waits for words."""
    try:
        async with stream:
            async for _ in stream:
                pass
    except APIConnectionError as error:
        report.note(f"the recogniser gives up: {error.message}")
