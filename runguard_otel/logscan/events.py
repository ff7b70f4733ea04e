"""What lines of logs tell of rooms: one event each, or none."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from runguard_otel.logscan.lines import Line, parse

__all__ = ["KINDS", "LogEvent", "read_events"]

KINDS: Final = {
    "joined": "a participant came; detail: its kind, where the log says it",
    "left": "a participant went; detail: why",
    "published": "a participant published audio; detail: the track's source",
    "subscribed": "an agent subscribed to a track",
    "dispatched": "an agent was asked for; detail: its name",
    "job": "a worker was offered a job; detail: the agent's name",
    "job_ended": "a job ended; detail: why",
    "connected": "an agent connected to the room",
    "reconnected": "the application connected again",
    "resumed": "the SDK repaired a connection by itself",
    "transcript": "a recogniser understood something",
    "empty_transcript": "a recogniser answered with no words",
    "stt_retry": "a recogniser's stream failed and was opened again",
    "killed": "a job process was killed because it did not answer",
    "trip": "a guard of this package found a loop; detail: its words",
    "closed": "the room was closed",
}
"""Every kind of event, and what it says."""


class LogEvent(NamedTuple):
    """One event.

    Args:
        at: Unix seconds; ``None`` if the line has no time.
        room: The room's name; ``""`` if the line names none.
        kind: A key of :data:`KINDS`.
        detail: See there; ``""`` if there is none.
        who: Identity of the participant it is about; ``""`` if unknown.
        sid: LiveKit's id of that stay, track, job or dispatch; ``""`` if unknown.
        line: The line's number, from 1.
    """

    at: float | None
    room: str
    kind: str
    detail: str = ""
    who: str = ""
    sid: str = ""
    line: int = 0


def read_events(lines: Iterable[str]) -> Iterator[LogEvent]:
    """The events of a log, in its order. Lines that tell of none are skipped.

    Args:
        lines: The log's lines; nothing of them is kept.
    """
    rooms_of_jobs: dict[str, str] = {}
    for number, text in enumerate(lines, 1):
        line = parse(text)
        if line is not None:
            event = _event(line, rooms_of_jobs)
            if event is not None:
                yield event._replace(line=number)


_RULES: Final = tuple(
    (re.compile(pattern, re.IGNORECASE), kind)
    for pattern, kind in (
        (r"^participant active$", "joined"),
        (r"^participant closing$", "left"),
        (r"^starting RTC session$", "starting"),
        (r"^mediaTrack published$", "published"),
        (r"^API AgentDispatchService\.CreateDispatch$", "dispatched"),
        (r"^room closed$", "closed"),
        (r"\breceived job request", "job"),
        (r"\bshutting down job task|\b(job|process) exiting", "job_ended"),
        (r"\bprocess is unresponsive, killing process", "killed"),
        (r"failed to recognize speech|STT stream ended on an unrecoverable error", "stt_retry"),
        (r"\breceived user transcript", "transcript"),
        (r"\btripped: \d+ x ", "trip"),
        (r"(resuming|restarting) connection", "resumed"),
        (r"\bre-?connect(ing|ed)?\b.*\broom\b|\broom\b.*\bre-?connect", "reconnected"),
        (r"\b(connected|connecting|joined|joining)( to)? (the )?room\b|\broom connected\b",
         "connected"),
        (r"\btrack[ _]subscribed\b|\bsubscribed to track\b", "subscribed"),
        (r"\bempty transcript\b|\btranscript(ion)? (was|is) empty\b", "empty_transcript"),
    )
)  # fmt: skip
_ROOM: Final = re.compile(r"\broom(?:[ _-]?name)?[\"']?\s*[:= ]\s*[\"']?([\w.@+-]+)", re.I)
_WHO: Final = re.compile(r"\b(?:participant|identity)[\"']?\s*[:= ]\s*[\"']?([\w.@+-]+)", re.I)
_NO_ROOM: Final = frozenset(
    {"connected", "connection", "disconnected", "again", "in", "after", "is"}
)
_MOST_JOBS: Final = 100_000


def _event(line: Line, rooms_of_jobs: dict[str, str]) -> LogEvent | None:
    kind = next((kind for rule, kind in _RULES if rule.search(line.message)), None)
    fields = line.fields
    job = _text(fields, "job_id", "jobID", "jobId")
    room = _room(line) or rooms_of_jobs.get(job, "")
    if job and room and len(rooms_of_jobs) < _MOST_JOBS:
        rooms_of_jobs[job] = room
    if kind is None:
        return None
    who = _text(fields, "participant", "participant_identity", "identity", "user_id")
    if not who and not fields:
        found = _WHO.search(line.message)
        who = found.group(1) if found else ""
    sid, detail = _text(fields, "participantID", "participant_id", "pID"), ""
    if kind == "starting":
        # As what it came is said here only; it is in the room once it is active.
        kind, detail = "joined", _kind(fields)
    elif kind == "joined":
        detail = _text(fields, "kind").lower()
    elif kind == "left":
        if fields.get("isExpectedToResume") is True:
            return None
        detail = _text(fields, "reason").lower()
    elif kind == "published":
        track = fields.get("trackInfo")
        if fields.get("kind") != "audio" or not isinstance(track, dict):
            return None
        sid, detail = _text(fields, "trackID"), str(track.get("source", "")).lower()
    elif kind == "dispatched":
        request = fields.get("request")
        detail = _text(request, "agentName") if isinstance(request, dict) else ""
    elif kind == "job":
        sid, detail = job, _text(fields, "agent_name", "agentName")
    elif kind == "job_ended":
        sid, detail = job, _text(fields, "reason")
    elif kind == "transcript":
        words = next((v for k, v in fields.items() if k.endswith("user_transcript")), None)
        if words is not None and not str(words).strip():
            kind = "empty_transcript"
    elif kind == "trip":
        detail = line.message
    return LogEvent(line.at, room, kind, detail, who, sid)


def _room(line: Line) -> str:
    fields = line.fields
    found = _text(fields, "room", "room_name", "roomName")
    if found:
        return found
    inner = fields.get("room")
    if isinstance(inner, dict):
        return _text(inner, "name")
    said = _ROOM.search(line.message)
    return said.group(1) if said and said.group(1).lower() not in _NO_ROOM else ""


def _kind(fields: Mapping[str, Any]) -> str:
    """The participant's kind in its grants; a person's is empty there."""
    init = fields.get("participantInit")
    grants = init.get("Grants") if isinstance(init, dict) else None
    return (_text(grants, "Kind").lower() or "standard") if isinstance(grants, dict) else ""


def _text(fields: Any, *names: str) -> str:
    for name in names:
        value = fields.get(name)
        if isinstance(value, (str, int)) and not isinstance(value, bool):
            return str(value)
    return ""
