"""A stream that is in use for something else than its track is never handed on."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from livekit import rtc
from livekit.agents import stt

from runguard_otel.adapters.livekit.subscription import shared_stream
from runguard_otel.testing.ffi import StageServer
from runguard_otel.testing.listening import ScriptedSTT, final
from tests.kit.tracks import Guarded, frame
from tests.kit.tracks_scenes import LONG, SHORT, Tracks, close, until

pytestmark = pytest.mark.livekit


class Minutes:
    """Captions per track, and minutes of the whole room that the first track's handler starts."""

    def __init__(self, room: rtc.Room, closes: bool) -> None:
        self.model = ScriptedSTT()
        self.mix: Any = None
        self.noted: list[str] = []
        self.ended = False
        self._closes = closes
        self._tasks: list[asyncio.Task[None]] = []
        room.on("track_subscribed", self._subscribed)

    def _subscribed(self, track: rtc.RemoteTrack, *_: Any) -> None:
        self._tasks.append(asyncio.create_task(self._captions(track)))
        if self.mix is None:
            self._tasks.append(asyncio.create_task(self._minutes()))

    async def _minutes(self) -> None:
        self.mix = self.model.stream()  # the room's, but opened by a task of the track's handler
        async for event in self.mix:
            self.noted.append(event.alternatives[0].text)
        self.ended = True

    async def _captions(self, track: rtc.RemoteTrack) -> None:
        stream = self.model.stream()
        async for event in rtc.AudioStream(track, sample_rate=16_000):
            stream.push_frame(event.frame)
        if self._closes:
            await stream.aclose()

    async def aclose(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await close(*self.model.streams)


@pytest.mark.parametrize(("closes", "opened"), [(True, 2), (False, 3)])
async def test_minutes_of_the_room_survive_eight_tracks_of_who_started_them(
    server: StageServer, room: rtc.Room, closes: bool, opened: int
) -> None:
    """Captions that are closed keep one stream; forgotten ones could be the minutes, once."""
    with Guarded(**SHORT):
        app = Minutes(room, closes)
        for number in range(8):
            sid = server.publish("lobby", "alice")
            await server.settle()
            if number == 1 and not closes:
                await until(lambda: len(app.model.streams) == 3)
            for _ in range(20):
                app.mix.push_frame(frame())
            minutes = app.model.streams[1]
            minutes.say(final(f"{number}"))
            await server.settle()
            server.unpublish(sid)
            await server.settle()
        assert app.noted == [str(n) for n in range(8)]
        assert minutes.seconds == pytest.approx(1.6), "every second of the room was heard"
        assert not app.ended
        assert len(app.model.streams) == opened
        await app.aclose()


async def test_a_stream_that_is_fed_long_after_the_end_of_its_track_is_left_alone(
    server: StageServer, room: rtc.Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_stream, "TAIL_SECONDS", 0.05)
    with Guarded(**LONG):
        model = ScriptedSTT()
        mic = Tracks(server, room, model.stream)
        await mic.unpublish(await mic.publish())
        (first,) = mic.opened
        for _ in range(6):
            first.push_frame(frame(seconds=0.02))
            await asyncio.sleep(0.02)
        await mic.publish()
        assert len(model.streams) == 2, "nobody waits for it either"
        first.push_frame(frame())
        await server.settle()
        assert model.streams[0].seconds == pytest.approx(0.13)
        model.streams[0].say(final("still here"))
        assert (await anext(first)).alternatives[0].text == "still here"
        await close(*model.streams)


async def test_a_tail_that_a_blocked_loop_reads_all_at_once_does_not_keep_the_stream(
    server: StageServer, room: rtc.Room
) -> None:
    """Mutant: count what is pushed, and not the time in which it is."""
    with Guarded(**LONG):
        model = ScriptedSTT()
        mic = Tracks(server, room, model.stream)
        await mic.unpublish(await mic.publish())
        for _ in range(200):
            mic.opened[0].push_frame(frame())
        await mic.publish()
        assert len(model.streams) == 1
        await close(*model.streams)


async def test_the_late_tail_of_a_track_does_not_keep_its_stream(
    server: StageServer, room: rtc.Room
) -> None:
    with Guarded(**LONG):
        model = ScriptedSTT()
        mic = Tracks(server, room, model.stream)
        await mic.unpublish(await mic.publish())
        for _ in range(4):
            mic.opened[0].push_frame(frame(seconds=0.1))
        await mic.publish()
        assert len(model.streams) == 1
        await close(*model.streams)


async def test_who_waits_while_two_could_be_meant_gets_the_one_that_is_let_go(
    server: StageServer, room: rtc.Room
) -> None:
    """User code closes the old stream a moment after the new track is there."""
    with Guarded(**LONG):
        model = ScriptedSTT()
        number = iter((2, 1, 1))
        mic = Tracks(server, room, lambda: [model.stream() for _ in range(next(number))])
        first = await mic.publish()
        await mic.unpublish(first)
        await mic.publish()
        captions, other = mic.opened[0]
        (lease,) = mic.opened[1]
        lease.push_frame(frame())
        assert model.seconds == 0, "it is not known which"
        await captions.aclose()
        await server.settle()
        assert lease.__wrapped__ is model.streams[0]
        assert [s.seconds for s in model.streams] == [pytest.approx(0.01), 0]
        model.streams[1].say(final("still here"))
        assert (await anext(other)).alternatives[0].text == "still here"
        await close(*model.streams)


async def test_several_stts_of_one_track_are_told_apart_by_their_settings(
    server: StageServer, room: rtc.Room
) -> None:
    """Two languages of one speaker, neither ever closed: two streams, however often it flaps."""

    def recogniser(language: str) -> ScriptedSTT:
        model = ScriptedSTT()
        model._opts = {"language": language}  # type: ignore[attr-defined]  # as plugins do
        return model

    with Guarded(**LONG):
        models = [recogniser("en"), recogniser("es")]
        streams: list[stt.RecognizeStream] = []
        mic = Tracks(server, room, lambda: streams.extend(m.stream() for m in models))
        for _ in range(8):
            await mic.unpublish(await mic.publish())
        assert [len(model.streams) for model in models] == [1, 1]
        await close(*models[0].streams, *models[1].streams)


async def test_a_reader_that_follows_the_participant_does_not_keep_the_stream(
    server: StageServer, room: rtc.Room
) -> None:
    """Removed and joined again under load.

    The old reader pushes the new track's audio for longer than any tail, before the new handler's
    task gets to run and asks for a stream.

    Mutant: audio that comes when the next track is there counts as another source's (two streams,
    and both readers push each burst: it is transcribed twice).
    """
    with Guarded(**LONG):
        model = ScriptedSTT()
        asked = asyncio.Event()
        opened: list[Any] = []

        async def transcribe(waits: bool) -> None:
            if waits:
                await asked.wait()
            opened.append(model.stream())

        waits = iter((False, True))
        mic = Tracks(server, room, lambda: asyncio.ensure_future(transcribe(next(waits))))
        await mic.unpublish(await mic.publish())
        await mic.publish()
        for _ in range(20):
            opened[0].push_frame(frame(seconds=0.1))
        asked.set()
        await server.settle()
        assert len(model.streams) == 1
        for stream in opened:  # both readers go on
            stream.push_frame(frame(seconds=0.1))
        assert model.seconds <= 2.1 + 1e-6, "each burst is heard once"
        await close(*model.streams)
