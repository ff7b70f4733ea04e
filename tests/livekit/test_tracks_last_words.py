"""Who ends the input and reads on has the last words as soon as without us, or a moment later."""

from __future__ import annotations

import asyncio
import time
from typing import Any
from unittest import mock

import pytest
from livekit import rtc
from livekit.agents import DEFAULT_API_CONNECT_OPTIONS, stt

from runguard_otel.adapters.livekit.subscription import pool, shared_stream
from runguard_otel.testing.ffi import StageServer
from runguard_otel.testing.listening import ScriptedSTT, final
from tests.kit.tracks import Guarded, Transcriber, frame
from tests.kit.tracks_scenes import LONG, Tracks, close

pytestmark = pytest.mark.livekit


class _SaysItAtTheEnd(stt.RecognizeStream):
    delay = 0.0

    async def _run(self) -> None:
        heard = 0
        async for entry in self._input_ch:
            heard += isinstance(entry, rtc.AudioFrame)
        await asyncio.sleep(self.delay)
        self._event_ch.send_nowait(final(f"{heard} frames"))


class SaysItAtTheEnd(ScriptedSTT):
    """A recogniser whose only final comes when its input ends, ``delay`` seconds later."""

    def __init__(self, delay: float = 0.0) -> None:
        super().__init__()
        self._delay = delay

    def stream(self, **_: Any) -> stt.RecognizeStream:
        opened = _SaysItAtTheEnd(stt=self, conn_options=DEFAULT_API_CONNECT_OPTIONS)
        opened.delay = self._delay
        self.streams.append(opened)  # type: ignore[arg-type]  # what is asked of it is there
        return opened


async def spoken(server: StageServer, room: rtc.Room, model: stt.STT[Any]) -> tuple[Any, str]:
    """A transcriber that has pushed five frames of a track, and the track."""
    transcriber = Transcriber(room, model, ending="end_input")
    sid = server.publish("lobby", "alice")
    await server.settle()
    for _ in range(5):
        server.push_audio(sid, frame())
    await server.settle()
    return transcriber, sid


async def ended(transcriber: Transcriber) -> float:
    """Seconds until the first iteration is over."""
    since = time.monotonic()
    while not transcriber.ended:
        assert time.monotonic() - since < 5
        await asyncio.sleep(0.005)
    return time.monotonic() - since


async def test_after_the_end_of_a_track_the_last_words_come_when_no_next_one_does(
    server: StageServer, room: rtc.Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_stream, "LAST_WORDS_SECONDS", 0.2)
    with Guarded():  # it lingers for 30 s
        transcriber, sid = await spoken(server, room, SaysItAtTheEnd())
        server.unpublish(sid)
        await server.settle()
        assert not transcriber.heard, "the next track may still have the stream"
        assert await ended(transcriber) < 2
        assert transcriber.heard == [(0, "5 frames")]
        await transcriber.aclose()


@pytest.mark.parametrize("who", ["participant", "room", "server"])
async def test_when_nobody_can_come_back_the_last_words_come_at_once(
    server: StageServer, room: rtc.Room, who: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_stream, "LAST_WORDS_SECONDS", 30)
    with Guarded():
        transcriber, sid = await spoken(server, room, SaysItAtTheEnd())
        if who == "participant":
            server.leave("lobby", "alice")
        elif who == "room":
            server.unpublish(sid)
            await server.settle()
            await room.disconnect()
        else:
            server.drop("lobby")
            server.unpublish(sid)
        assert await ended(transcriber) < 2
        assert transcriber.heard == [(0, "5 frames")]
        await transcriber.aclose()


async def test_push_to_talk_on_one_track_hears_each_press_on_its_own(
    server: StageServer, room: rtc.Room
) -> None:
    """The track is still there, so no other one is due: a stream per press, as without us."""
    with Guarded(**LONG):
        model = SaysItAtTheEnd()
        said: list[list[str]] = []
        took: list[float] = []

        async def presses() -> None:
            for count in (5, 3):
                stream = model.stream()
                for _ in range(count):
                    stream.push_frame(frame())
                stream.end_input()
                since = time.monotonic()
                said.append([e.alternatives[0].text async for e in stream])
                took.append(time.monotonic() - since)
                await stream.aclose()

        mic = Tracks(server, room, lambda: asyncio.ensure_future(presses()))
        await mic.publish()
        await mic.opened[0]
        assert said == [["5 frames"], ["3 frames"]]
        assert max(took) < 2


async def test_a_participant_who_comes_back_finds_the_closed_stream_again(
    server: StageServer, room: rtc.Room
) -> None:
    with Guarded():
        model = ScriptedSTT()
        transcriber = Transcriber(room, model, ending="aclose")
        for _ in range(3):
            server.publish("lobby", "alice")
            await server.settle()
            server.leave("lobby", "alice")
            await server.settle()
            server.join("lobby", "alice")
        assert len(model.streams) == 1
        await transcriber.aclose()


@pytest.mark.parametrize("ending", ["end_input", ""])
async def test_the_end_of_the_job_waits_for_the_last_words(
    server: StageServer, room: rtc.Room, ending: str
) -> None:
    """They reach who reads, whether the user's code ended the input, did not, or does so now."""
    callbacks: list[Any] = []
    job = mock.Mock(add_shutdown_callback=callbacks.append)
    with Guarded(), mock.patch.object(pool, "current_job", lambda: job):
        transcriber, sid = await spoken(server, room, SaysItAtTheEnd(delay=0.1))
        transcriber.ending = ending
        server.unpublish(sid)
        await server.settle()
        (callback,) = callbacks
        ending_job = asyncio.ensure_future(callback(""))
        await asyncio.sleep(0.02)
        (lease,) = transcriber.streams
        if not ending:
            lease.push_frame(frame())
            lease.end_input()  # ended already, which is no error of who does it now
        await ending_job
        assert transcriber.heard == [(0, "5 frames")]
        assert transcriber.ended == [0]
        await transcriber.aclose()


@pytest.mark.parametrize("reads", [True, False])
async def test_the_end_of_the_job_waits_for_nobody_for_long(
    server: StageServer, room: rtc.Room, reads: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A provider that says nothing, and a reader that was forgotten."""
    monkeypatch.setattr(pool, "DRAIN_SECONDS", 0.1)
    callbacks: list[Any] = []
    job = mock.Mock(add_shutdown_callback=callbacks.append)
    with Guarded(), mock.patch.object(pool, "current_job", lambda: job):
        model = SaysItAtTheEnd(delay=60 if reads else 0)
        mic = Tracks(server, room, model.stream)
        await mic.publish()
        reader = asyncio.ensure_future(anext(mic.opened[0]))
        await server.settle()
        if not reads:
            reader.cancel()
        since = time.monotonic()
        await callbacks[0]("")
        assert time.monotonic() - since < 2
        assert model.streams[0]._task.done()
        await asyncio.wait({reader})
        with pytest.raises((StopAsyncIteration, asyncio.CancelledError)):
            await reader
        await close(*model.streams)
