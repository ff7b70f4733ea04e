"""Journals made of what is there already: traces of ours, and logs.

Both tell less than a journal. A trace has no span for a genuine result (LiveKit's ``user_turn``
stands in for it, where it was exported), a log mostly no confidence. What they do tell goes through
policies of default settings, which write it down as they do live; so it can be replayed, shown and
compared like any other history. Its header says what it was made of.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

from runguard_otel.core.guards.recogniser import STT_RECONNECT
from runguard_otel.core.signatures import ROOM_RECONNECT, ROOM_REDIAL, SIGNATURES, TRACK_SUBSCRIBE
from runguard_otel.core.verdict import Subject
from runguard_otel.journal.book import Book, name_of, to_line
from runguard_otel.journal.record import Tail, expand
from runguard_otel.journal.schema import SCHEMA, Row, kept_settings
from runguard_otel.journal.taped import TapedPolicies
from runguard_otel.settings import Settings

__all__ = ["Told", "from_log", "from_traces", "made"]

UNSURE: Final = 0.45
"""Confidence of a result of which only is known that it was low."""
_MISFIRES: Final[Mapping[str, Mapping[str, Any]]] = {
    "vad_misfire:empty_transcript": {"text": ""},
    "vad_misfire:low_confidence": {"text": "words", "confidence": UNSURE},
    "vad_misfire:echo": {"text": "words", "echo": True},
}


class Told(NamedTuple):
    """One thing that happened.

    Args:
        call: Names the call: a job's id, else a trace's id or a room.
        at: Unix seconds.
        what: ``final``, ``connect``, ``disconnect``, ``leave``, ``subscribe``, ``opened`` (the
            connection of a recogniser), ``callers``, ``row`` (a line as it is) or ``end``.
        facts: What there is to say about it.
    """

    call: str
    at: float
    what: str
    facts: Mapping[str, Any] = {}


def made(told: Iterable[Told], of: str, folder: Path) -> list[Path]:
    """Write a history per call.

    Args:
        told: What happened, in any order.
        of: ``traces`` or ``logs``.
        folder: Where to; made if it is missing.

    Returns:
        The files.

    Raises:
        OSError: If one cannot be written.
    """
    calls: dict[str, list[Told]] = defaultdict(list)
    for one in told:
        calls[one.call].append(one)
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for call, events in sorted(calls.items()):
        events.sort(key=lambda one: one.at)
        header, lines = _Made(call, of, events[0].at).of(events)
        path = folder / f"{name_of(header)}.1.jsonl"
        path.write_bytes(b"\n".join(lines) + b"\n")
        files.append(path)
    return files


class _Made:
    """One history in the making: taped policies on the clock of what is told."""

    def __init__(self, call: str, of: str, began: float) -> None:
        self._now = began
        self._lines: list[bytes] = []
        settings = Settings()
        self._header: Row = {
            "t": began,
            "e": "journal",
            "schema": SCHEMA,
            "job": call,
            "process": 0,
            "clock": 0.0,
            "imported": of,
            "settings": kept_settings(settings),
        }
        book = Book(settings, lambda: self._take, lambda: call, lambda: "", lambda lines: None)
        policies, clock = TapedPolicies(settings, book, self._clock), self._clock
        self._mode = settings.mode
        self._subject = Subject(job_id=call)
        self._speech = policies.misfire(self._subject)
        self._room, self._tracks = policies.reconnect(clock), policies.subscription(clock)
        self._stream = policies.stream(clock)
        self._job = policies.job(self._subject, lambda: True, clock)
        self._met = self._met_stream = False

    def of(self, events: list[Told]) -> tuple[Row, list[bytes]]:
        self._job.job_started()
        for one in events:
            while self._job.due <= one.at:
                self._now = self._job.due
                self._job.check()
            self._now = one.at
            tell: Callable[..., None] = getattr(self, f"_{one.what}")
            tell(**one.facts)
        return self._header, [to_line(self._header), *self._lines[1:]]

    def _clock(self) -> float:
        return self._now

    def _take(self, head: bytes, tail: Tail) -> None:
        self._lines.append(expand(head + tail[0]))

    def _final(self, text: str, confidence: float | None = None, echo: bool = False) -> None:
        decision = self._speech.on_final(text, confidence, echo=echo, now=self._now)
        if not decision.signature:
            self._job.active()

    def _connect(self, again: bool = False) -> None:
        if again and not self._met:  # it must have been there before it came again
            self._room.on_connect(self._subject, self._mode, "")
        self._met = True
        self._room.on_connect(self._subject, self._mode, "")

    def _disconnect(self, reason: str) -> None:
        self._room.on_disconnect(reason)

    def _leave(self) -> None:
        self._room.on_leave()

    def _subscribe(self, source: str = "") -> None:
        self._tracks.on_subscribe(self._subject._replace(track_source=source), self._mode, "")

    def _opened(self) -> None:
        if not self._met_stream:
            self._met_stream = True
            self._stream.connected(self._subject)
        self._stream.connected(self._subject)

    def _callers(self, callers: int) -> None:
        self._job.callers("room", callers)

    def _row(self, **row: Any) -> None:
        self._lines.append(to_line({"t": self._now, **row}))

    def _end(self) -> None:
        self._job.left("room")
        self._job.job_ended()


# Traces


def from_traces(data: Mapping[str, Any]) -> Iterator[Told]:
    """What the spans of an OTLP JSON export tell (``resourceSpans``, as of any trace store).

    Args:
        data: The JSON object.

    Raises:
        ValueError: If it is none.
    """
    try:
        spans = [
            span
            for resource in data["resourceSpans"]
            for scope in resource["scopeSpans"]
            for span in scope["spans"]
        ]
        read = [(_attributes(span), span) for span in spans]
        jobs = {s["traceId"]: a["lk.job_id"] for a, s in read if a.get("lk.job_id")}
        for attributes, span in read:
            call = str(attributes.get("lk.job_id") or jobs.get(span["traceId"], span["traceId"]))
            at = int(span["startTimeUnixNano"]) / 1e9
            yield from _of_span(call, at, str(span["name"]), attributes)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError("no OTLP JSON of traces: it has no resourceSpans with spans") from error


def _of_span(call: str, at: float, name: str, attributes: Mapping[str, Any]) -> Iterator[Told]:
    signature = attributes.get("runguard.signature", "")
    if name == "user_turn":
        yield Told(call, at, "final", {"text": "words"})
    if signature not in SIGNATURES:
        return
    if name == "runguard.trip":
        yield Told(call, at, "row", _trip(signature, attributes))
        return
    outcome = attributes.get("runguard.outcome", "observed")
    yield Told(call, at, "row", {"e": "event", "signature": signature, "outcome": outcome})
    if signature in _MISFIRES:
        yield Told(call, at, "final", _MISFIRES[signature])
    elif signature == ROOM_RECONNECT:
        yield Told(call, at, "disconnect", {"reason": attributes.get("runguard.reason", "unknown")})
        yield Told(call, at, "connect", {"again": True})
    elif signature == ROOM_REDIAL:
        yield Told(call, at, "leave")
        yield Told(call, at, "connect", {"again": True})
    elif signature == TRACK_SUBSCRIBE:
        yield Told(call, at, "subscribe", {"source": attributes.get("runguard.track.source", "")})
    elif signature == STT_RECONNECT:
        yield Told(call, at, "opened")


def _trip(signature: str, attributes: Mapping[str, Any]) -> Row:
    costs = {
        name.removeprefix("runguard.cost."): str(value)
        for name, value in attributes.items()
        if name.startswith("runguard.cost.")
    }
    return {
        "e": "trip",
        "guard": attributes["runguard.guard"],
        "signature": signature,
        "count": int(attributes["runguard.trip.count"]),
        "window_seconds": float(attributes["runguard.trip.window_seconds"]),
        "threshold": int(attributes["runguard.trip.threshold"]),
        "mode": attributes["runguard.mode"],
        "action": attributes["runguard.action"],
        "evidence": [],
        "cost": costs,
    }


def _attributes(span: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for one in span.get("attributes", ()):
        for kind, value in one["value"].items():
            if kind in ("stringValue", "boolValue", "doubleValue"):
                found[one["key"]] = value
            elif kind == "intValue":  # a string in JSON: it may have 64 bits
                found[one["key"]] = int(value)
    return found


# Logs


class LogEvent(Protocol):
    """What of ``logscan.LogEvent`` is read here."""

    @property
    def at(self) -> float | None: ...
    @property
    def room(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def detail(self) -> str: ...
    @property
    def who(self) -> str: ...


def from_log(events: Iterable[LogEvent]) -> Iterator[Told]:
    """What events of a log tell (:func:`runguard_otel.logscan.read_events`), by room.

    Args:
        events: Those with a time and a room are used.
    """
    callers: dict[str, int] = defaultdict(int)
    for event in events:
        if event.at is None or not event.room:
            continue
        room, at, kind = event.room, event.at, event.kind
        if kind in ("joined", "left"):
            if event.detail == "agent" or event.who.startswith("agent"):
                continue
            callers[room] = max(0, callers[room] + (1 if kind == "joined" else -1))
            yield Told(room, at, "callers", {"callers": callers[room]})
        elif kind in ("connected", "reconnected"):
            yield Told(room, at, "connect", {"again": kind == "reconnected"})
        elif kind == "transcript":
            yield Told(room, at, "final", {"text": "words"})
        elif kind == "empty_transcript":
            yield Told(room, at, "final", {"text": ""})
        elif kind == "subscribed":
            yield Told(room, at, "subscribe")
        elif kind == "stt_retry":
            yield Told(room, at, "opened")
        elif kind in ("job_ended", "closed"):
            yield Told(room, at, "end")
