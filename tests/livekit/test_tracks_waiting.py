"""A new track that is announced before the end of the old one, as a real server does it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any
from unittest import mock

import pytest
from livekit import rtc
from livekit.agents import stt

from runguard_otel.adapters.agents_v1 import lease_pool
from runguard_otel.adapters.agents_v1.leases import Lease
from runguard_otel.demo.stage.ffi import StageServer
from runguard_otel.demo.stage.listening import ScriptedSTT, final
from tests.kit.tracks import Guarded, Transcriber, frame

pytestmark = pytest.mark.livekit

SUBSCRIBED = "runguard.track.subscriptions"
LONG: dict[str, Any] = {"track_subscribe_grace_seconds": 5}
SHORT: dict[str, Any] = {"track_subscribe_grace_seconds": 0.05}


@pytest.fixture
def server() -> Iterator[StageServer]:
    with StageServer() as stage:
        stage.join("lobby", "alice")
        yield stage


@pytest.fixture
async def room(server: StageServer) -> AsyncIterator[rtc.Room]:
    made = rtc.Room()
    await made.connect("wss://stage", server.token("lobby", "agent"))
    yield made
    await made.disconnect()


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


async def test_eight_subscriptions_with_late_ends_are_one_stream_and_no_audio_is_lost(
    server: StageServer, room: rtc.Room
) -> None:
    with Guarded(**LONG) as guarded:
        transcriber = Transcriber(room)
        model = transcriber.model
        assert isinstance(model, ScriptedSTT)
        before = ""
        for number in range(8):
            sid = server.publish("lobby", "alice")
            await server.settle()
            for _ in range(10):
                server.push_audio(sid, frame())
            await server.settle()
            if before:
                server.unpublish(before)
                await server.settle()
            model.send(final(f"sentence {number}"))
            await server.settle()
            before = sid
        assert len(model.streams) == 1
        assert transcriber.heard == [(n, f"sentence {n}") for n in range(8)]
        assert model.seconds == pytest.approx(0.8), "what came while it waited was recognised"
        assert transcriber.ended == list(range(7)), "the old holders' iterations ended"
        await transcriber.aclose()
    assert guarded.outcomes() == ["allowed"] + ["reused"] * 7
    assert guarded.recorder.count(SUBSCRIBED, subscription="opened") == 1
    assert guarded.recorder.count(SUBSCRIBED, subscription="reused") == 7
    assert [(t.action, t.count) for t in guarded.recorder.trips] == [("reuse_stream", 3)]


async def test_a_still_live_earlier_track_keeps_its_stream(
    server: StageServer, room: rtc.Room
) -> None:
    with Guarded(**SHORT) as guarded:
        transcriber = Transcriber(room)
        model = transcriber.model
        assert isinstance(model, ScriptedSTT)
        tracks = []
        for _ in range(3):
            tracks.append(server.publish("lobby", "alice"))
            await server.settle()
            server.push_audio(tracks[-1], frame())
            await server.settle()
        assert len(model.streams) == 1, "for a moment it may be the end that is late"
        assert guarded.outcomes() == ["allowed"], "what is not known is not said"
        await until(lambda: len(model.streams) == 3)
        for number, track in enumerate(tracks):
            model.streams[number].say(final(str(number)))
            server.push_audio(track, frame())
        await server.settle()
        assert sorted(transcriber.heard) == [(0, "0"), (1, "1"), (2, "2")]
        assert [s.seconds for s in model.streams] == [pytest.approx(0.02)] * 3, "nothing is lost"
        await transcriber.aclose()
    assert guarded.outcomes() == ["allowed"] * 3
    assert guarded.recorder.count(SUBSCRIBED, subscription="opened") == 3
    assert [t.action for t in guarded.recorder.trips] == ["none"]


async def test_those_that_wait_are_served_in_their_order(
    server: StageServer, room: rtc.Room
) -> None:
    """Three tracks overlap; the ends come in any order; the last one has the stream."""
    with Guarded(**LONG):
        model = ScriptedSTT()
        mic = Tracks(server, room, model.stream)
        first, second, _ = [await mic.publish() for _ in range(3)]
        for lease in mic.opened:
            lease.push_frame(frame())
        await mic.unpublish(second)
        assert model.seconds == pytest.approx(0.01), "the first is still live"
        await mic.unpublish(first)
        assert len(model.streams) == 1
        assert model.seconds == pytest.approx(0.03)
        model.send(final("to the last"))
        for lease in mic.opened[:2]:
            assert [e async for e in lease] == []
        assert (await anext(mic.opened[2])).alternatives[0].text == "to the last"
        await close(*model.streams)


async def test_who_finds_nothing_left_to_wait_for_gets_a_stream_at_once(
    server: StageServer, room: rtc.Room
) -> None:
    """One stream before, two streams per track after: the second of them is new."""
    with Guarded(**LONG):
        model = ScriptedSTT()
        number = iter((1, 2))
        mic = Tracks(server, room, lambda: [model.stream() for _ in range(next(number))])
        first = await mic.publish()
        await mic.publish()
        assert len(model.streams) == 1
        await mic.unpublish(first)
        assert len(model.streams) == 2
        one, other = mic.opened[1]
        assert {id(one.__wrapped__), id(other.__wrapped__)} == {id(s) for s in model.streams}
        await close(*model.streams)


async def test_a_lease_that_waits_answers_like_a_stream(
    server: StageServer, room: rtc.Room
) -> None:
    with Guarded(**LONG):
        model = ScriptedSTT()
        mic = Tracks(server, room, model.stream)
        first = await mic.publish()
        await mic.publish()
        lease = mic.opened[1]
        assert isinstance(lease, stt.RecognizeStream)
        assert lease._stt is model
        reading = asyncio.create_task(anext(lease))
        lease.push_frame(frame())
        lease.flush()
        lease.push_frame(frame())
        with pytest.raises(ValueError, match="sample rate"):
            lease.push_frame(frame(8_000))
        lease.end_input()
        with pytest.raises(RuntimeError, match="input ended"):
            lease.push_frame(frame())
        await server.settle()
        assert not reading.done()
        with mock.patch.object(stt.RecognizeStream, "flush", autospec=True) as flush:
            await mic.unpublish(first)
        assert flush.call_count == 2, "the segments end where they were said to"
        assert model.seconds == pytest.approx(0.02)
        model.send(final("due"))
        assert (await reading).alternatives[0].text == "due", "results still due are delivered"
        await close(*model.streams)


async def test_closing_a_lease_that_waits_opens_nothing(
    server: StageServer, room: rtc.Room
) -> None:
    with Guarded(**SHORT) as guarded:
        model = ScriptedSTT()
        mic = Tracks(server, room, model.stream)
        await mic.publish()
        second = await mic.publish()
        lease = mic.opened[1]
        lease.push_frame(frame())
        reading = asyncio.create_task(anext(lease))
        await server.settle()
        await lease.aclose()
        with pytest.raises(StopAsyncIteration):
            await reading
        with pytest.raises(RuntimeError, match="is closed"):
            lease.push_frame(frame())
        await mic.unpublish(second)
        await asyncio.sleep(0.1)  # twice the grace period
        assert len(model.streams) == 1
        model.send(final("the first goes on"))
        assert (await anext(mic.opened[0])).alternatives[0].text == "the first goes on"
        await close(*model.streams)
    assert guarded.recorder.count(SUBSCRIBED, subscription="observed") == 1
    assert guarded.outcomes() == ["allowed", "allowed"]


async def test_a_full_backlog_opens_a_stream_and_loses_nothing(
    server: StageServer, room: rtc.Room
) -> None:
    with Guarded(track_subscribe_grace_seconds=1):
        model = ScriptedSTT()
        mic = Tracks(server, room, model.stream)
        await mic.publish()
        await mic.publish()
        lease = mic.opened[1]
        for _ in range(19):
            lease.push_frame(frame(seconds=0.1))
        assert len(model.streams) == 1
        lease.push_frame(frame(seconds=0.1))
        assert len(model.streams) == 2
        lease.push_frame(frame(seconds=0.1))
        await server.settle()
        assert [s.seconds for s in model.streams] == [0, pytest.approx(2.1)]
        await close(*model.streams)


async def test_audio_of_another_rate_waits_and_gets_a_stream_of_its_own(
    server: StageServer, room: rtc.Room
) -> None:
    with Guarded(**LONG):
        model = ScriptedSTT()
        mic = Tracks(server, room, model.stream)
        first = await mic.publish()
        mic.opened[0].push_frame(frame(16_000))
        await mic.publish()
        mic.opened[1].push_frame(frame(48_000))
        await mic.unpublish(first)
        assert len(model.streams) == 2
        assert mic.opened[1].__wrapped__ is model.streams[1]
        await close(*model.streams)


async def test_an_error_of_the_late_opening_reaches_who_asked_for_the_stream(
    server: StageServer, room: rtc.Room
) -> None:
    class Refusing(ScriptedSTT):
        def stream(self, **kw: Any) -> Any:
            if getattr(self, "streams", []):
                raise LookupError("too many streams")
            return super().stream(**kw)

    with Guarded(**SHORT) as guarded:
        model = Refusing()
        mic = Tracks(server, room, model.stream)
        await mic.publish()
        await mic.publish()
        lease = mic.opened[1]
        with pytest.raises(LookupError, match="too many"):
            await anext(lease)
        with pytest.raises(LookupError, match="too many"):
            lease.push_frame(frame())
        await lease.aclose()
        model.send(final("the first goes on"))
        assert (await anext(mic.opened[0])).alternatives[0].text == "the first goes on"
        await close(*model.streams)
    assert guarded.recorder.errors == []


async def test_uninstrument_lets_nobody_wait(server: StageServer, room: rtc.Room) -> None:
    with Guarded(**LONG):
        model = ScriptedSTT()
        mic = Tracks(server, room, model.stream)
        await mic.publish()
        await mic.publish()
        mic.opened[1].push_frame(frame())
    await server.settle()
    assert [s.seconds for s in model.streams] == [0, pytest.approx(0.01)]
    await close(*model.streams)


async def test_the_end_of_the_job_ends_the_waiting(server: StageServer, room: rtc.Room) -> None:
    callbacks: list[Any] = []
    job = mock.Mock(add_shutdown_callback=callbacks.append)
    with Guarded(**LONG), mock.patch.object(lease_pool, "current_job", lambda: job):
        model = ScriptedSTT()
        mic = Tracks(server, room, model.stream)
        await mic.publish()
        await mic.publish()
        (callback,) = callbacks
        await callback("")
        assert [e async for e in mic.opened[1]] == []
        assert len(model.streams) == 1


async def test_leaving_the_room_decides_at_once(server: StageServer, room: rtc.Room) -> None:
    with Guarded(**LONG) as guarded:
        model = ScriptedSTT()
        mic = Tracks(server, room, model.stream)
        await mic.publish()
        await mic.publish()
        mic.opened[1].push_frame(frame())
        await room.disconnect()
        await server.settle()
        assert len(model.streams) == 1
        assert model.seconds == pytest.approx(0.01)
        await close(*model.streams)
    assert guarded.outcomes() == ["allowed", "reused"]


async def test_no_grace_period_means_no_waiting(server: StageServer, room: rtc.Room) -> None:
    with Guarded(track_subscribe_grace_seconds=0) as guarded:
        model = ScriptedSTT()
        mic = Tracks(server, room, model.stream)
        await mic.publish()
        await mic.publish()
        assert len(model.streams) == 2
        await close(*model.streams)
    assert guarded.outcomes() == ["allowed"] * 2


async def test_a_late_event_is_reported_at_the_latest_at_the_end_of_the_job(
    server: StageServer, room: rtc.Room
) -> None:
    """Nobody opens a stream for the second track, and the job ends before a second is over."""
    with Guarded(**LONG) as guarded:
        model = ScriptedSTT()
        wanted = iter((model.stream, lambda: None))
        mic = Tracks(server, room, lambda: next(wanted)())
        await mic.publish()
        await mic.publish()
        assert isinstance(mic.opened[0], Lease)
        assert guarded.outcomes() == ["allowed"]
        guarded.services.settle()
        assert guarded.outcomes() == ["allowed"] * 2
        await close(*model.streams)
