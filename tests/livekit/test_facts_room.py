"""What ``facts/room.py`` says of rooms, people and tracks, asked of real ones without a server."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from livekit import rtc
from livekit.protocol.models import ParticipantInfo
from livekit.protocol.room import ListParticipantsResponse

from runguard_otel.adapters.livekit.facts import room as facts
from runguard_otel.testing.ffi import StageServer
from tests.kit.facts import since

pytestmark = pytest.mark.livekit

Reason = rtc.DisconnectReason


@pytest.fixture
def heard(room: rtc.Room) -> list[tuple[Any, ...]]:
    """Track, publication and participant of every ``track_subscribed``."""
    found: list[tuple[Any, ...]] = []
    room.on("track_subscribed", lambda *args: found.append(args))
    return found


def test_a_connect_is_known_by_server_room_and_identity() -> None:
    token = StageServer.token("lobby", "agent")
    here = facts.RoomKey("here.example", "lobby", "agent")
    assert facts.room_key("wss://Here.example/", token) == here
    unread = facts.room_key("wss://here.example", "no token")
    assert unread.room == "?" and "no token" not in unread.identity
    assert unread != facts.room_key("wss://here.example", "another")


def test_every_reason_that_the_sdk_knows_is_a_word() -> None:
    known = {facts.reason_name(number) for number in Reason.values()}
    assert {"client_initiated", "signal_close", "unknown"} <= known
    assert facts.reason_name(10_000) == "unknown"


async def test_who_is_there_and_what_is_heard(
    server: StageServer, room: rtc.Room, heard: list[tuple[Any, ...]]
) -> None:
    """Alice is a caller; an agent, and who publishes for one, are not."""
    await server.settle()
    assert facts.room_name(room) == "lobby"
    assert facts.own_identity(room) == "agent"
    assert [c.identity for c in facts.callers(room)] == ["alice"]
    assert not facts.hears_caller(room), "she has no microphone yet"
    server.publish("lobby", "alice")
    await server.settle()
    assert facts.hears_caller(room)
    (_, publication, alice) = heard[0]
    origin = facts.track_origin(room, publication, alice)
    assert origin == ("lobby", "agent", "alice", "microphone")
    assert not facts.carries_no_audio(publication, origin)
    alice._info.attributes["lk.publish_on_behalf"] = "agent"
    assert facts.callers(room) == []
    alice._info.attributes.clear()
    alice._info.kind = rtc.ParticipantKind.PARTICIPANT_KIND_AGENT
    assert facts.callers(room) == []


async def test_a_camera_carries_no_audio(
    server: StageServer, room: rtc.Room, heard: list[tuple[Any, ...]]
) -> None:
    server.publish("lobby", "alice", rtc.TrackSource.SOURCE_CAMERA)
    await server.settle()
    (_, publication, alice) = heard[0]
    origin = facts.track_origin(room, publication, alice)
    assert origin.source == "camera"
    assert facts.carries_no_audio(publication, origin)
    unnamed = origin._replace(source="unknown")
    assert facts.carries_no_audio(publication, unnamed), "the kind says it as well"


@pytest.mark.parametrize(
    ("event", "end"),
    [
        ("track_unsubscribed", lambda s, sid: s.unpublish(sid)),
        ("participant_disconnected", lambda s, sid: s.leave("lobby", "alice")),
        ("disconnected", lambda s, sid: s.drop("lobby")),
    ],
)
async def test_each_end_of_a_track_is_an_end_of_that_track_only(
    event: str,
    end: Any,
    server: StageServer,
    room: rtc.Room,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    emitted: list[tuple[str, tuple[Any, ...]]] = []
    emit = rtc.Room.emit

    def listen(self: Any, name: Any, *args: Any) -> None:
        emitted.append((name, args))
        emit(self, name, *args)

    monkeypatch.setattr(rtc.Room, "emit", listen)
    sid = server.publish("lobby", "alice")
    await server.settle()
    end(server, sid)
    await server.settle()
    (args,) = [args for name, args in emitted if name == event]
    assert event in facts.TRACK_ENDS
    assert facts.ends_track(event, args, sid, "alice")
    others = facts.ends_track(event, args, "TR_other", "bob")
    assert others == (event == "disconnected"), "a room that is left ends every track"


async def test_a_participant_who_was_lost_did_not_hang_up(
    server: StageServer, room: rtc.Room
) -> None:
    (alice,) = facts.callers(room)
    assert not facts.left_unwillingly(alice), "she is there"
    if not hasattr(type(alice), "disconnect_reason"):
        return  # before rtc 1.0 she does not say
    for reason, lost in ((Reason.SIGNAL_CLOSE, True), (Reason.CLIENT_INITIATED, False)):
        alice._info.disconnect_reason = reason
        assert facts.left_unwillingly(alice) == lost


async def test_an_unconnected_room_is_itself_only() -> None:
    one, other = rtc.Room(), rtc.Room()
    assert facts.own_identity(one) == ""
    assert facts.room_name(one) != facts.room_name(other)


async def test_what_an_audio_stream_reads_and_whether_it_still_does(
    server: StageServer, room: rtc.Room, heard: list[tuple[Any, ...]]
) -> None:
    sid = server.publish("lobby", "alice")
    await server.settle()
    stream = rtc.AudioStream(heard[0][0])
    assert facts.heard_track(stream) == sid
    assert facts.is_read(stream)
    server.unpublish(sid)
    await server.settle()
    assert not facts.is_read(stream)
    await stream.aclose()
    assert facts.heard_track(object()) == "" and not facts.is_read(object())


async def test_the_server_lists_people(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LIVEKIT_URL", raising=False)
    with pytest.raises(ValueError):
        facts.own_api()
    for name in ("LIVEKIT_URL", "LIVEKIT_API_KEY", "LIVEKIT_API_SECRET"):
        monkeypatch.setenv(name, "wss://stage" if name.endswith("URL") else "x" * 32)
    api, asked = facts.own_api(), list[str]()

    async def listed(request: Any) -> ListParticipantsResponse:
        asked.append(request.room)
        alice = ParticipantInfo(sid="PA_1", identity="alice", attributes={"a": "b"})
        return ListParticipantsResponse(participants=[alice])

    monkeypatch.setattr(api.room, "list_participants", listed)
    assert await facts.people(api, "lobby") == [("PA_1", "alice", {"a": "b"})]
    assert asked == ["lobby"]
    await api.aclose()


def test_a_stay_is_marked_without_a_name() -> None:
    mark = facts.serving_mark("PA_1", "alice")
    assert mark.startswith("PA_1:") and "alice" not in mark
    assert mark.partition(":")[2] == facts.serving_mark("PA_2", "alice").partition(":")[2]


async def test_whose_leaving_ends_a_session(room: rtc.Room) -> None:
    """Fails if the options have another name: then no leaving would end a session."""
    if not since(1, 0):
        return  # 0.12 has no RoomIO
    from livekit.agents import AgentSession, RoomInputOptions
    from livekit.agents.voice.room_io import RoomIO

    (alice,) = facts.callers(room)
    options: Any = RoomInputOptions
    known = "close_on_disconnect" in inspect.signature(options).parameters
    assert known == since(1, 1)
    for closes in (True, False):
        asked = {"close_on_disconnect": closes} if known else {}
        room_io: Any = RoomIO(AgentSession(), room, input_options=options(**asked))
        room_io._participant_available_fut.set_result(alice)
        assert room_io.linked_participant is alice
        assert facts.whose_leaving_ends_it(room_io) is (alice if closes and known else None)
