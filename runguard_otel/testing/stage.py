"""A room without a server: a real ``rtc.Room``, and all that an agent does in it remembered."""

from __future__ import annotations

import ctypes
import importlib
import re
from importlib.util import find_spec
from typing import Any, Final

from livekit import rtc
from livekit.rtc._proto import ffi_pb2, room_pb2

from runguard_otel.testing import ffi_wire as wire
from runguard_otel.testing.ffi import StageServer
from runguard_otel.testing.rate import SAMPLE_RATE

__all__ = ["ROOM", "Stage"]

ROOM: Final = "lobby"
_CALLBACK: Final = re.compile("stream_(?=write|close)")
"""The two requests whose callback has another name."""


class Stage(StageServer):
    """A LiveKit server with rooms and people in it, as far as an agent notices it.

    A context manager: inside, ``rtc.Room`` connects to it, whatever the URL. What an agent sends
    into a room (its voice, its words, its attributes) is answered as the native library does, and
    remembered. What people do arrives
    through the event loop; ``await stage.settle()`` lets it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.attributes: dict[str, str] = {}
        """What the agent said of itself."""
        self.texts: list[tuple[str, str]] = []
        """Topic and text of everything it wrote."""
        self.published: list[str] = []
        """Names of the tracks that it published."""
        self.cameras: dict[int, int] = {}
        """Video streams that are being read: the handle of the track by that of the stream."""
        self.watched = 0
        """Video streams that were opened, in all."""
        self._names: dict[int, str] = {}
        self._topics: dict[Any, str] = {}

    def __enter__(self) -> Stage:
        super().__enter__()
        client = type("StageClient", (), {"instance": self})
        for name in ("data_stream", "rpc", "video_stream", "video_frame"):
            if find_spec(f"livekit.rtc.{name}") is not None:
                module = importlib.import_module(f"livekit.rtc.{name}")
                self._replace(module, "FfiClient", client)
                self._replace(module, "FfiHandle", self._handle())
        return self

    def _handle(self) -> type:
        server = self

        class StageHandle:
            """Dropping the handle of a video stream ends it."""

            def __init__(self, handle: int) -> None:
                self.handle = handle
                self.disposed = False

            def dispose(self) -> None:
                self.disposed = True
                server.cameras.pop(self.handle, None)

            def mark_consumed(self) -> None:
                self.disposed = True

        return StageHandle

    def request(self, request: ffi_pb2.FfiRequest) -> ffi_pb2.FfiResponse:
        """Answer what the SDK asks; whatever has a callback is called back."""
        name = request.WhichOneof("message") or ""
        if name in ("connect", "disconnect", "new_audio_stream"):
            known = super().request(request)
            if name == "connect":
                now = room_pb2.ConnectionState.CONN_CONNECTED
                changed = room_pb2.ConnectionStateChanged(state=now)
                told_room = room_pb2.RoomEvent(connection_state_changed=changed)
                self._tell(self.connects[-1].room, told_room)
            return known
        self.requests.append(name)
        response, event = ffi_pb2.FfiResponse(), ffi_pb2.FfiEvent()
        number = next(self._ids)
        body: Any = getattr(request, name)
        heard_of = _CALLBACK.sub("stream_writer_", name)
        answer: Any = getattr(response, name, None)
        told: Any = getattr(event, heard_of, None)
        if name == "create_audio_track":
            self._names[number] = body.name
            answer.track.handle.id = number
            answer.track.info.name = body.name
        for entry in request.set_local_attributes.attributes:
            self.attributes[entry.key] = entry.value
        if name == "publish_track":
            self.published.append(self._names.get(body.track_handle, ""))
            told.publication.handle.id = number
            told.publication.info.sid = f"TR_own_{number}"
            told.publication.info.source = rtc.TrackSource.SOURCE_MICROPHONE
        if name == "new_video_stream":
            answer.stream.handle.id = number
            self.cameras[number] = body.track_handle
            self.watched += 1
        self._written(name, body, told, number)
        if told is not None and hasattr(told, "async_id") and hasattr(answer, "async_id"):
            answer.async_id = told.async_id = number
            self.queue.put(event)
        if name == "publish_track":
            heard = room_pb2.RoomEvent()
            heard.local_track_subscribed.track_sid = f"TR_own_{number}"
            for room in {connect.room for connect in self.connects}:
                self._tell(room, heard)
        return response

    def _written(self, name: str, body: Any, told: Any, number: int) -> None:
        """Whole texts and streams of text, as old and new SDKs send them."""
        if name == "send_text":
            self.texts.append((body.options.topic, body.text))
            told.info.stream_id = f"ST_{number}"
        elif name == "text_stream_open":
            told.writer.handle.id = number
            told.writer.info.stream_id = f"ST_{number}"
            self._topics[number] = body.options.topic
        elif name == "text_stream_write":
            self.texts.append((self._topics.get(body.writer_handle, ""), body.text))
        elif name == "send_stream_header":
            self._topics[body.header.stream_id] = body.header.topic
        elif name == "send_stream_chunk":
            text = body.chunk.content.decode(errors="replace")
            self.texts.append((self._topics.get(body.chunk.stream_id, ""), text))

    def join(self, room: str, identity: str) -> None:
        """A participant enters, and can be spoken to; everybody connected is told."""
        super().join(room, identity)
        self._active(room, identity)

    def _active(self, room: str, identity: str) -> None:
        """Newer SDKs wait for this, older ones do not know it."""
        event: Any = room_pb2.RoomEvent()
        if hasattr(event, "participant_active"):
            event.participant_active.participant_identity = identity
            self._tell(room, event)

    def call_in(self, room: str, identity: str, **attributes: str) -> None:
        """A participant enters by phone."""
        handle = self._people.setdefault(room, {})[identity] = next(self._ids)
        event = room_pb2.RoomEvent()
        caller = event.participant_connected.info
        wire.fill_person(caller, identity, handle)
        caller.info.kind = rtc.ParticipantKind.PARTICIPANT_KIND_SIP
        for name, value in attributes.items():
            caller.info.attributes[name.replace("_", ".")] = value
        self._tell(room, event)
        self._active(room, identity)

    def press(self, room: str, identity: str, digit: str) -> None:
        """The caller presses a key."""
        event = room_pb2.RoomEvent()
        packet = event.data_packet_received
        packet.participant_identity = identity
        packet.sip_dtmf.code, packet.sip_dtmf.digit = int(digit), digit
        self._tell(room, event)

    def push_video(self, sid: str) -> None:
        """Send one small picture of a track to whoever reads it."""
        pixels = ctypes.create_string_buffer(bytes(2 * 2 * 4), 16)
        self._buffers.append(pixels)
        for stream, track in self.cameras.items():
            if track == self._tracks[sid].handle:
                event = ffi_pb2.FfiEvent()
                event.video_stream_event.stream_handle = stream
                received = event.video_stream_event.frame_received
                received.buffer.handle.id = next(self._ids)
                picture = received.buffer.info
                picture.type, picture.width, picture.height = rtc.VideoBufferType.RGBA, 2, 2
                picture.data_ptr = ctypes.addressof(pixels)
                self.queue.put(event)

    async def say(self, sid: str, frames: int = 10, level: int = 0) -> None:
        """Send that many frames of 20 ms of the track ``sid``, silence or as loud as ``level``."""
        samples = SAMPLE_RATE // 50
        sound = level.to_bytes(2, "little", signed=True) * samples
        for _ in range(frames):
            self.push_audio(sid, rtc.AudioFrame(sound, SAMPLE_RATE, 1, samples))
            await self.settle()
