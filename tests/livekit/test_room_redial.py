"""An end that the application wanted: what connects next is a redial; ten a minute are a loop."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from livekit import api, rtc
from livekit.api.room_service import RoomService
from livekit.rtc._proto import room_pb2

from runguard_otel.errors import ReconnectLoopError
from runguard_otel.testing.ffi import StageServer
from tests.kit.room_guard import URL, Guarded, Reason, connect, lose

pytestmark = pytest.mark.livekit


@pytest.fixture
def server() -> Iterator[StageServer]:
    with StageServer() as stage:
        yield stage


async def test_must_not_fire_nine_redials_within_a_minute(server: StageServer) -> None:
    """Mutant: an own end counts as any other (the third redial is refused)."""
    with Guarded() as guarded:
        for _ in range(10):
            await (await connect(server)).disconnect()
    assert guarded.redials() == ["observed"] * 9
    assert guarded.reconnects() == []
    assert guarded.recorder.trips == []


async def test_the_tenth_redial_within_a_minute_is_the_applications_own_loop(
    server: StageServer,
) -> None:
    """Mutant: redials are not counted (no trip)."""
    with Guarded() as guarded:
        refused = 0
        for _ in range(15):
            try:
                await (await connect(server)).disconnect()
            except ReconnectLoopError:
                refused += 1
        assert len(server.connects) == 10
        assert refused == 5
    assert guarded.redials() == ["observed"] * 9 + ["refused"] * 5
    (trip,) = guarded.recorder.trips
    assert (trip.signature, trip.count, trip.threshold) == ("room_reconnect:redial", 10, 10)
    assert trip.signature_with_key == "room_reconnect:lobby"
    assert trip.action == "refuse_connect"
    assert "by itself" in trip.reason
    assert {e.detail for e in trip.evidence} == {"client_initiated"}


async def test_the_limit_of_redials_is_a_setting_and_observe_refuses_nothing(
    server: StageServer,
) -> None:
    with Guarded(mode="observe", room_reconnect_redial_limit=2) as guarded:
        for _ in range(5):
            await (await connect(server)).disconnect()
    assert len(server.connects) == 5
    assert [(t.count, t.action) for t in guarded.recorder.trips] == [(2, "none")]


async def test_two_who_throw_each_other_out_trip_at_the_third_although_each_cleans_up(
    server: StageServer,
) -> None:
    """Mutant: every call of ``disconnect`` counts as the application's end."""
    with Guarded() as guarded, pytest.raises(ReconnectLoopError) as error:
        for _ in range(10):
            room = await connect(server)
            room.on("disconnected", lambda _, room=room: asyncio.ensure_future(room.disconnect()))
            room.on(
                "connection_state_changed",
                lambda _, room=room: asyncio.ensure_future(room.disconnect()),
            )
            await lose(server, room, Reason.DUPLICATE_IDENTITY)
            await room.disconnect()
    assert guarded.reconnects() == ["allowed", "allowed", "refused"]
    assert error.value.trip is not None
    assert "identity" in error.value.trip.reason


@pytest.mark.parametrize(
    "reason",
    [Reason.PARTICIPANT_REMOVED, Reason.ROOM_DELETED, Reason.SIGNAL_CLOSE, Reason.SERVER_SHUTDOWN],
)
async def test_what_the_server_or_the_network_ends_is_a_reconnect(
    server: StageServer, reason: Any
) -> None:
    with Guarded() as guarded:
        for _ in range(3):
            await lose(server, await connect(server), reason)
    assert guarded.reconnects() == ["allowed"] * 2
    assert guarded.redials() == []


async def test_an_own_end_that_the_native_layer_calls_unknown_is_an_own_end(
    server: StageServer,
) -> None:
    """Seen on a real server: the event comes first, with no reason, then Python's own."""
    with Guarded() as guarded:
        for _ in range(4):
            room = await connect(server)
            leaving = asyncio.ensure_future(room.disconnect())
            await asyncio.sleep(0)
            room.emit("disconnected", Reason.UNKNOWN_REASON)
            await leaving
    assert guarded.redials() == ["observed"] * 3
    assert guarded.recorder.count("runguard.room.disconnects", reason="unknown") == 0


async def test_a_room_that_is_deleted_while_it_is_left_was_left(server: StageServer) -> None:
    with Guarded() as guarded:
        for _ in range(4):
            room = await connect(server)
            leaving = asyncio.ensure_future(room.disconnect())
            await asyncio.sleep(0)
            room.emit("disconnected", Reason.ROOM_DELETED)
            await leaving
    assert guarded.reconnects() == []


async def test_a_connection_kicked_while_it_is_left_was_kicked(server: StageServer) -> None:
    with Guarded() as guarded:
        for _ in range(3):
            room = await connect(server)
            leaving = asyncio.ensure_future(room.disconnect())
            await asyncio.sleep(0)
            room.emit("disconnected", Reason.DUPLICATE_IDENTITY)
            room._connection_state = room_pb2.ConnectionState.CONN_DISCONNECTED
            await leaving
    assert guarded.reconnects() == ["allowed"] * 2


async def test_the_next_connect_may_come_while_the_room_is_being_left(server: StageServer) -> None:
    with Guarded() as guarded:
        before = await connect(server)
        for _ in range(4):
            leaving = asyncio.ensure_future(before.disconnect())
            await asyncio.sleep(0)
            before = await connect(server)
            await leaving
    assert guarded.redials() == ["observed"] * 4
    assert guarded.reconnects() == []


async def test_leaving_an_earlier_connection_is_not_the_end_of_the_latest(
    server: StageServer,
) -> None:
    """Mutant: any own end makes the next connect a redial, whichever connection it ended."""
    with Guarded() as guarded:
        rooms = [await connect(server), await connect(server)]
        await rooms[0].disconnect()
        await connect(server)
    assert guarded.reconnects() == ["allowed"] * 2
    assert guarded.redials() == []


async def test_a_failed_connect_after_an_own_end_makes_the_next_one_a_reconnect(
    server: StageServer,
) -> None:
    with Guarded() as guarded:
        await (await connect(server)).disconnect()
        server.refuse_connects("busy", "busy")
        for _ in range(2):
            with pytest.raises(rtc.ConnectError):
                await connect(server)
        await connect(server)
    assert guarded.redials() == ["observed"]
    assert guarded.reconnects() == ["allowed"] * 2


async def test_a_room_that_the_application_deletes_itself_was_wanted_to_end(
    server: StageServer,
) -> None:
    """A colleague's voicemail: the session closes and deletes its room, the next one is dialled.

    Mutant: no row on ``RoomService.delete_room`` (three reconnects, a trip).
    """
    service: Any = object.__new__(RoomService)

    async def asked(*_: Any, **__: Any) -> api.DeleteRoomResponse:
        return api.DeleteRoomResponse()

    service._client = SimpleNamespace(request=asked)
    service._auth_header = lambda *_: {}
    with Guarded() as guarded:
        for _ in range(5):
            room = await connect(server)
            await service.delete_room(api.DeleteRoomRequest(room="lobby"))
            await lose(server, room, Reason.ROOM_DELETED)
        assert guarded.redials() == ["observed"] * 4
        assert guarded.reconnects() == []
        await service.delete_room(api.DeleteRoomRequest(room="another"))
        room = await connect(server)
        await lose(server, room, Reason.ROOM_DELETED)
        await connect(server)
        assert guarded.reconnects() == ["allowed"], "somebody else deleted it"


async def test_the_host_leaving_at_the_end_of_a_job_is_no_reconnect_of_the_next(
    server: StageServer,
) -> None:
    """Jobs as threads, one room, a fixed identity: back-to-back calls, a job for each."""
    with Guarded() as guarded:
        for _ in range(5):
            room = rtc.Room()
            await room.connect(URL, server.token("lobby", "agent"))
            await room.disconnect()  # as LiveKit does when a job ends
            await room.disconnect()  # and as careful applications do once more
    assert guarded.reconnects() == []
    assert guarded.recorder.trips == []
