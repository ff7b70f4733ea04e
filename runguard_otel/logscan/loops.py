"""Which loops the events of a log show, by the policies that judge live servers and agents."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import pairwise
from typing import Final, NamedTuple

from runguard_otel.core.guards.overrun import AGENT_ALONE
from runguard_otel.core.guards.presence import Change, Limits, Member, Role, RoomPolicy
from runguard_otel.core.guards.recogniser import STT_RECONNECT
from runguard_otel.core.signatures import DISPATCHED_TWICE, ROOM_RECONNECT, TRACK_SUBSCRIBE
from runguard_otel.core.window import SlidingWindow
from runguard_otel.cost.pricebook import PriceBook
from runguard_otel.logscan.events import LogEvent

__all__ = ["Loop", "Scan", "scan"]

EMPTY: Final = "vad_misfire:empty_transcript"
_TOGETHER = 60.0  # dispatches of one agent within so long are one wish
_ROLES: Final = {"agent": Role.AGENT, "egress": Role.OTHER, "ingress": Role.OTHER}


class Loop(NamedTuple):
    """One loop.

    Args:
        room: Where; ``""`` if the log does not say.
        signature: What.
        times: How often.
        first: When it began, unix seconds.
        last: When it was last seen.
        agent_minutes: Minutes of an agent in the room that it made, at least; 0 if unknown.
        cost: Their price in USD by LiveKit Cloud's list; ``None`` if nothing can be said.
    """

    room: str
    signature: str
    times: int
    first: float
    last: float
    agent_minutes: float = 0.0
    cost: Decimal | None = None


@dataclass
class Scan:
    """What a log shows.

    Args:
        loops: The most expensive first.
        events: How many lines told of something.
        lines: How many there were.
        rooms: How many rooms were named.
        untimed: Events without a time: they are in no loop.
        roomless: Events of loops that name no room: those of all rooms are counted as one.
        blind: What such a log cannot show, and why, in words.
    """

    loops: list[Loop] = field(default_factory=list)
    events: int = 0
    lines: int = 0
    rooms: int = 0
    untimed: int = 0
    roomless: int = 0
    blind: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Rate:
    """So many events of some kinds within a window are a loop.

    Args:
        signature: Which.
        kinds: What counts.
        threshold: How many.
        window: Within so many seconds.
        ends: Kinds that prove health: counting begins anew.
        skip: How many of the first ones do not count.
        per_participant: Whether each participant is counted by itself.
    """

    signature: str
    kinds: tuple[str, ...]
    threshold: int
    window: float
    ends: tuple[str, ...] = ()
    skip: int = 0
    per_participant: bool = False


def scan(events: Iterable[LogEvent], limits: Limits, book: PriceBook, plan: str = "ship") -> Scan:
    """Find the loops.

    Args:
        events: Of one log or of several, in any order.
        limits: What is a loop.
        book: Prices.
        plan: LiveKit Cloud's plan.
    """
    found = Scan()
    timed: list[tuple[float, LogEvent]] = []
    for event in events:
        found.events += 1
        if event.at is None:
            found.untimed += 1
        else:
            timed.append((event.at, event))
    timed.sort(key=lambda pair: pair[0])
    by_room: defaultdict[str, list[tuple[float, LogEvent]]] = defaultdict(list)
    for at, event in timed:
        by_room[event.room].append((at, event))
    found.rooms = sum(bool(room) for room in by_room)
    found.roomless = len(by_room.get("", ()))
    price = _Price(book, plan)
    for room, told in by_room.items():
        loops = [*_presence(room, told, limits), *_rates(room, told, limits)]
        loops += _dispatched_twice(room, told)
        found.loops += [price.of(loop) for loop in loops]
    found.loops.sort(key=lambda loop: (-(loop.cost or 0), loop.first))
    found.blind = _blind({event.kind for _, event in timed}, found)
    return found


def _presence(room: str, told: list[tuple[float, LogEvent]], limits: Limits) -> Iterator[Loop]:
    """What a server's log shows, by the policy that watches servers."""
    now = told[0][0]
    policy = RoomPolicy(room, limits, clock=lambda: now)
    # As what somebody came may be said in another line than that they came.
    said = {
        e.sid: _ROLES.get(e.detail, Role.CALLER) for _, e in told if e.kind == "joined" and e.detail
    }
    roles = {e.sid: said.get(e.sid) or _named(e.who) for _, e in told if e.kind == "joined"}
    joined: dict[str, float] = {}
    open_loops: dict[tuple[str, str], Loop] = {}
    closed: list[Loop] = []

    def note(changes: list[Change]) -> None:
        for change in changes:
            key = (change.signature, change.subject.participant)
            loop = open_loops.get(key)
            if change.over and loop is not None:
                ended = open_loops.pop(key)
                lasted = change.signature == AGENT_ALONE
                closed.append(ended._replace(last=now) if lasted else ended)
            elif change.trip is not None:
                began = now - max((e.seconds_before for e in change.trip.evidence), default=0)
                open_loops[key] = Loop(room, change.signature, change.trip.count, began, now)
            elif loop is not None:
                open_loops[key] = loop._replace(times=loop.times + 1, last=now)

    for at, event in told:
        while (due := min(policy.due, policy.quiet_at)) <= at:
            now = due
            note(policy.quieten())
            note(policy.check() if policy.due <= now else [])
        now = at
        if event.kind == "joined" and event.sid:
            joined.setdefault(event.sid, at)
            note(policy.joined(_member(event, roles, joined)))
        elif event.kind == "left" and event.sid in joined:
            note(policy.left(_member(event, roles, joined)))
        elif event.kind == "published" and event.detail == "microphone":
            note(policy.published(event.who, event.sid, at))
        elif event.kind == "closed":
            note(policy.finished())
    for (signature, _), loop in open_loops.items():
        lasting = signature == AGENT_ALONE
        closed.append(loop._replace(last=told[-1][0]) if lasting else loop)
    for loop in closed:
        if loop.signature == AGENT_ALONE:
            minutes = (loop.last - loop.first) / 60
            yield loop._replace(times=1, agent_minutes=minutes)
        else:
            yield loop._replace(agent_minutes=float(loop.times))  # each connection is a minute


def _named(identity: str) -> Role:
    """What somebody is for by the name alone: a server gives a job ``agent-`` and the job's id."""
    return Role.AGENT if identity.startswith("agent-AJ_") else Role.CALLER


def _member(event: LogEvent, roles: dict[str, Role], joined: dict[str, float]) -> Member:
    return Member(event.sid, event.who, roles[event.sid], None, joined[event.sid])


def _rates(room: str, told: list[tuple[float, LogEvent]], limits: Limits) -> Iterator[Loop]:
    """What an agent's log shows: too many events of a kind in too short a time."""
    rates = (
        _Rate(ROOM_RECONNECT, ("reconnected",), limits.rejoins, limits.rejoin_seconds),
        _Rate(ROOM_RECONNECT, ("connected",), limits.rejoins, limits.rejoin_seconds, skip=1),
        _Rate(
            TRACK_SUBSCRIBE, ("subscribed",), limits.tracks, limits.track_seconds,
            per_participant=True,
        ),
        _Rate(STT_RECONNECT, ("stt_retry",), 5, 120, ends=("transcript",)),
        _Rate(EMPTY, ("empty_transcript",), 5, 120, ends=("transcript",)),
    )  # fmt: skip
    for rate in rates:
        groups: defaultdict[str, list[tuple[float, LogEvent]]] = defaultdict(list)
        for at, event in told:
            if event.kind in rate.kinds or event.kind in rate.ends:
                groups[event.who if rate.per_participant else ""].append((at, event))
        for events in groups.values():
            yield from _stretches(room, rate, events)


def _stretches(room: str, rate: _Rate, events: list[tuple[float, LogEvent]]) -> Iterator[Loop]:
    window = SlidingWindow(rate.window, capacity=rate.threshold)
    current: Loop | None = None
    skip = rate.skip
    for at, event in events:
        if event.kind in rate.ends:
            window.clear()
            if current is not None:
                yield current
            current = None
            continue
        if skip:
            skip -= 1
            continue
        count = window.hit(at)
        if current is not None and at - current.last < rate.window:
            current = current._replace(times=current.times + 1, last=at)
            continue
        if current is not None:
            yield current
        current = None
        if count >= rate.threshold:
            first = window.times()[0]
            minutes = float(count) if rate.signature == ROOM_RECONNECT else 0.0
            current = Loop(room, rate.signature, count, first, at, minutes)
    if current is not None:
        yield current


def _dispatched_twice(room: str, told: list[tuple[float, LogEvent]]) -> Iterator[Loop]:
    """The same agent asked for again while the first may still serve; jobs that began overlap."""
    for kind in ("dispatched", "job"):
        by_agent: defaultdict[str, list[tuple[float, str]]] = defaultdict(list)
        for at, event in told:
            if event.kind == kind and (event.detail or kind == "job"):
                known = by_agent[event.detail]
                if not event.sid or event.sid not in {sid for _, sid in known}:
                    known.append((at, event.sid))
        ended = {e.sid: at for at, e in told if e.kind == "job_ended" and e.sid}
        for asked in by_agent.values():
            close = [
                (at, sid)
                for (before, former), (at, sid) in pairwise(asked)
                if at - before < _TOGETHER and ended.get(former, at) >= at
            ]
            if close:
                until = max(ended.get(sid, told[-1][0]) for _, sid in close)
                minutes = sum(ended.get(sid, told[-1][0]) - at for at, sid in close) / 60
                yield Loop(room, DISPATCHED_TWICE, len(close) + 1, asked[0][0], until, minutes)
                break
        else:
            continue
        return


class _Price:
    """What an agent's minute in a room costs, by LiveKit Cloud's list."""

    def __init__(self, book: PriceBook, plan: str) -> None:
        self._rows = (
            book.find("transport", "livekit-cloud", "participant", plan),
            book.find("agent", "livekit-cloud", "agent-session", plan),
        )

    def of(self, loop: Loop) -> Loop:
        if not loop.agent_minutes or None in self._rows:
            return loop
        used = {"connection_seconds": loop.agent_minutes * 60}
        cost = sum((row.charge(used).amount for row in self._rows if row), Decimal(0))
        return loop._replace(cost=cost)


def _blind(kinds: set[str], found: Scan) -> list[str]:
    """What this log cannot show, for lack of lines that would say it."""
    if not found.events:
        return ["no line tells of a room, a job or a recogniser: is this a LiveKit log?"]
    said = []
    server = bool(kinds & {"joined", "left", "published", "dispatched"})
    agent = bool(kinds & {"job", "job_ended", "stt_retry", "transcript", "resumed", "connected"})
    if not server:
        said.append(
            "agents alone, and who came and went: only the log of livekit-server says it (or "
            "`runguard-otel watch --once`, which asks a running server)"
        )
    if not agent:
        said.append(
            "recognisers that fail again and again, and echoes or noise taken for speech: only the "
            "agent's own log may say it"
        )
    elif not kinds & {"transcript", "empty_transcript"}:
        said.append(
            "noise taken for speech: livekit-agents writes what was understood at level DEBUG only"
        )
    if server:
        said.append(
            "two agents of one name in a room: a server's log does not say the names of agents"
        )
    if found.untimed:
        said.append(f"{found.untimed} events without a time: they belong to no loop here")
    if found.roomless:
        said.append(
            f"{found.roomless} events that name no room: taken together, so calls at the same time "
            "may look like one loop"
        )
    return said
