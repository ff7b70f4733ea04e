"""What LiveKit says, in the words of ``core.guards.presence``: webhooks and RoomService's answers.

Read in livekit-api 1.2 and livekit-server 1.13.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import isfinite
from typing import Any, Final, NamedTuple

from livekit.protocol.agent import JobStatus
from livekit.protocol.agent_dispatch import AgentDispatch
from livekit.protocol.models import ParticipantInfo, Room, TrackSource

from runguard_otel.core.guards.presence import Dispatch, DispatchedJob, Member, Role

__all__ = ["Kind", "Seen", "dispatch", "member", "seen"]

AGENT_NAME: Final = "lk.agent.name"
ON_BEHALF: Final = "lk.publish_on_behalf"
_AGENT_ATTRIBUTES: Final = "lk.agent."

Kind = str
JOINED: Final = "participant_joined"
LEFT: Final = ("participant_left", "participant_connection_aborted")
PUBLISHED: Final = "track_published"
STARTED: Final = "room_started"
FINISHED: Final = "room_finished"


class Seen(NamedTuple):
    """One event of a room.

    Args:
        kind: LiveKit's word for it.
        room: The room's name.
        room_sid: LiveKit's id of this life of the room.
        at: When, unix seconds of the server.
        created: When the room was opened; 0 if the event does not say.
        member: Whom it is about.
        track: The id of a microphone's track, if it is about one.
        dropped: How many webhooks the server gave up before this one.
        id: LiveKit's id of the event.
    """

    kind: Kind
    room: str
    room_sid: str
    at: float
    created: float = 0.0
    member: Member | None = None
    track: str = ""
    dropped: int = 0
    id: str = ""


def seen(body: bytes | str) -> Seen | None:
    """A verified webhook, as it was sent; ``None`` if it says nothing about who is in which room.

    Protobuf's own reading of JSON takes 300 us, most of it for codecs; this takes 15. What both say
    of one body is the same (``test_watch_webhooks``).

    Raises:
        ValueError: If it is no webhook.
    """
    event = json.loads(body)
    if not isinstance(event, dict) or not isinstance(event.get("event"), str):
        raise ValueError("no webhook")
    kind, room = event["event"], _part(event, "room")
    if not room.get("sid") or kind.startswith(("egress_", "ingress_")):
        return None
    at, person = _number(event, "createdAt"), _part(event, "participant")
    who = None
    if person.get("sid"):
        permission = _part(person, "permission")
        who = _member(
            str(person["sid"]),
            str(person.get("identity", "")),
            _kind(person.get("kind", 0)),
            _part(person, "attributes"),
            unseen=bool(permission.get("hidden") or permission.get("recorder")),
            joined=_number(person, "joinedAtMs") / 1000 or _number(person, "joinedAt"),
        )
    track, heard = _part(event, "track"), ""
    if kind == PUBLISHED and track.get("source") in ("MICROPHONE", TrackSource.MICROPHONE):
        heard = str(track.get("sid", ""))
        at = _number(_part(track, "version"), "unixMicro") / 1e6 or at
    created = _number(room, "creationTimeMs") / 1000 or _number(room, "creationTime")
    dropped = int(_number(event, "numDropped"))
    name, sid = str(room.get("name", "")), str(room["sid"])
    return Seen(kind, name, sid, at, created, who, heard, dropped, str(event.get("id", "")))


def _part(data: dict[str, Any], name: str) -> dict[str, Any]:
    found = data.get(name)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise ValueError(f"{name} is no object")
    return found


def _number(data: dict[str, Any], name: str) -> float:
    """Protobuf's JSON writes 64-bit numbers as text."""
    value = data.get(name, 0)
    if not isinstance(value, (int, str)):
        raise ValueError(f"{name} is no number")
    found = float(value)
    if not isfinite(found):
        raise ValueError(f"{name} is no number")
    return found


def _kind(value: Any) -> str:
    """A participant's kind by name; what is newer than this release is a person."""
    if isinstance(value, str):
        return value
    try:
        return str(ParticipantInfo.Kind.Name(value))
    except (ValueError, TypeError):
        return ""


def opened(room: Room) -> float:
    """When a room was opened, unix seconds; 0 where it does not say."""
    return getattr(room, "creation_time_ms", 0) / 1000 or float(room.creation_time)


def member(info: ParticipantInfo) -> Member:
    """One stay of a participant, as RoomService says it."""
    return _member(
        info.sid,
        info.identity,
        _kind(info.kind),
        info.attributes,
        unseen=info.permission.hidden or info.permission.recorder,
        joined=getattr(info, "joined_at_ms", 0) / 1000 or float(info.joined_at),
    )


def _member(
    sid: str,
    identity: str,
    kind: str,
    attributes: Mapping[str, str],
    *,
    unseen: bool,
    joined: float,
) -> Member:
    agent = kind == "AGENT" or any(key.startswith(_AGENT_ATTRIBUTES) for key in attributes)
    silent = kind in ("EGRESS", "INGRESS") or ON_BEHALF in attributes
    role = Role.AGENT if agent else Role.CALLER
    if silent or (unseen and not agent):
        role = Role.OTHER
    return Member(sid, identity, role, attributes.get(AGENT_NAME), joined)


_LIVE: Final = (JobStatus.JS_PENDING, JobStatus.JS_RUNNING)


def dispatch(request: AgentDispatch) -> Dispatch | None:
    """One request for an agent; ``None`` if it was taken back."""
    if request.state.deleted_at:
        return None
    jobs = tuple(
        DispatchedJob(
            job.state.participant_identity,
            job.participant.sid or job.participant.identity,
            job.state.status in _LIVE,
            job.state.status == JobStatus.JS_SUCCESS,
        )
        for job in request.state.jobs
    )
    return Dispatch(request.id, request.agent_name, request.metadata, jobs)
