"""A lease that waits is a stream to its user, and nobody waits for ever."""

from __future__ import annotations

import asyncio
from typing import Any
from unittest import mock

import pytest
from livekit import rtc
from livekit.agents import stt

from runguard_otel.adapters.livekit.subscription import pool
from runguard_otel.adapters.livekit.subscription.handle import StreamHandle
from runguard_otel.testing.ffi import StageServer
from runguard_otel.testing.listening import ScriptedSTT, final
from tests.kit.tracks import Guarded, frame
from tests.kit.tracks_scenes import LONG, SHORT, SUBSCRIBED, Tracks, close

pytestmark = pytest.mark.livekit


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
    with Guarded(**LONG), mock.patch.object(pool, "current_job", lambda: job):
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
        assert isinstance(mic.opened[0], StreamHandle)
        assert guarded.outcomes() == ["allowed"]
        guarded.services.settle()
        assert guarded.outcomes() == ["allowed"] * 2
        await close(*model.streams)
