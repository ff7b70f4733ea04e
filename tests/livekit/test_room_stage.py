"""The stand-in for the native layer behaves as livekit.rtc expects, and restores all of it."""

from __future__ import annotations

import importlib

import pytest
from livekit import rtc

from runguard_otel.testing.ffi import StageServer

pytestmark = pytest.mark.livekit


async def test_a_real_room_connects_sees_people_tracks_audio_and_leaves() -> None:
    seen: list[tuple[str, str]] = []
    with StageServer() as server:
        server.join("lobby", "alice")
        room = rtc.Room()
        tracks: list[rtc.RemoteTrack] = []

        @room.on("track_subscribed")
        def subscribed(
            track: rtc.RemoteTrack,
            publication: rtc.RemoteTrackPublication,
            participant: rtc.RemoteParticipant,
        ) -> None:
            tracks.append(track)
            seen.append((participant.identity, publication.sid))

        left: list[int] = []
        room.on("disconnected", lambda reason: left.append(reason))
        await room.connect("wss://stage", server.token("lobby", "agent"))
        assert list(room.remote_participants) == ["alice"]
        sid = server.publish("lobby", "alice")
        await server.settle()
        assert seen == [("alice", sid)]
        audio = rtc.AudioStream(tracks[0], sample_rate=16000)
        frame = rtc.AudioFrame.create(16000, 1, 160)
        frame.data[0] = 7
        server.push_audio(sid, frame)
        server.unpublish(sid)
        heard = [event.frame.data[0] async for event in audio]
        await audio.aclose()
        await room.disconnect()
        assert (heard, left) == ([7], [rtc.DisconnectReason.CLIENT_INITIATED])
        assert server.requests.count("connect") == 1


async def test_a_refused_connect_is_a_connect_error() -> None:
    with StageServer() as server:
        server.refuse_connects("not today")
        with pytest.raises(rtc.ConnectError) as error:
            await rtc.Room().connect("wss://stage", server.token("lobby", "agent"))
        assert error.value.message == "not today"


async def test_the_server_can_end_a_connection_with_a_reason() -> None:
    with StageServer() as server:
        room = rtc.Room()
        events: list[object] = []
        for name in ("reconnecting", "reconnected"):
            room.on(name, lambda name=name: events.append(name))
        room.on("disconnected", lambda reason: events.append(reason))
        await room.connect("wss://stage", server.token("lobby", "agent"))
        server.reconnecting("lobby")
        server.reconnected("lobby")
        server.drop("lobby", rtc.DisconnectReason.ROOM_DELETED)
        await server.settle()
        assert events == ["reconnecting", "reconnected", rtc.DisconnectReason.ROOM_DELETED]
        assert not room.isconnected()


def test_leaving_the_stage_restores_the_native_layer() -> None:
    names = ("room", "participant", "track", "track_publication", "audio_stream", "audio_frame")
    modules = [importlib.import_module(f"livekit.rtc.{name}") for name in names]
    before = [(vars(m).get("FfiClient"), vars(m).get("FfiHandle")) for m in modules]
    with StageServer():
        assert before != [(vars(m).get("FfiClient"), vars(m).get("FfiHandle")) for m in modules]
    assert before == [(vars(m).get("FfiClient"), vars(m).get("FfiHandle")) for m in modules]
