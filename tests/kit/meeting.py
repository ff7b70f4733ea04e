"""A room to run an agent in as it is written: a real ``Room`` and ``JobContext``, nobody's server.

What an agent sends into the room (its voice, its words, its attributes) is answered as the native
library does and remembered, so that tests can look at it.
"""

from __future__ import annotations

import asyncio
import ctypes
import importlib
import inspect
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.util import find_spec
from typing import Any, Final

from livekit import rtc
from livekit.protocol import agent
from livekit.rtc._proto import ffi_pb2, room_pb2

from runguard_otel.demo.stage import SAMPLE_RATE
from runguard_otel.demo.stage import ffi_wire as wire
from runguard_otel.demo.stage.ffi import StageServer

__all__ = ["PublishingStage", "job_context", "job_on_stage", "until"]

ROOM: Final = "lobby"
_CALLBACK: Final = re.compile("stream_(?=write|close)")
"""The two requests whose callback has another name."""


class PublishingStage(StageServer):
    """The stage, and what an agent needs to publish its voice, words and attributes."""

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

    def __enter__(self) -> PublishingStage:
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


async def until(reached: Callable[[], Any], seconds: float = 5.0) -> None:
    """Wait for something that takes real time, such as playing a sentence."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not reached():
        if asyncio.get_running_loop().time() > deadline:
            raise AssertionError(f"not reached within {seconds:g} s: {inspect.getsource(reached)}")
        await asyncio.sleep(0.005)


def job_context(info: Any, room: rtc.Room | None = None) -> Any:
    """The ``JobContext`` of a job without a process, as the installed release wants it made."""
    host: Any = importlib.import_module("livekit.agents.job")
    if room is None:
        room = rtc.Room()
        room._info.name = info.job.room.name

    def nothing(*_: object) -> None: ...

    wanted = {"executor_type": getattr(host, "JobExecutorType", None)}
    known = inspect.signature(host.JobProcess.__init__).parameters
    process: dict[str, Any] = {"user_arguments": None, "http_proxy": None}
    if wanted["executor_type"] is not None:
        process["executor_type"] = host.JobExecutorType.THREAD
    return host.JobContext(
        proc=host.JobProcess(**{n: v for n, v in process.items() if n in known}),
        info=info,
        room=room,
        on_connect=nothing,
        on_shutdown=nothing,
        inference_executor=None,
    )


@asynccontextmanager
async def job_on_stage(
    stage: StageServer, room: str = ROOM, agent_name: str = "", metadata: str = ""
) -> AsyncIterator[Any]:
    """A running job: yields its ``JobContext``, and ends it as the host does."""
    host: Any = importlib.import_module("livekit.agents.job")
    accepted = host.JobAcceptArguments(name="", identity="agent", metadata="")
    job = agent.Job(id="AJ_1", agent_name=agent_name, metadata=metadata)
    job.room.name, job.room.sid = room, f"RM_{room}"
    known = inspect.signature(host.RunningJobInfo).parameters
    facts = {
        "accept_arguments": accepted,
        "job": job,
        "url": "wss://stage",
        "token": stage.token(room, "agent"),
        "worker_id": "AW_1",
        "fake_job": False,
    }
    info = host.RunningJobInfo(**{n: v for n, v in facts.items() if n in known})
    connection = rtc.Room()
    ctx = job_context(info, connection)
    token = host._JobContextVar.set(ctx)
    web: Any = importlib.import_module("livekit.agents.utils.http_context")
    web._new_session_ctx()
    try:
        yield ctx
    finally:
        session = getattr(ctx, "_primary_agent_session", None)
        if session is not None:
            await session.aclose()
        for callback in ctx._shutdown_callbacks:
            await callback("the call is over")
        await connection.disconnect()
        await web._close_http_ctx()
        host._JobContextVar.reset(token)
