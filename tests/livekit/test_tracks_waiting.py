"""A real server announces the new track before the old one has ended: leases wait for that end."""

from __future__ import annotations

import asyncio
import time

import pytest
from livekit import rtc

from runguard_otel.testing.ffi import StageServer
from runguard_otel.testing.listening import ScriptedSTT, final
from tests.kit.tracks import Guarded, Transcriber, frame
from tests.kit.tracks_scenes import LONG, SHORT, SUBSCRIBED, Tracks, close, until

pytestmark = pytest.mark.livekit


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
    assert guarded.recorder.trips == [], "several at a time are no flapping"


async def test_an_end_that_waits_in_a_blocked_loop_is_not_missing(
    server: StageServer, room: rtc.Room
) -> None:
    """A loop comes to its timers first. Mutant: a plain timer; both streams hear the caller."""
    with Guarded(track_subscribe_grace_seconds=0.2) as guarded:
        model = ScriptedSTT()
        mic = Tracks(server, room, model.stream)
        first = await mic.publish()
        await mic.publish()
        server.unpublish(first)
        time.sleep(0.5)
        await asyncio.sleep(0.25)
        assert len(model.streams) == 1
        await close(*model.streams)
    assert guarded.outcomes() == ["allowed", "reused"]


async def test_a_track_that_waits_in_a_blocked_loop_finds_the_stream_that_was_let_go(
    server: StageServer, room: rtc.Room
) -> None:
    """Mutant: the wait for the next track is one of the wall's clock."""
    with Guarded(track_subscribe_linger_seconds=0.2):
        model = ScriptedSTT()
        mic = Tracks(server, room, model.stream)
        await mic.unpublish(await mic.publish())
        await mic.opened[0].aclose()
        server.publish("lobby", "alice")
        time.sleep(0.5)
        await asyncio.sleep(0.1)
        assert (len(mic.opened), len(model.streams)) == (2, 1)
        await close(*model.streams)


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


async def test_a_full_backlog_opens_a_stream_and_loses_nothing(
    server: StageServer, room: rtc.Room
) -> None:
    with Guarded(**LONG):
        model = ScriptedSTT()
        mic = Tracks(server, room, model.stream)
        await mic.publish()
        await mic.publish()
        lease = mic.opened[1]
        for _ in range(19):
            lease.push_frame(frame(seconds=0.5))
        assert len(model.streams) == 1
        lease.push_frame(frame(seconds=0.5))
        assert len(model.streams) == 2
        lease.push_frame(frame(seconds=0.5))
        await server.settle()
        assert [s.seconds for s in model.streams] == [0, pytest.approx(10.5)]
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
