"""Real ``rtc.Room`` objects without a LiveKit server: the native layer is played by Python.

Only the modules that talk to rooms, tracks and audio streams get the stand-in; the resampler and
everything else native stays real. What the stand-in sends are the same protobuf messages that the
native library sends, so ``Room`` runs its own code for every connect, event and frame.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import importlib
import itertools
from types import TracebackType
from typing import Any, Final

import jwt
from livekit import api, rtc
from livekit.rtc._ffi_client import FfiQueue
from livekit.rtc._proto import ffi_pb2, room_pb2

from runguard_otel.testing import ffi_wire as wire
from runguard_otel.testing.ffi_wire import Connect, StageTrack

__all__ = ["Connect", "StageServer"]

_MODULES: Final = ("room", "participant", "track", "track_publication", "audio_stream")
_HANDLES_ONLY: Final = ("audio_frame",)


class StageServer:
    """A LiveKit server and its native client library, as far as agents notice them.

    A context manager: it takes the native layer's place on enter and restores it on exit. Whatever
    it sends arrives through the event loop, as from the native library; ``await settle()`` lets it.
    """

    KEY: Final = "stage"
    SECRET: Final = "stage-secret-stage-secret-stage-secret"  # opens nothing but this stage

    def __init__(self) -> None:
        self.requests: list[str] = []
        """Names of all requests that reached the native layer, in order."""
        self.connects: list[Connect] = []
        """The connect requests among them."""
        self.queue: FfiQueue[ffi_pb2.FfiEvent] = FfiQueue()
        self._ids = itertools.count(1)
        self._refusals: list[str] = []
        self._rooms: dict[int, Connect] = {}
        self._people: dict[str, dict[str, int]] = {}
        self._tracks: dict[str, StageTrack] = {}
        self._streams: set[int] = set()
        self._buffers: list[Any] = []
        self._undo: list[tuple[Any, str, Any]] = []

    def __enter__(self) -> StageServer:
        client = type("StageClient", (), {"instance": self})
        server = self

        class StageHandle:
            """A native handle; dropping an audio stream's handle ends the stream."""

            def __init__(self, handle: int) -> None:
                self.handle = handle
                self.disposed = False

            def dispose(self) -> None:
                self.disposed = True
                server._end_stream(self.handle)

            def mark_consumed(self) -> None:
                self.disposed = True

        for name in (*_MODULES, *_HANDLES_ONLY):
            module = importlib.import_module(f"livekit.rtc.{name}")
            if name in _MODULES:
                self._replace(module, "FfiClient", client)
            self._replace(module, "FfiHandle", StageHandle)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # A Room or AudioStream that is collected later would unsubscribe from the real native
        # library, and load it for that. Both read FfiClient from their module when they die.
        for thing in gc.get_objects():
            if type(thing) is rtc.Room and thing._ffi_handle is not None:
                thing._ffi_handle = None
        while self._undo:
            module, name, value = self._undo.pop()
            setattr(module, name, value)

    def _replace(self, module: Any, name: str, value: Any) -> None:
        if hasattr(module, name):
            self._undo.append((module, name, getattr(module, name)))
            setattr(module, name, value)

    # What the tests and the demonstration do to the room

    @staticmethod
    def token(room: str, identity: str) -> str:
        """A join token of ``identity`` for ``room``, signed with a key that opens nothing."""
        grants = api.VideoGrants(room_join=True, room=room, agent=True)
        token = api.AccessToken(StageServer.KEY, StageServer.SECRET)
        return token.with_identity(identity).with_grants(grants).to_jwt()

    def refuse_connects(self, *messages: str) -> None:
        """Let the next connects fail, each with one of ``messages``."""
        self._refusals.extend(messages)

    def join(self, room: str, identity: str) -> None:
        """A participant enters; everybody connected is told."""
        handle = self._people.setdefault(room, {})[identity] = next(self._ids)
        event = room_pb2.RoomEvent()
        wire.fill_person(event.participant_connected.info, identity, handle)
        self._tell(room, event)

    def leave(self, room: str, identity: str) -> None:
        """A participant leaves, and its tracks with it."""
        for track in [t for t in self._tracks.values() if (t.room, t.identity) == (room, identity)]:
            self.unpublish(track.sid)
        del self._people[room][identity]
        event = room_pb2.RoomEvent()
        event.participant_disconnected.participant_identity = identity
        self._tell(room, event)

    def publish(
        self,
        room: str,
        identity: str,
        source: rtc.TrackSource.ValueType = rtc.TrackSource.SOURCE_MICROPHONE,
    ) -> str:
        """A participant publishes a track, everybody connected is subscribed; returns the sid."""
        number = next(self._ids)
        track = StageTrack(f"TR_{number}", room, identity, source, number)
        self._tracks[track.sid] = track
        published = room_pb2.RoomEvent()
        published.track_published.participant_identity = identity
        wire.fill_publication(published.track_published.publication, track)
        self._tell(room, published)
        subscribed = room_pb2.RoomEvent()
        subscribed.track_subscribed.participant_identity = identity
        subscribed.track_subscribed.track.handle.id = track.handle
        subscribed.track_subscribed.track.info.sid = track.sid
        subscribed.track_subscribed.track.info.kind = wire.kind_of(source)
        self._tell(room, subscribed)
        return track.sid

    def unpublish(self, sid: str) -> None:
        """The track ends: unsubscribed, then unpublished, and its audio streams end."""
        track = self._tracks.pop(sid)
        for stream in list(track.streams):
            self._end_stream(stream)
        unsubscribed = room_pb2.RoomEvent()
        unsubscribed.track_unsubscribed.participant_identity = track.identity
        unsubscribed.track_unsubscribed.track_sid = sid
        self._tell(track.room, unsubscribed)
        unpublished = room_pb2.RoomEvent()
        unpublished.track_unpublished.participant_identity = track.identity
        unpublished.track_unpublished.publication_sid = sid
        self._tell(track.room, unpublished)

    def push_audio(self, sid: str, frame: rtc.AudioFrame) -> None:
        """Send one frame of a track to its audio streams, as it is: nothing resamples here."""
        raw = bytes(frame.data.cast("b"))
        buffer = ctypes.create_string_buffer(raw, len(raw))
        self._buffers.append(buffer)  # the receiver reads it by address, later
        for stream in self._tracks[sid].streams:
            self.queue.put(
                wire.audio_event(stream, next(self._ids), ctypes.addressof(buffer), frame)
            )

    def reconnecting(self, room: str) -> None:
        """The SDK lost the connection and starts to reconnect."""
        self._tell(room, room_pb2.RoomEvent(reconnecting=room_pb2.Reconnecting()))

    def reconnected(self, room: str) -> None:
        """The SDK is connected again."""
        self._tell(room, room_pb2.RoomEvent(reconnected=room_pb2.Reconnected()))

    def drop(
        self,
        room: str,
        reason: rtc.DisconnectReason.ValueType = rtc.DisconnectReason.SERVER_SHUTDOWN,
    ) -> None:
        """The server ends every connection to ``room`` for ``reason``."""
        lost = room_pb2.ConnectionState.CONN_DISCONNECTED
        state = room_pb2.RoomEvent(
            connection_state_changed=room_pb2.ConnectionStateChanged(state=lost)
        )
        self._tell(room, state)
        self._tell(room, room_pb2.RoomEvent(disconnected=room_pb2.Disconnected(reason=reason)))
        self._tell(room, room_pb2.RoomEvent(eos=room_pb2.RoomEOS()))
        for handle in [h for h, c in self._rooms.items() if c.room == room]:
            del self._rooms[handle]

    async def settle(self) -> None:
        """Let everything that was sent arrive and its handlers' tasks take their first steps."""
        for _ in range(25):
            await asyncio.sleep(0)

    # What livekit.rtc sees in place of the native library

    def request(self, request: ffi_pb2.FfiRequest) -> ffi_pb2.FfiResponse:
        """Answer a request of the SDK; its callback follows through the queue."""
        name = request.WhichOneof("message") or ""
        self.requests.append(name)
        response, event = ffi_pb2.FfiResponse(), ffi_pb2.FfiEvent()
        if name == "connect":
            response.connect.async_id = event.connect.async_id = next(self._ids)
            self._connect(request.connect, event.connect)
            self.queue.put(event)
        elif name == "disconnect":
            response.disconnect.async_id = event.disconnect.async_id = next(self._ids)
            self.queue.put(event)
            gone = self._rooms.pop(request.disconnect.room_handle, None)
            if gone is not None:
                end = ffi_pb2.FfiEvent()
                end.room_event.room_handle = request.disconnect.room_handle
                end.room_event.eos.SetInParent()
                self.queue.put(end)
        elif name == "new_audio_stream":
            stream = next(self._ids)
            response.new_audio_stream.stream.handle.id = stream
            self._streams.add(stream)
            wanted = request.new_audio_stream.track_handle
            live = [t for t in self._tracks.values() if t.handle == wanted]
            for track in live:
                track.streams.append(stream)
            if not live:  # the track was gone before it had a listener
                self._end_stream(stream)
        return response

    def _connect(self, request: room_pb2.ConnectRequest, answer: room_pb2.ConnectCallback) -> None:
        try:
            claims = api.TokenVerifier(self.KEY, self.SECRET).verify(request.token)
        except jwt.PyJWTError as error:  # as a server does: 401, which is a ConnectError
            answer.error = f"invalid token: {error}"
            return
        room = claims.video.room if claims.video else ""
        connect = Connect(request.url, room, claims.identity)
        self.connects.append(connect)
        if self._refusals:
            answer.error = self._refusals.pop(0)
            return
        handle = next(self._ids)
        self._rooms[handle] = connect
        result = answer.result
        result.room.handle.id = handle
        result.room.info.name = room
        result.room.info.sid = f"RM_{room}"
        result.room.info.lossy_dc_buffered_amount_low_threshold = 0
        result.room.info.reliable_dc_buffered_amount_low_threshold = 0
        wire.fill_person(result.local_participant, connect.identity, next(self._ids))
        for identity, person in self._people.get(room, {}).items():
            entry = result.participants.add()
            wire.fill_person(entry.participant, identity, person)
            for track in self._tracks.values():
                if (track.room, track.identity) == (room, identity):
                    wire.fill_publication(entry.publications.add(), track)

    def _end_stream(self, stream: int) -> None:
        if stream not in self._streams:
            return
        self._streams.discard(stream)
        for track in self._tracks.values():
            if stream in track.streams:
                track.streams.remove(stream)
        event = ffi_pb2.FfiEvent()
        event.audio_stream_event.stream_handle = stream
        event.audio_stream_event.eos.SetInParent()
        self.queue.put(event)

    def _tell(self, room: str, event: room_pb2.RoomEvent) -> None:
        for handle, connect in list(self._rooms.items()):
            if connect.room == room:
                wrapped = ffi_pb2.FfiEvent()
                wrapped.room_event.CopyFrom(event)
                wrapped.room_event.room_handle = handle
                self.queue.put(wrapped)
