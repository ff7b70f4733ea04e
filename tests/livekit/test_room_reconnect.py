"""Real rtc.Room objects over a played native layer, with the reconnect guard installed."""

from __future__ import annotations

import asyncio
import pickle
import socket
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
from livekit import api, rtc

from runguard_otel.adapters.agents_v1 import room as room_adapter
from runguard_otel.adapters.agents_v1.open_periods import OpenPeriods
from runguard_otel.adapters.agents_v1.room import ReconnectLoopError
from runguard_otel.adapters.agents_v1.room_events import Connection
from runguard_otel.adapters.agents_v1.room_key import RoomKey, reason_name, room_key
from runguard_otel.adapters.agents_v1.services import Services
from runguard_otel.adapters.patching import PatchSet
from runguard_otel.demo.stage.ffi import StageServer
from runguard_otel.errors import LoopDetectedError
from runguard_otel.settings import Settings
from runguard_otel.telemetry.catalogue import DISCONNECT_REASONS
from tests.kit.recorder import MemoryRecorder

pytestmark = pytest.mark.livekit

URL = "wss://stage.example"
Reason = rtc.DisconnectReason


class Guarded:
    """The guard installed, with what it recorded."""

    def __init__(self, tolerant: bool = False, **settings: Any) -> None:
        self.recorder = MemoryRecorder(tolerant=tolerant)
        self.services = Services(Settings.load(**settings), self.recorder)
        self.patches = PatchSet(room_adapter.patches(self.services))

    def __enter__(self) -> Guarded:
        self.patches.install()
        return self

    def __exit__(self, *_: object) -> None:
        self.patches.undo()
        self.services.close()

    def reconnects(self) -> list[str]:
        return [str(e.outcome) for e in self.recorder.events if e.signature == "room_reconnect"]


@pytest.fixture
def server() -> Iterator[StageServer]:
    with StageServer() as stage:
        yield stage


async def connect(server: StageServer, room: str = "lobby", identity: str = "agent") -> rtc.Room:
    made = rtc.Room()
    await made.connect(URL, server.token(room, identity))
    return made


async def test_the_third_reconnect_is_refused_as_a_connect_error_without_a_request(
    server: StageServer,
) -> None:
    with Guarded() as guarded:
        for _ in range(3):
            await (await connect(server)).disconnect()
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
    assert [e.detail for e in trip.evidence] == ["client_initiated"] * 3
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


async def test_a_quiet_window_rearms_the_guard_and_closes_the_gauge(server: StageServer) -> None:
    with Guarded(room_reconnect_window_seconds=0.2) as guarded:
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
    periods = OpenPeriods(recorder, "room_reconnect")
    quiet = [60.0, 60.0]
    periods.opened(lambda: quiet[0])
    periods.opened(lambda: quiet[1])
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


class Job:
    """As much of a JobContext as the guard looks at."""

    def __init__(self, room: rtc.Room, fake: bool = False) -> None:
        self.room = room
        self.job = SimpleNamespace(id="AJ_1")
        self.asked: list[str] = []
        self._fake = fake

    def is_fake_job(self) -> bool:
        return self._fake

    def shutdown(self, reason: str = "") -> None:
        self.asked.append(reason)

    def delete_room(self, name: str) -> None:
        self.asked.append(f"delete {name}")


async def loop_in_job(server: StageServer, job: Job, room: rtc.Room) -> int:
    refused = 0
    with mock.patch.object(room_adapter, "current_job", lambda: job):
        for _ in range(6):
            try:
                await room.connect(URL, server.token("lobby", "agent"))
                await room.disconnect()
            except ReconnectLoopError:
                refused += 1
    return refused


async def test_a_loop_on_the_jobs_own_room_asks_the_job_to_shut_down_once(
    server: StageServer,
) -> None:
    with Guarded() as guarded:
        job = Job(rtc.Room())
        assert await loop_in_job(server, job, job.room) == 3
    assert job.asked == ["runguard: room reconnect loop"]
    assert [(t.action, t.subject.job_id) for t in guarded.recorder.trips] == [
        ("shutdown_job", "AJ_1")
    ]


async def test_a_loop_on_another_room_leaves_the_job_alone(server: StageServer) -> None:
    with Guarded():
        job = Job(rtc.Room())
        assert await loop_in_job(server, job, rtc.Room()) == 3
    assert job.asked == []


async def test_deleting_the_room_is_an_option_and_happens_once(server: StageServer) -> None:
    with Guarded(room_reconnect_delete_room=True) as guarded:
        job = Job(rtc.Room())
        await loop_in_job(server, job, rtc.Room())
    assert job.asked == ["delete lobby"]
    assert guarded.recorder.trips[0].action == "delete_room"


async def test_observe_mode_never_touches_the_job(server: StageServer) -> None:
    with Guarded(mode="observe", room_reconnect_delete_room=True):
        job = Job(rtc.Room())
        assert await loop_in_job(server, job, job.room) == 0
    assert job.asked == []


async def test_must_not_fire_fake_jobs_are_not_looked_at(server: StageServer) -> None:
    with Guarded() as guarded:
        job = Job(rtc.Room(), fake=True)
        assert await loop_in_job(server, job, job.room) == 0
    assert guarded.recorder.events == []
    assert guarded.recorder.count("runguard.room.connects") == 0


async def test_must_not_fire_the_console_room_of_livekit_still_works_as_a_mock() -> None:
    with Guarded() as guarded:
        room = mock.create_autospec(rtc.Room, instance=True)  # as livekit-agents makes it
        for _ in range(6):
            await room.connect("ws://x", "y")
    assert guarded.recorder.events == []


async def test_a_token_that_cannot_be_read_passes_through_to_livekits_own_error(
    server: StageServer,
) -> None:
    with Guarded() as guarded:
        for _ in range(5):
            with pytest.raises(rtc.ConnectError) as error:
                await rtc.Room().connect(URL, "not.a.token")
            assert not isinstance(error.value, LoopDetectedError)
    assert guarded.recorder.trips == []
    assert guarded.recorder.count("runguard.room.connects", connect="failed") == 5


async def test_cancelling_a_connect_passes_and_is_counted_as_failed(server: StageServer) -> None:
    with Guarded() as guarded, mock.patch.object(server, "request", side_effect=server_hangs):
        task = asyncio.create_task(connect(server))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert guarded.recorder.count("runguard.room.connects", connect="failed") == 1


def server_hangs(request: Any) -> Any:
    from livekit.rtc._proto import ffi_pb2

    response = ffi_pb2.FfiResponse()
    response.connect.async_id = 1
    return response


async def test_a_failure_of_our_own_is_counted_and_the_connect_goes_through(
    server: StageServer,
) -> None:
    with (
        Guarded(tolerant=True) as guarded,
        mock.patch.object(room_adapter, "room_key", side_effect=TypeError("ours")),
        mock.patch.object(room_adapter, "reason_name", side_effect=TypeError("ours")),
    ):
        heard: list[int] = []
        for _ in range(6):
            room = rtc.Room()
            room.on("disconnected", heard.append)
            await room.connect(URL, server.token("lobby", "agent"))
            await room.disconnect()
    assert len(heard) == 6
    assert {where for where, _ in guarded.recorder.errors} == {"Room.connect", "Room.emit"}


async def test_a_handlers_type_error_leaves_emit_as_it_does_without_us(server: StageServer) -> None:
    def broken(_: int) -> None:
        raise TypeError("theirs")

    with Guarded():
        room = rtc.Room()
        room.on("disconnected", broken)
        with pytest.raises(TypeError, match="theirs"):
            room.emit("disconnected", 1)


def test_undoing_restores_room_exactly() -> None:
    before = dict(vars(rtc.Room))
    with Guarded():
        assert dict(vars(rtc.Room)) != before
    assert dict(vars(rtc.Room)) == before


def test_the_error_survives_a_process_boundary() -> None:
    again = pickle.loads(pickle.dumps(ReconnectLoopError("no", trip=None)))
    assert (type(again), again.message) == (ReconnectLoopError, "no")


def test_every_reason_of_livekit_is_a_word_of_the_catalogue() -> None:
    assert {reason_name(number) for number in Reason.values()} <= set(DISCONNECT_REASONS)
    assert reason_name(9999) == "unknown"


def test_keys_ignore_scheme_case_and_path_of_the_server() -> None:
    token = StageServer.token("lobby", "agent")
    keys = {
        room_key(u, token) for u in ("wss://A.example", "https://a.example/", "wss://a.example")
    }
    assert len(keys) == 1


def test_a_token_without_a_room_groups_by_server_and_identity() -> None:
    token = api.AccessToken("k", "s" * 32).with_identity("agent").to_jwt()
    assert room_key("wss://a.example", token) == RoomKey("a.example", "?", "agent")
