"""Several tracks of one participant at a time are no cascade, and video never is one."""

from __future__ import annotations

import pytest
from livekit import rtc

from runguard_otel.testing.ffi import StageServer
from runguard_otel.testing.listening import ScriptedSTT
from tests.kit.tracks import Guarded
from tests.kit.tracks_scenes import LONG, SHORT, SUBSCRIBED, Source, close, until

pytestmark = pytest.mark.livekit

MICROPHONE = Source.SOURCE_MICROPHONE


async def published(server: StageServer, count: int, source: int = MICROPHONE) -> list[str]:
    sids = []
    for _ in range(count):
        sids.append(server.publish("lobby", "alice", source))  # type: ignore[arg-type]
        await server.settle()
    return sids


async def unpublished(server: StageServer, *sids: str) -> None:
    for sid in sids:
        server.unpublish(sid)
        await server.settle()


@pytest.mark.parametrize("mode", ["enforce", "observe"])
@pytest.mark.parametrize("source", [MICROPHONE, Source.SOURCE_UNKNOWN])
async def test_must_not_fire_four_microphones_at_once(
    server: StageServer, room: rtc.Room, mode: str, source: int
) -> None:
    with Guarded(mode=mode, **SHORT) as guarded:
        await published(server, 4, source)
        await until(lambda: len(guarded.outcomes()) == 4)
        assert guarded.recorder.trips == []


async def test_must_not_fire_four_microphones_that_leave_at_once(
    server: StageServer, room: rtc.Room
) -> None:
    """Before it is known whether they came for one another."""
    with Guarded(**LONG) as guarded:
        await published(server, 4)
        server.leave("lobby", "alice")
        await server.settle()
        assert len(guarded.outcomes()) == 4
        assert guarded.recorder.trips == []


@pytest.mark.parametrize("late", [True, False], ids=["late ends", "ends first"])
async def test_must_not_fire_four_microphones_that_are_republished_once(
    server: StageServer, room: rtc.Room, late: bool
) -> None:
    """As after a full reconnect of their publisher."""
    with Guarded(**SHORT) as guarded:
        before = await published(server, 4)
        await until(lambda: len(guarded.outcomes()) == 4)
        if late:
            await published(server, 4)
            await unpublished(server, *before)
        else:
            await unpublished(server, *before)
            await published(server, 4)
        await until(lambda: len(guarded.outcomes()) == 8)
        assert guarded.recorder.trips == []


@pytest.mark.parametrize("late", [True, False], ids=["late ends", "ends first"])
@pytest.mark.parametrize("beside", [0, 3])
async def test_one_that_flaps_trips_with_others_beside_it_or_without(
    server: StageServer, room: rtc.Room, late: bool, beside: int
) -> None:
    with Guarded(**SHORT) as guarded:
        model = ScriptedSTT()
        room.on("track_subscribed", lambda *_: model.stream())  # and it is never closed
        await published(server, beside)
        await until(lambda: len(guarded.outcomes()) == beside)
        (sid,) = await published(server, 1)
        await until(lambda: len(guarded.outcomes()) == beside + 1)
        for number in range(2):
            assert guarded.recorder.trips == []
            if late:
                (new,) = await published(server, 1)
                await unpublished(server, sid)
            else:
                await unpublished(server, sid)
                (new,) = await published(server, 1)
            sid = new
            await until(lambda: len(guarded.outcomes()) == beside + number + 2)  # noqa: B023
        assert [t.count for t in guarded.recorder.trips] == [3]
        await close(*model.streams)


async def test_the_same_track_subscribed_again_and_again_trips(
    server: StageServer, room: rtc.Room
) -> None:
    with Guarded() as guarded:
        model = ScriptedSTT()
        room.on("track_subscribed", lambda *_: model.stream())
        (sid,) = await published(server, 1)
        (alice,) = room.remote_participants.values()
        publication = alice.track_publications[sid]
        for _ in range(2):
            room.emit("track_subscribed", publication.track, publication, alice)
        assert [t.count for t in guarded.recorder.trips] == [3]
        await close(*model.streams)


@pytest.mark.parametrize("source", [Source.SOURCE_CAMERA, Source.SOURCE_SCREENSHARE])
async def test_must_not_fire_video_that_comes_and_goes(
    server: StageServer, room: rtc.Room, source: int
) -> None:
    """Nothing that is billed by the second is behind it: it is counted."""
    with Guarded() as guarded:
        for _ in range(8):
            await unpublished(server, *await published(server, 1, source))
        assert guarded.recorder.trips == []
        assert guarded.outcomes() == ["allowed"] * 8
    assert guarded.recorder.count(SUBSCRIBED, subscription="observed") == 8
