"""What LiveKit is about rooms: which one, as whom, who is in it, whose tracks, why one was left."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from livekit import rtc

__all__ = [
    "Person",
    "RoomKey",
    "TRACK_ENDS",
    "TrackOrigin",
    "callers",
    "carries_no_audio",
    "ends_track",
    "heard_track",
    "hears_caller",
    "is_read",
    "left_unwillingly",
    "own_api",
    "own_identity",
    "people",
    "reason_name",
    "room_key",
    "room_name",
    "serving_mark",
    "track_origin",
    "whose_leaving_ends_it",
]

TRACK_ENDS: Final = frozenset(
    {"track_unsubscribed", "track_unpublished", "participant_disconnected", "disconnected"}
)
"""The events of ``Room`` that are the end of one track, or of several."""
_SOURCES: Final = ("microphone", "screenshare_audio", "camera", "screenshare")


@dataclass(frozen=True)
class RoomKey:
    """A connection: the same room of another server, or as somebody else, is another one.

    Args:
        server: Host and port of the LiveKit server.
        room: The room in the token; ``?`` when the token names none.
        identity: The identity in the token; a hash of a token that cannot be read.
    """

    server: str
    room: str
    identity: str


class TrackOrigin(NamedTuple):
    """Where a track comes from; a republished track comes from the same place.

    Args:
        room: The room's name.
        own: Our own identity: two agents in one process never share anything.
        participant: The publisher's identity, which survives leaving and coming back.
        source: The track's source, as a word of the catalogue.
    """

    room: str
    own: str
    participant: str
    source: str


def room_key(url: str, token: str) -> RoomKey:
    """The key of a connect.

    A fresh ``rtc.Room`` knows no name before it is connected, and reconnect loops make a new one
    each time; the token is what stays. Its signature is the server's business. One that cannot be
    read is told from others by its hash: whoever tries it again and again is in a loop as well.
    Read in 0.12 to 1.8.
    """
    import jwt

    try:
        parts = urlsplit(url)
        server = (parts.netloc or parts.path).lower().rstrip("/")
    except (AttributeError, TypeError, ValueError):
        server = str(url)
    try:
        claims = jwt.decode(token, options={"verify_signature": False})
        video: dict[str, Any] = claims.get("video") or {}
        return RoomKey(server, str(video.get("room") or "?"), str(claims.get("sub") or ""))
    except (AttributeError, TypeError, ValueError, jwt.PyJWTError):
        seen = hashlib.sha256(str(token).encode("utf-8", "replace")).hexdigest()
        return RoomKey(server, "?", f"?{seen[:16]}")


def reason_name(reason: int) -> str:
    """LiveKit's disconnect reason as a word of the catalogue; ``unknown`` for a newer one.

    Read in rtc 1.0.6 to 1.1.21.
    """
    try:
        name = rtc.DisconnectReason.Name(reason).lower()  # type: ignore[arg-type]
    except ValueError:
        return "unknown"
    return "unknown" if name == "unknown_reason" else name


_NO_CALLERS = ("INGRESS", "EGRESS", "AGENT")
_LOST = (
    "connection_timeout",
    "signal_close",
    "state_mismatch",
    "join_failure",
    "media_failure",
)


def callers(room: Any) -> list[Any]:
    """The participants somebody talks through: a person, a phone, a connector, a bridge.

    Not those of kind agent, egress or ingress, nor who carries an agent's attributes: an avatar
    publishes on behalf of one, and an agent of before kinds were known says its state.
    Read in rtc 1.0.6 to 1.1.21.
    """
    return [p for p in list(room.remote_participants.values()) if _is_caller(p)]


def _is_caller(participant: Any) -> bool:
    from livekit.rtc import ParticipantKind

    try:
        kind = ParticipantKind.Name(participant.kind)
    except ValueError:  # newer than this release of the SDK
        kind = ""
    if kind.rpartition("_")[2] in _NO_CALLERS:
        return False
    attributes = participant.attributes or {}
    return not any(key.startswith(("lk.agent.", "lk.publish_on_behalf")) for key in attributes)


def hears_caller(room: Any) -> bool:
    """Whether a caller has an open microphone there, muted or unpublished ones being closed.

    Read in rtc 1.0.6 to 1.1.21.
    """
    return any(
        not publication.muted and publication.kind == 1  # audio
        for caller in callers(room)
        for publication in list(caller.track_publications.values())
    )


def left_unwillingly(participant: Any) -> bool:
    """Whether a participant who is gone was lost, and did not hang up or was sent away.

    Read in rtc 1.0.6 to 1.1.21.
    """
    reason = getattr(participant, "disconnect_reason", None)
    return reason is not None and reason_name(reason) in _LOST


def room_name(room: Any) -> str:
    """The name of a connected room; one that has none is itself only (rtc 1.0.6 to 1.1.21)."""
    return str(room.name) or f"?{id(room)}"


def own_identity(room: Any) -> str:
    """Who we are in ``room``; the public ``local_participant`` raises before the first connect.

    Read in rtc 1.0.6 to 1.1.21.
    """
    return str(getattr(getattr(room, "_local_participant", None), "identity", ""))


def track_origin(room: Any, publication: Any, participant: Any) -> TrackOrigin:
    """Where a track comes from, out of what ``track_subscribed`` carries (rtc 1.0.6 to 1.1.21)."""
    who = getattr(participant, "identity", "") or getattr(participant, "sid", "")
    number = getattr(publication, "source", 0)
    source = "unknown"
    if isinstance(number, int) and number in rtc.TrackSource.values():
        source = rtc.TrackSource.Name(number).removeprefix("SOURCE_").lower()  # type: ignore[arg-type]
    if source not in _SOURCES:
        source = "unknown"
    return TrackOrigin(room_name(room), own_identity(room), str(who), source)


def carries_no_audio(publication: Any, origin: TrackOrigin) -> bool:
    """Whether no STT stream can be behind a track, because it is video (rtc 1.0.6 to 1.1.21)."""
    if origin.source in ("camera", "screenshare"):
        return True
    return bool(getattr(publication, "kind", None) == rtc.TrackKind.KIND_VIDEO)


def ends_track(event: str, args: Sequence[Any], sid: str, participant: str) -> bool:
    """Whether an event ends a track.

    Read in rtc 1.0.6 to 1.1.21.

    Args:
        event: One of :data:`TRACK_ENDS`.
        args: What ``Room.emit`` got with it.
        sid: The track's publication.
        participant: The identity of who published it.
    """
    if event == "disconnected":
        return True
    if event == "participant_disconnected":
        return bool(args) and getattr(args[0], "identity", None) == participant
    publication = args[1] if event == "track_unsubscribed" and len(args) > 1 else args[0]
    return getattr(publication, "sid", None) == sid


class Person(NamedTuple):
    """A participant as the server lists it."""

    sid: str
    identity: str
    attributes: Mapping[str, str]


def own_api() -> Any:
    """A new ``LiveKitAPI`` for this process's server, to be closed.

    Read in 0.12 to 1.8.

    Raises:
        ValueError: If the environment names no server or no key.
    """
    from livekit import api

    return api.LiveKitAPI()


async def people(api: Any, room: str) -> list[Person]:
    """Who is in a room, as the server knows it at once; agents may be told three seconds later.

    Read in 0.12 to 1.8.

    Args:
        api: LiveKit's ``LiveKitAPI``.
        room: The room's name.

    Raises:
        Exception: Whatever LiveKit's client raises, for example without credentials.
    """
    from livekit.protocol.room import ListParticipantsRequest

    answer = await api.room.list_participants(ListParticipantsRequest(room=room))
    return [Person(p.sid, p.identity, dict(p.attributes)) for p in answer.participants]


def serving_mark(sid: str, identity: str) -> str:
    """A stay of a participant in a room, in a word that holds no name.

    Read in 0.12 to 1.8.

    Args:
        sid: What LiveKit calls this stay.
        identity: Who it is; hashed, so that another stay of the same participant can be told.
    """
    return f"{sid}:{hashlib.blake2b(identity.encode(), digest_size=6).hexdigest()}"


def whose_leaving_ends_it(room_io: Any) -> Any | None:
    """The participant a ``RoomIO`` is linked to, if its session closes as soon as that one leaves.

    Since 1.1 a session does so unless it is told otherwise (``close_on_disconnect``, in options
    that have no public name); in 1.0 it waits for the participant to come back. Read in 1.0 to 1.8.

    Args:
        room_io: LiveKit's ``RoomIO``.
    """
    options = getattr(room_io, "_options", None) or getattr(room_io, "_input_options", None)
    closes = bool(getattr(options, "close_on_disconnect", False))
    return room_io.linked_participant if closes else None


def heard_track(audio: Any) -> str:
    """The sid of the track an ``rtc.AudioStream`` reads; ``""`` if it follows a participant.

    Read in rtc 1.0.6 to 1.1.21.
    """
    return str(getattr(getattr(audio, "_track", None), "sid", "") or "")


def is_read(audio: Any) -> bool:
    """Whether an ``rtc.AudioStream`` still delivers: not closed, and its track has not ended.

    Read in rtc 1.0.6 to 1.1.21.
    """
    task = getattr(audio, "_task", None)
    return task is not None and not task.done()
