"""The protobuf messages of the stand-in for the native layer, and what it remembers."""

from __future__ import annotations

from dataclasses import dataclass, field

from livekit import rtc
from livekit.rtc._proto import ffi_pb2, participant_pb2, track_pb2

__all__ = ["Connect", "StageTrack", "audio_event", "fill_person", "fill_publication", "kind_of"]


@dataclass(frozen=True)
class Connect:
    """One connect request that reached the native layer.

    Args:
        url: The server's URL.
        room: The room in the token.
        identity: The identity in the token.
    """

    url: str
    room: str
    identity: str


@dataclass
class StageTrack:
    """A track on stage."""

    sid: str
    room: str
    identity: str
    source: rtc.TrackSource.ValueType
    handle: int
    streams: list[int] = field(default_factory=list)


def fill_person(info: participant_pb2.OwnedParticipant, identity: str, handle: int) -> None:
    """Describe a participant."""
    info.handle.id = handle
    info.info.identity = identity
    info.info.sid = f"PA_{handle}"


def fill_publication(publication: track_pb2.OwnedTrackPublication, track: StageTrack) -> None:
    """Describe a publication."""
    publication.handle.id = track.handle
    publication.info.sid = track.sid
    publication.info.source = track.source
    publication.info.kind = kind_of(track.source)
    publication.info.remote = True


def audio_event(stream: int, handle: int, address: int, frame: rtc.AudioFrame) -> ffi_pb2.FfiEvent:
    """One frame for one audio stream; ``address`` points at its samples."""
    event = ffi_pb2.FfiEvent()
    event.audio_stream_event.stream_handle = stream
    received = event.audio_stream_event.frame_received.frame
    received.handle.id = handle
    received.info.data_ptr = address
    received.info.num_channels = frame.num_channels
    received.info.sample_rate = frame.sample_rate
    received.info.samples_per_channel = frame.samples_per_channel
    return event


def kind_of(source: rtc.TrackSource.ValueType) -> rtc.TrackKind.ValueType:
    """Audio or video."""
    video = (rtc.TrackSource.SOURCE_CAMERA, rtc.TrackSource.SOURCE_SCREENSHARE)
    return rtc.TrackKind.KIND_VIDEO if source in video else rtc.TrackKind.KIND_AUDIO
