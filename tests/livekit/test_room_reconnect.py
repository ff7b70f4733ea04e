"""Real rtc.Room objects over a played native layer: what is a loop, and what is none."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator

import pytest
from livekit import rtc

from runguard_otel.adapters.livekit.open_periods import OpenPeriods
from runguard_otel.adapters.livekit.reconnect.outages import Connection
from runguard_otel.core.signatures import GuardName
from runguard_otel.core.verdict import Mode, Subject, Trip
from runguard_otel.errors import LoopDetectedError, ReconnectLoopError
from runguard_otel.testing.ffi import StageServer
from tests.kit.recorder import MemoryRecorder
from tests.kit.room_guard import Guarded, Reason, connect, lose

pytestmark = pytest.mark.livekit

TRIP = Trip(
    guard=GuardName.ROOM_RECONNECT,
    signature="room_reconnect",
    subject=Subject(room="lobby"),
    count=3,
    window_seconds=60,
    threshold=3,
    mode=Mode.OBSERVE,
    action="none",
)


@pytest.fixture
def server() -> Iterator[StageServer]:
    """Nobody is in it: the same room object joins again and again."""
    with StageServer() as stage:
        yield stage


async def test_the_third_reconnect_is_refused_as_a_connect_error_without_a_request(
    server: StageServer,
) -> None:
    with Guarded() as guarded:
        for _ in range(3):
            await lose(server, await connect(server))
        requests = list(server.requests)
        with pytest.raises(rtc.ConnectError) as error:
            await connect(server)
        assert server.requests == requests
    assert isinstance(error.value, LoopDetectedError)
    assert "connect refused" in error.value.message
    trip = error.value.trip
    assert trip is not None
    assert trip is guarded.recorder.trips[0]
    assert trip.signature_with_key == "room_reconnect:lobby"
    assert (trip.action, trip.count) == ("refuse_connect", 3)
    assert [e.detail for e in trip.evidence] == ["signal_close"] * 3
    assert "lost" in trip.reason, "why, and what to do"
    assert trip.reason in error.value.message
    assert guarded.reconnects() == ["allowed", "allowed", "refused"]
    assert guarded.recorder.count("runguard.room.connects", connect="ok") == 3
    assert guarded.recorder.count("runguard.room.connects", connect="refused") == 1
    assert "lobby" not in str(error.value), "no names in messages that end up in logs"


async def test_uninstrumented_livekit_lets_every_reconnect_through(server: StageServer) -> None:
    for _ in range(10):
        await (await connect(server)).disconnect()
    assert len(server.connects) == 10


async def test_refused_attempts_share_one_trip_and_one_open_guard(server: StageServer) -> None:
    with Guarded() as guarded:
        for _ in range(3):
            await connect(server)
        trips = set()
        for _ in range(5):
            with pytest.raises(ReconnectLoopError) as error:
                await connect(server)
            trips.add(id(error.value.trip))
        assert len(trips) == len(guarded.recorder.trips) == 1
        assert guarded.recorder.open_guards == {"room_reconnect": 1}
    assert guarded.recorder.open_guards == {"room_reconnect": 0}, "uninstrument closes the gauge"


async def test_must_not_lock_out_who_retries_with_a_pause_after_a_short_outage(
    server: StageServer,
) -> None:
    """His pauses are shorter than the window, so there is never a quiet one."""
    with Guarded(room_reconnect_window_seconds=1.0) as guarded:
        for _ in range(3):
            await connect(server)
        refused = 0
        for _ in range(100):
            try:
                await connect(server)
                break
            except ReconnectLoopError:
                refused += 1
            await asyncio.sleep(0.1)
        assert 2 <= refused < 100
        assert guarded.reconnects() == ["allowed", "allowed", *["refused"] * refused, "allowed"]
        assert len(guarded.recorder.trips) == 1


async def test_a_quiet_window_rearms_the_guard_and_closes_the_gauge(server: StageServer) -> None:
    with Guarded(room_reconnect_window_seconds=1.0) as guarded:
        for _ in range(3):
            await connect(server)
        with pytest.raises(ReconnectLoopError):
            await connect(server)
        for _ in range(500):
            if not guarded.recorder.open_guards["room_reconnect"]:
                break
            await asyncio.sleep(0.02)
        assert guarded.recorder.open_guards == {"room_reconnect": 0}
        await connect(server)
        assert len(server.connects) == 4


def test_the_gauge_is_right_again_even_if_the_loop_of_the_trip_is_gone() -> None:
    recorder = MemoryRecorder()
    periods = OpenPeriods(recorder)
    quiet = [60.0, 60.0]
    periods.opened(TRIP, lambda: quiet[0])
    periods.opened(TRIP, lambda: quiet[1])
    periods.sweep()
    assert recorder.open_guards == {"room_reconnect": 2}
    quiet[0] = 0
    periods.sweep()
    periods.sweep()
    assert recorder.open_guards == {"room_reconnect": 1}
    periods.close()
    periods.close()
    assert recorder.open_guards == {"room_reconnect": 0}


async def test_must_not_fire_the_sdks_own_retries_are_one_connect() -> None:
    """The real native library, which tries a closed port four times before it gives up."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with Guarded() as guarded, pytest.raises(rtc.ConnectError):
        await rtc.Room().connect(f"ws://127.0.0.1:{port}", StageServer.token("lobby", "agent"))
    assert guarded.recorder.events == []
    assert guarded.recorder.count("runguard.room.connects") == 1


async def test_connects_that_fail_are_counted_with_their_reason(server: StageServer) -> None:
    server.refuse_connects("no route", "no route", "no route")
    with Guarded() as guarded:
        for _ in range(3):
            with pytest.raises(rtc.ConnectError) as error:
                await connect(server)
            assert not isinstance(error.value, LoopDetectedError)
            assert error.value.message == "no route"
        with pytest.raises(ReconnectLoopError):
            await connect(server)
    assert guarded.recorder.count("runguard.room.connects", connect="failed") == 3
    assert [e.detail for e in guarded.recorder.trips[0].evidence] == ["join_failure"] * 3


async def test_must_not_fire_other_identities_rooms_and_servers_have_counts_of_their_own(
    server: StageServer,
) -> None:
    with Guarded() as guarded:
        for i in range(6):
            await connect(server, identity=f"agent-{i}")
            await connect(server, room=f"lobby-{i}")
            await rtc.Room().connect(f"wss://stage-{i}", server.token("lobby", "agent-0"))
    assert guarded.recorder.trips == []


async def test_must_not_fire_a_burst_of_ten_sdk_reconnect_attempts_is_one_episode(
    server: StageServer,
) -> None:
    with Guarded() as guarded:
        room = await connect(server)
        for _ in range(10):
            server.reconnecting("lobby")
            server.reconnected("lobby")
        await server.settle()
        assert room.isconnected()
    assert not guarded.recorder.events
    assert not guarded.recorder.trips
    assert guarded.recorder.count("runguard.room.reconnect_episodes", episode="recovered") == 1


async def test_must_not_fire_server_migration_is_neither_a_reconnect_nor_a_loss(
    server: StageServer,
) -> None:
    with Guarded() as guarded:
        await connect(server)
        server.reconnecting("lobby")
        server.drop("lobby", Reason.MIGRATION)
        await server.settle()
    assert guarded.recorder.count("runguard.room.disconnects", reason="migration") == 1
    assert guarded.recorder.count("runguard.room.reconnect_episodes") == 0
    assert not guarded.recorder.events
    assert not guarded.recorder.trips


async def test_an_outage_that_ends_the_connection_is_a_lost_episode(server: StageServer) -> None:
    with Guarded() as guarded:
        await connect(server)
        server.reconnecting("lobby")
        server.drop("lobby", Reason.SIGNAL_CLOSE)
        await server.settle()
    assert guarded.recorder.count("runguard.room.reconnect_episodes", episode="lost") == 1
    assert guarded.recorder.count("runguard.room.disconnects", reason="signal_close") == 1


def test_outages_apart_by_more_than_the_stable_time_are_two_episodes() -> None:
    now = [0.0]
    recorder = MemoryRecorder()
    connection = Connection(recorder, lambda: now[0])
    for _ in range(2):
        connection.reconnecting()
        connection.reconnecting()
        connection.reconnected()
        connection.reconnected()
        now[0] += 10
    assert recorder.count("runguard.room.reconnect_episodes", episode="recovered") == 2


async def test_must_not_fire_a_deploy_drain_leaves_every_room_once(server: StageServer) -> None:
    with Guarded() as guarded:
        for i in range(20):
            await connect(server, room=f"call-{i}")
        for i in range(20):
            server.drop(f"call-{i}", Reason.SERVER_SHUTDOWN)
        await server.settle()
    assert guarded.recorder.trips == []
    assert guarded.recorder.count("runguard.room.disconnects", reason="server_shutdown") == 20


async def test_observe_mode_reports_the_same_trip_and_refuses_nothing(server: StageServer) -> None:
    with Guarded(mode="observe") as guarded:
        for _ in range(6):
            await connect(server)
    assert len(server.connects) == 6
    assert guarded.reconnects() == ["observed"] * 5
    assert [(t.action, t.count) for t in guarded.recorder.trips] == [("none", 3)]


async def test_mode_off_counts_connects_and_nothing_else(server: StageServer) -> None:
    with Guarded(room_reconnect_mode="off") as guarded:
        for _ in range(6):
            await connect(server)
    assert not guarded.recorder.events
    assert not guarded.recorder.trips
    assert guarded.recorder.count("runguard.room.connects", connect="ok") == 6
