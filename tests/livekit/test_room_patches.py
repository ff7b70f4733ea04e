"""The patched connect and emit: the host's own behaviour, our own failures, keys and reasons."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Iterator
from typing import Any
from unittest import mock

import pytest
from livekit import api, rtc

from runguard_otel.adapters.livekit.facts.room import RoomKey, reason_name, room_key
from runguard_otel.adapters.livekit.reconnect import guard
from runguard_otel.errors import LoopDetectedError, ReconnectLoopError
from runguard_otel.telemetry.catalogue import DISCONNECT_REASONS
from runguard_otel.testing.ffi import StageServer
from tests.kit.room_guard import URL, Guarded, Reason, connect

pytestmark = pytest.mark.livekit


@pytest.fixture
def server() -> Iterator[StageServer]:
    """Nobody is in it: the same room object joins again and again."""
    with StageServer() as stage:
        yield stage


@pytest.mark.parametrize("token", ["not.a.token", "", "eyJhbGciOiJub25lIn0.W10.x"])
async def test_a_token_that_cannot_be_read_is_livekits_own_error_until_it_is_a_loop(
    server: StageServer, token: str
) -> None:
    """Mutant: no key for such a token (five errors of LiveKit's, no trip)."""
    errors: list[rtc.ConnectError] = []
    with Guarded() as guarded:
        for _ in range(5):
            with pytest.raises(rtc.ConnectError) as error:
                await rtc.Room().connect(URL, token)
            errors.append(error.value)
        with pytest.raises(rtc.ConnectError) as error:
            await rtc.Room().connect(URL, f"{token}!")
        assert not isinstance(error.value, LoopDetectedError), "another token is another key"
    assert [isinstance(e, LoopDetectedError) for e in errors] == [False] * 3 + [True] * 2
    (trip,) = guarded.recorder.trips
    assert "token" in trip.reason
    assert trip.key == "?", "a token is a secret"
    assert guarded.recorder.count("runguard.room.connects", connect="failed") == 4


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
        mock.patch.object(guard, "room_key", side_effect=TypeError("ours")),
        mock.patch.object(guard, "reason_name", side_effect=TypeError("ours")),
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


@pytest.mark.parametrize("url", ["wss://[", "", None, 7])
def test_a_url_that_is_none_is_a_key_all_the_same(url: Any) -> None:
    token = StageServer.token("lobby", "agent")
    assert room_key(url, token).room == "lobby"
    assert room_key(url, token).identity == "agent"


def test_a_token_without_a_room_groups_by_server_and_identity() -> None:
    token = api.AccessToken("k", "s" * 32).with_identity("agent").to_jwt()
    assert room_key("wss://a.example", token) == RoomKey("a.example", "?", "agent")
