"""One recorded call as lanes of spans and marks; how they are drawn is others' work."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from runguard_otel.core.signatures import GuardName
from runguard_otel.core.verdict import Evidence, Mode, Subject, Trip
from runguard_otel.journal.money import Money
from runguard_otel.journal.reading import History
from runguard_otel.journal.schema import Row

__all__ = ["Lane", "Mark", "Span", "TimedTrip", "Timeline", "clock_time", "cost_so_far", "usd"]

LANES: Final = (
    "room", "callers", "sessions", "STT streams", "STT connections", "tracks", "results",
    "agent speaks", "LLM", "TTS", "claims", "guards open", "trips",
)  # fmt: skip
_RESULTS: Final = {"genuine": "good", "duplicate": "soft"}
_ACTED: Final = ("suppressed", "reused", "refused")


@dataclass
class Span:
    """Something that lasted, in seconds since the beginning."""

    start: float
    end: float
    says: str
    style: str = ""
    lasts: bool = False
    """Whether its end is only that of what is known."""


@dataclass
class Mark:
    """Something that happened, in seconds since the beginning."""

    at: float
    says: str
    style: str = ""


@dataclass
class Lane:
    """One kind of thing."""

    name: str
    spans: list[Span] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)


@dataclass
class TimedTrip:
    """A trip, and when it was."""

    at: float
    trip: Trip


@dataclass
class Timeline:
    """What happened in one call.

    Args:
        history: Where it is read from.
        seconds: How long it lasted, as far as is known.
        lanes: What happened, those that hold something.
        trips: In order.
        money: The bill.
        outcomes: How many events were treated how, by signature and outcome.
        ended: How the job's process ended; ``""`` if that is not known (it may still run).
    """

    history: History
    seconds: float
    lanes: list[Lane]
    trips: list[TimedTrip]
    money: Money
    outcomes: Counter[tuple[str, str]]
    ended: str

    @classmethod
    def of(cls, history: History) -> Timeline:
        """Read one history."""
        return _Reader(history).read()

    @property
    def callers(self) -> list[str]:
        """Who is there at the end of what is known."""
        return self._lasting("callers")

    @property
    def open_guards(self) -> list[str]:
        """What is open at the end of what is known."""
        return self._lasting("guards open")

    @property
    def acted(self) -> dict[str, int]:
        """What guards changed: how many events of a signature they did not let through."""
        return {
            f"{signature} {outcome}": number
            for (signature, outcome), number in sorted(self.outcomes.items())
            if outcome in _ACTED
        }

    def _lasting(self, name: str) -> list[str]:
        return [
            span.says
            for lane in self.lanes
            if lane.name == name
            for span in lane.spans
            if span.lasts
        ]


def clock_time(seconds: float) -> str:
    """``mm:ss`` or ``h:mm:ss`` of a number of seconds."""
    whole = int(seconds)
    hours, rest = divmod(whole, 3600)
    minutes, left = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes:02}:{left:02}"


def cost_so_far(trip: Trip) -> str:
    """What a call had cost when it tripped, ``""`` if that was nothing or is not known."""
    total = float((trip.cost or {}).get("total", 0.0))
    return usd(total) if total else ""


def usd(amount: float) -> str:
    """An amount in USD, with the digits that small ones need."""
    return f"${amount:.4f}" if amount >= 0.01 or not amount else f"${amount:.6f}"


class _Reader:
    def __init__(self, history: History) -> None:
        self._history = history
        self._began = float(history.header["t"])
        self._lanes = {name: Lane(name) for name in LANES}
        self._open: dict[tuple[str, object], Span] = {}
        self._trips: list[TimedTrip] = []
        self._outcomes: Counter[tuple[str, str]] = Counter()
        self._ended = ""

    def read(self) -> Timeline:
        last = 0.0
        for row in self._history.rows():
            try:
                at = float(row["t"]) - self._began
                last = max(last, at)
                read = getattr(self, f"_{row['e']}", None)
                if read is not None:
                    read(row, at)
            except (KeyError, TypeError, ValueError):
                self._history.torn += 1
        for span in self._open.values():
            span.end, span.lasts = last, True
        lanes = [lane for lane in self._lanes.values() if lane.spans or lane.marks]
        money = Money.of(self._history)
        return Timeline(self._history, last, lanes, self._trips, money, self._outcomes, self._ended)

    def _begin(self, lane: str, key: object, at: float, says: str, style: str = "") -> None:
        span = self._open[lane, key] = Span(at, at, says, style)
        self._lanes[lane].spans.append(span)

    def _finish(self, lane: str, key: object, at: float) -> None:
        span = self._open.pop((lane, key), None)
        if span is not None:
            span.end = at

    def _mark(self, lane: str, at: float, says: str, style: str = "") -> None:
        self._lanes[lane].marks.append(Mark(at, says, style))

    # One method per kind of line

    def _in(self, row: Row, at: float) -> None:
        told = getattr(self, f"_told_{row['op']}", None)
        if told is not None:
            told(row, at)

    def _told_callers(self, row: Row, at: float) -> None:
        room, callers = row["room"], row["callers"]
        if ("room", room) not in self._open:
            self._begin("room", room, at, "connected")
        self._finish("callers", room, at)
        if callers:
            self._begin("callers", room, at, f"{callers} there")

    def _told_left(self, row: Row, at: float) -> None:
        self._finish("callers", row["room"], at)
        self._finish("room", row["room"], at)

    def _told_session_started(self, row: Row, at: float) -> None:
        self._begin("sessions", row["session"], at, "a session")

    def _told_session_closing(self, _: Row, at: float) -> None:
        self._mark("sessions", at, "closing")

    def _told_session_closed(self, row: Row, at: float) -> None:
        self._finish("sessions", row["session"], at)

    def _told_stream_opened(self, row: Row, at: float) -> None:
        self._begin("STT streams", row["stream"], at, "an STT stream")

    def _told_stream_closed(self, row: Row, at: float) -> None:
        self._finish("STT streams", row["stream"], at)

    def _told_connected(self, row: Row, at: float) -> None:
        again = "signature" in row
        self._mark("STT connections", at, "again" if again else "first", "bad" if again else "")

    def _told_subscribe(self, row: Row, at: float) -> None:
        verdict, source = row.get("verdict", "allow"), row.get("source", "a track")
        self._mark("tracks", at, f"{source}: {verdict}", "bad" if verdict != "allow" else "")

    def _told_connect(self, row: Row, at: float) -> None:
        signature = row.get("signature", "")
        verdict = row.get("verdict", "allow")
        self._mark("room", at, f"connect {signature}: {verdict}", "bad" if signature else "")

    def _told_disconnect(self, row: Row, at: float) -> None:
        self._mark("room", at, f"disconnected: {row['reason']}")

    def _told_leave(self, _: Row, at: float) -> None:
        self._mark("room", at, "the application left")

    def _told_final(self, row: Row, at: float) -> None:
        kind, verdict = row.get("kind", "genuine"), row.get("verdict", "allow")
        sure = f", confidence {row['confidence']:.2f}" if "confidence" in row else ""
        says = f"{kind}, {row['words']} words{sure}: {verdict}"
        self._mark("results", at, says, _RESULTS.get(kind, "bad"))

    def _note(self, row: Row, at: float) -> None:
        if row["what"] == "agent_speaks":
            self._finish("agent speaks", None, at)
            if row.get("on"):
                self._begin("agent speaks", None, at, "speaks")

    def _event(self, row: Row, at: float) -> None:
        signature, outcome = row["signature"], row["outcome"]
        self._outcomes[signature, outcome] += 1
        if signature.startswith("job_claim:"):
            kind, cause = signature.partition(":")[2], row.get("cause", "")
            bad = "bad" if kind in ("refused", "lost") else ""
            self._mark("claims", at, f"{kind} {cause}".strip(), bad)

    def _count(self, row: Row, at: float) -> None:
        lane, amount = str(row.get("component", "")).upper(), float(row["amount"])
        if lane in ("LLM", "TTS") and row["metric"] == "runguard.cost.estimated":
            self._mark(lane, at, f"{row.get('model', '')} {usd(amount)}", "good")
        elif lane in ("LLM", "TTS") and row["metric"] == "runguard.cost.unpriced":
            unit = row.get("unit", "")
            self._mark(lane, at, f"{row.get('model', '')} {amount:g} {unit} without a price")

    def _guard(self, row: Row, at: float) -> None:
        key = (row["guard"], row.get("signature", ""))
        if row["state"] == "open":
            self._begin("guards open", key, at, key[1] or key[0], "bad")
        else:
            self._finish("guards open", key, at)

    def _trip(self, row: Row, at: float) -> None:
        trip = Trip(
            guard=GuardName(row["guard"]),
            signature=row["signature"],
            subject=Subject(),
            count=row["count"],
            window_seconds=row["window_seconds"],
            threshold=row["threshold"],
            mode=Mode(row["mode"]),
            action=row.get("action", "none"),
            evidence=tuple(Evidence(**one) for one in row.get("evidence", ())),
            at=self._history.wall(row["t"]),
            cost=row.get("cost"),
            reason=row.get("reason", ""),
        )
        self._trips.append(TimedTrip(at, trip))
        self._mark("trips", at, trip.explain(), "bad")

    def _end(self, row: Row, _: float) -> None:
        self._ended = row["outcome"]
