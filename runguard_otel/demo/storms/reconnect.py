"""Room reconnects: a network that drops the agent every half second, and an agent that insists.

Real: every ``rtc.Room`` and all of its code. Scripted: the native layer below it and the server.
The application is the usual one: it joins again in its ``disconnected`` handler, with a greeting.
"""

from __future__ import annotations

import asyncio
from typing import Final

from livekit import rtc

from runguard_otel.demo.usage import Used
from runguard_otel.demo.watch import guards_on
from runguard_otel.demo.wire import Report
from runguard_otel.testing.ffi import StageServer
from runguard_otel.testing.speaking import ScriptedTTS
from runguard_otel.testing.storms import drops

__all__ = ["DROPS", "Application", "play"]

ROOM: Final = "support-42"
DROPS: Final = 12
PAUSE_SECONDS: Final = 0.5
GREETING: Final = "Sorry, we were cut off. Where were we?"


class Application:
    """An agent that stays in its room, whatever happens.

    Args:
        server: Where the room is.
        report: Hears what is done.
    """

    def __init__(self, server: StageServer, report: Report) -> None:
        self.voice = ScriptedTTS()
        self.refused = 0
        self._server = server
        self._report = report
        self._tasks: set[asyncio.Task[None]] = set()

    async def join(self) -> None:
        """Connect, and again whenever the room is lost."""
        room = rtc.Room()
        room.on("disconnected", self._lost)
        try:
            await room.connect("wss://stage", self._server.token(ROOM, "agent"))
        except rtc.ConnectError as error:
            # What a library cannot know: whether the application gives up. This one does not.
            self.refused += 1
            self._report.note(f"connect refused, {self.refused} so far ({type(error).__name__})")
            asyncio.get_running_loop().call_later(PAUSE_SECONDS, self._again)
            return
        if len(self._server.connects) > 1:
            async with self.voice.synthesize(GREETING) as speech:
                await speech.collect()
        self._report.note(f"connection {len(self._server.connects)} to the room")

    def _lost(self, _: object) -> None:
        self._again()

    def _again(self) -> None:
        task = asyncio.ensure_future(self.join())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def calm(self) -> None:
        """Wait for what the last drop started."""
        await asyncio.gather(*self._tasks)

    def used(self) -> Used:
        """What this has cost so far."""
        return Used(tts_characters=self.voice.characters, connections=len(self._server.connects))


async def play(report: Report, guards: bool) -> None:
    """Drop the connection a dozen times."""
    if guards:
        guards_on(report)
    with StageServer() as server:
        application = Application(server, report)
        report.ready()
        await application.join()
        async for n in drops(server, ROOM, DROPS):
            await application.calm()
            report.used(application.used())
            await asyncio.sleep(PAUSE_SECONDS)
            report.input(f"the network drops every connection, {n} of {DROPS}")
        await application.calm()
        report.done(application.used())
