"""Which loops show from outside: who comes and goes in one room, and what was dispatched to it.

Nothing here depends on the order in which it is told. A stay is known by its sid, a time is the
server's own, and what has left never comes back: told twice, late or in any order, the same facts
make the same verdict. What was never told can only delay one, because a state is a loop not before
the server was asked (:meth:`RoomPolicy.listed`), and a rate counts what surely happened.
"""

from __future__ import annotations

import time
from bisect import insort
from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from math import inf
from typing import Final, NamedTuple

from runguard_otel.core.breaker import Breaker
from runguard_otel.core.guards.overrun import AGENT_ALONE, DURATION, JobPolicy
from runguard_otel.core.guards.overrun import Limits as JobLimits
from runguard_otel.core.overdue import Overdue
from runguard_otel.core.signatures import (
    DISPATCHED_TWICE,
    DUPLICATE,
    ROOM_RECONNECT,
    TRACK_SUBSCRIBE,
    UNANSWERED,
    guard_of,
)
from runguard_otel.core.verdict import Clock, Evidence, Mode, Subject, Trip

__all__ = [
    "Change",
    "Dispatch",
    "DispatchedJob",
    "Limits",
    "Member",
    "Role",
    "RoomPolicy",
]

_MOST_REMEMBERED = 64  # of a room: stays that ended, people who came, dispatches
_MOST_ARRIVALS = 16  # of a person: more than any threshold in use
_IN_ROOM = "room"  # the one connection that a JobPolicy is told of
_MOST_PATIENCE = 3600.0


class Role(str, Enum):
    """What a participant is for us."""

    AGENT = "agent"
    CALLER = "caller"
    OTHER = "other"
    """Recorders, ingress, avatars: they neither serve nor need to be served."""

    def __str__(self) -> str:
        return self.value


class Member(NamedTuple):
    """One stay of somebody in a room.

    Args:
        sid: LiveKit's id of this stay; who comes back has another.
        identity: Who it is.
        role: What for.
        agent: The agent's name; ``None`` if this is no agent, or one that does not say its name.
        joined: When, unix seconds of the server.
    """

    sid: str
    identity: str
    role: Role
    agent: str | None = None
    joined: float = 0.0


class DispatchedJob(NamedTuple):
    """A job of a dispatch.

    Args:
        identity: As whom it is in the room; ``""`` before it came.
        serves: The sid of the one participant it is for; ``""`` for a job of the whole room.
        live: Whether it waits or runs.
        succeeded: Whether it ended well.
    """

    identity: str
    serves: str = ""
    live: bool = True
    succeeded: bool = False


class Dispatch(NamedTuple):
    """One request for an agent.

    Args:
        id: LiveKit's id.
        agent: The agent's name; ``""`` is what every room gets, wanted or not.
        metadata: What it says to the agent.
        jobs: What became of it so far.
    """

    id: str
    agent: str
    metadata: str = ""
    jobs: tuple[DispatchedJob, ...] = ()

    @property
    def live(self) -> bool:
        """Whether an agent is there for it, or is still to come."""
        return not self.jobs or any(job.live for job in self.jobs)


@dataclass(frozen=True, slots=True)
class Limits:
    """What is a loop; times in seconds, and a time of 0 switches that rule off.

    Args:
        rejoins: How often one identity comes back within ``rejoin_seconds``.
        rejoin_seconds: See above.
        tracks: How often one participant publishes a microphone within ``track_seconds``.
        track_seconds: See above.
        together_seconds: How long two agents of one name may be in one room: a hand-over.
        left_seconds: The agents alone after a caller was there.
        unmet_seconds: The agents alone when no caller ever came.
        unanswered_seconds: A caller waits for an agent that was dispatched by name.
        age_seconds: The age of a room.
        by_metadata: Whether dispatches that say something else are no duplicates.
        may_be_alone: Names of agents that wait in empty rooms on purpose.
        acts: What is done about a signature, as a word; what is not named is only observed.
    """

    rejoins: int = 3
    rejoin_seconds: float = 60
    tracks: int = 3
    track_seconds: float = 30
    together_seconds: float = 10
    left_seconds: float = 30
    unmet_seconds: float = 120
    unanswered_seconds: float = 30
    age_seconds: float = 0
    by_metadata: bool = False
    may_be_alone: frozenset[str] = frozenset()
    acts: Mapping[str, str] = field(default_factory=dict)


class Change(NamedTuple):
    """Something that is to be told.

    Args:
        signature: What.
        subject: Whom it is about.
        agent: The name of the agent concerned; ``""`` if there is none.
        trip: The verdict, if it is a loop from now on.
        over: True if a loop of this signature has ended; nothing else happened then.
    """

    signature: str
    subject: Subject
    agent: str
    trip: Trip | None = None
    over: bool = False


class _Arrivals:
    """The latest arrivals of one kind, by the server's time, each counted once."""

    __slots__ = ("_counted_until", "_items")

    def __init__(self) -> None:
        self._items: list[tuple[float, str]] = []
        self._counted_until = -inf

    def add(self, at: float, sid: str) -> bool:
        """Whether it is new."""
        if any(known == sid for _, known in self._items):
            return False
        if len(self._items) == _MOST_ARRIVALS:
            if at < self._items[0][0]:
                return False
            del self._items[0]
        insort(self._items, (at, sid))
        return True

    def again(self, at: float, window: float) -> bool:
        """Whether another one lies within the window before ``at``."""
        return any(0 < at - t < window for t, _ in self._items)

    def fullest(
        self, window: float, *, after: float = -inf, but_first: bool = False
    ) -> list[float]:
        """The times of the fullest window.

        Args:
            window: Its length in seconds.
            after: Earlier ones do not count.
            but_first: The very first one does not count.
        """
        times = [t for t, _ in self._items[but_first and self._counted_until == -inf :]]
        times = [t for t in times if t > self._counted_until and t >= after]
        if len(times) < 2:
            return times
        windows = ([t for t in times[i:] if t - begin < window] for i, begin in enumerate(times))
        return max(windows, key=len, default=[])

    def forget(self) -> None:
        """A loop was made of these; the next one is made of later ones."""
        if self._items:
            self._counted_until = self._items[-1][0]


class _Rate(NamedTuple):
    """How often is too often."""

    signature: str
    detail: str
    threshold: int
    window: float


class _Person:
    """Who came, perhaps again and again."""

    __slots__ = ("agent", "breaker", "joins", "role", "signature", "tracks", "window")

    def __init__(self) -> None:
        self.role: Role | None = None
        self.agent = ""
        self.joins = _Arrivals()
        self.tracks: _Arrivals | None = None  # most never publish again
        self.breaker: Breaker | None = None
        self.signature = ""
        self.window = 0.0


class RoomPolicy:
    """One room: what the server says of it, and what of that is a loop. Not thread-safe.

    Args:
        name: The room's name, for trips.
        limits: What is a loop.
        age: How old the room is already, in seconds.
        clock: Monotonic seconds; how long a state lasts is measured by it.
        alone: Judges whether the agents are alone, by the same limits and clock; one of its own
            if there is none.
    """

    def __init__(
        self,
        name: str,
        limits: Limits,
        *,
        age: float = 0.0,
        clock: Clock = time.monotonic,
        alone: JobPolicy | None = None,
    ) -> None:
        self.name = name
        self._limits = limits
        self._clock = clock
        self._present: dict[str, tuple[Member, float]] = {}
        self._gone: OrderedDict[str, None] = OrderedDict()
        self._people: OrderedDict[str, _Person] = OrderedDict()
        self._dispatches: dict[str, Dispatch] = {}
        self._served_from = inf
        """When the first agent came (unix); infinity if none did."""
        self._visited = self._met = False
        self._alone = alone or JobPolicy(
            JobLimits(
                left_seconds=limits.left_seconds,
                unmet_seconds=limits.unmet_seconds,
                silent_seconds=0,
                close_seconds=0,
            ),
            Subject(room=name),
            self._mode(AGENT_ALONE),
            clock=clock,
        )
        self._alone_agent: str | None = None
        self._age, self._unanswered = Overdue(), Overdue()
        self._age.begin(clock() - age, limits.age_seconds)
        self._patience = limits.unanswered_seconds
        self._twins: dict[str, Overdue] = {}
        self._twin_signature: dict[str, str] = {}

    # -- what the server says -------------------------------------------------------------------

    def joined(self, member: Member) -> list[Change]:
        """Somebody came, or is there."""
        now = self._clock()
        found = self._came(member, now)
        if member.sid not in self._gone:
            self._present[member.sid] = (member, now)
        return found + self._settle(now)

    def left(self, member: Member) -> list[Change]:
        """That stay is over; it counts as one even if nobody told of its beginning."""
        now = self._clock()
        found = self._came(member, now)
        self._present.pop(member.sid, None)
        self._end(member.sid)
        return found + self._settle(now)

    def published(self, identity: str, track: str, at: float) -> list[Change]:
        """Somebody published a microphone.

        Args:
            identity: Who.
            track: LiveKit's id of the track.
            at: When, unix seconds of the server.
        """
        person = self._person(identity)
        if person.tracks is None:
            person.tracks = _Arrivals()
        if not person.tracks.add(at, track):
            return []
        again = person.tracks.again(at, self._limits.track_seconds)
        return self._judge_tracks(identity, person, self._clock(), again)

    def listed(
        self, members: Iterable[Member], asked: float, dispatches: Iterable[Dispatch] | None = None
    ) -> list[Change]:
        """The server was asked, and this is all there is.

        Args:
            members: Who is in the room.
            asked: When it was asked (monotonic): who came since then may be missing.
            dispatches: What was dispatched to the room; ``None`` if that is not known.
        """
        found: list[Change] = []
        there = set[str]()
        for member in members:
            there.add(member.sid)
            found += self.joined(member)
        for sid, (_, seen) in list(self._present.items()):
            if sid not in there and seen < asked:
                self._end(sid)
        if dispatches is not None:
            self._dispatches = {d.id: d for d in list(dispatches)[-_MOST_REMEMBERED:]}
        return found + self._settle(self._clock())

    # -- what follows ---------------------------------------------------------------------------

    @property
    def members(self) -> list[Member]:
        """Who is there."""
        return [member for member, _ in self._present.values()]

    @property
    def dispatches(self) -> list[Dispatch]:
        """What was dispatched, as far as it was asked for."""
        return list(self._dispatches.values())

    @property
    def age(self) -> float:
        """Seconds since the room was opened."""
        return self._clock() - (self._age.since or 0.0)

    @property
    def due(self) -> float:
        """When to ask the server, :meth:`listed`, and then :meth:`check` (monotonic)."""
        states = (self._age, self._unanswered, *self._twins.values())
        return min(self._alone.due, *(state.due for state in states))

    @property
    def quiet_at(self) -> float:
        """When :meth:`quieten` may find that a rate is over (monotonic)."""
        return min((due for _, _, due in self._quiet()), default=inf)

    def check(self) -> list[Change]:
        """What has lasted too long by now. Only right after :meth:`listed`."""
        now = self._clock()
        found: list[Change] = []
        for trip in self._alone.check():
            agents = self._agents()
            self._alone_agent = agents[0].agent or "" if agents else ""
            done = replace(
                trip,
                mode=self._mode(AGENT_ALONE),
                action=self._limits.acts.get(AGENT_ALONE, "none"),
            )
            found.append(self._tripped(done, self._alone_agent))
        if self._age.due <= now:
            self._age.trip()
            found.append(self._lasting(DURATION, self._age, self._first_agent(), now))
        for name, twins in self._twins.items():
            if twins.due <= now:
                twins.trip()
                self._twin_signature[name] = self._twin_kind(name)
                found.append(self._twin_trip(name, twins, now))
        if self._unanswered.due <= now:
            found += self._judge_unanswered(now)
        return found

    def quieten(self) -> list[Change]:
        """The rates that have fallen."""
        now = self._clock()
        found = []
        for identity, person, due in list(self._quiet()):
            if due <= now:
                found.append(self._over(person.signature, person.agent, identity))
                person.breaker = None
                person.joins.forget()
                if person.tracks is not None:
                    person.tracks.forget()
        return found

    def finished(self) -> list[Change]:
        """The room is closed, and with it everything that was open."""
        now = self._clock()
        found = [
            self._over(person.signature, person.agent, identity)
            for identity, person, _ in self._quiet()
        ]
        if self._age.tripped:
            found.append(self._over(DURATION, self._first_agent()))
        self._age.end()
        for sid in list(self._present):
            self._end(sid)
        self._dispatches.clear()
        return found + self._settle(now)

    # -- inside ---------------------------------------------------------------------------------

    def _person(self, identity: str) -> _Person:
        person = self._people.get(identity)
        if person is None:
            person = self._people[identity] = _Person()
            if len(self._people) > _MOST_REMEMBERED:
                self._forget_somebody()
        return person

    def _forget_somebody(self) -> None:
        """The first who is not in a loop; what is open has to be told of when it ends."""
        for identity, person in self._people.items():
            if person.breaker is None:
                del self._people[identity]
                return

    def _end(self, sid: str) -> None:
        self._present.pop(sid, None)
        self._gone[sid] = None
        if len(self._gone) > _MOST_REMEMBERED:
            self._gone.popitem(last=False)

    def _came(self, member: Member, now: float) -> list[Change]:
        """What follows from a stay, when it is first heard of."""
        person = self._person(member.identity)
        person.role = member.role
        person.agent = member.agent or person.agent
        self._visited = self._visited or member.role is Role.CALLER
        if not person.joins.add(member.joined, member.sid):
            return []
        if member.role is Role.OTHER:
            return []
        if member.role is Role.AGENT and member.joined < self._served_from:
            self._served_from = member.joined
            judged = list(self._people.items())
        else:
            judged = [(member.identity, person)]
        found = self._judge_joins(member, person, now)
        for identity, each in judged:
            found += self._judge_tracks(identity, each, now, again=False)
        return found

    def _judge_joins(self, member: Member, person: _Person, now: float) -> list[Change]:
        limits = self._limits
        signature = ROOM_RECONNECT if member.role is Role.AGENT else TRACK_SUBSCRIBE
        return self._judge(
            _Rate(signature, "joined", limits.rejoins, limits.rejoin_seconds),
            person.joins.fullest(limits.rejoin_seconds, but_first=True),
            (member.identity, person),
            now,
            again=person.joins.again(member.joined, limits.rejoin_seconds),
        )

    def _judge_tracks(
        self, identity: str, person: _Person, now: float, again: bool
    ) -> list[Change]:
        """A microphone that comes again and again matters where an agent listens."""
        if person.tracks is None or person.role is not Role.CALLER or self._served_from == inf:
            return []
        limits = self._limits
        return self._judge(
            _Rate(TRACK_SUBSCRIBE, "published", limits.tracks, limits.track_seconds),
            person.tracks.fullest(limits.track_seconds, after=self._served_from),
            (identity, person),
            now,
            again=again,
        )

    def _judge(
        self,
        rate: _Rate,
        times: list[float],
        who: tuple[str, _Person],
        now: float,
        *,
        again: bool,
    ) -> list[Change]:
        identity, person = who
        subject = Subject(room=self.name, participant=identity)
        agent = person.agent or self._first_agent()
        if person.breaker is not None:
            if again:
                person.breaker.bad(now)
            return [Change(rate.signature, subject, person.agent)] if again else []
        if len(times) < rate.threshold:
            return [Change(rate.signature, subject, agent)] if again else []
        person.breaker = Breaker(quiet_seconds=rate.window)
        person.breaker.open(now)
        person.signature, person.agent, person.window = rate.signature, agent, rate.window
        signature = rate.signature
        trip = Trip(
            guard=guard_of(signature),
            signature=signature,
            subject=subject,
            count=len(times),
            window_seconds=rate.window,
            threshold=rate.threshold,
            mode=self._mode(signature),
            action=self._limits.acts.get(signature, "none"),
            evidence=tuple(
                Evidence(signature, round(times[-1] - t, 3), rate.detail) for t in times
            ),
            reason=_WHY[signature, rate.detail],
        )
        return [self._tripped(trip, agent)]

    def _quiet(self) -> Iterator[tuple[str, _Person, float]]:
        for identity, person in self._people.items():
            if person.breaker is not None:
                yield identity, person, person.breaker.last_bad + person.window

    def _agents(self) -> list[Member]:
        return [m for m, _ in self._present.values() if m.role is Role.AGENT]

    def _first_agent(self) -> str:
        return next((m.agent for m in self._agents() if m.agent), "")

    def _settle(self, now: float) -> list[Change]:
        """Begin and end the states that follow from who is there."""
        found: list[Change] = []
        agents = self._agents()
        callers = sum(m.role is Role.CALLER for m, _ in self._present.values())
        found += self._settle_alone(agents, callers)
        waiting = bool(callers) and self._served_from == inf
        if waiting:
            self._unanswered.begin(now, self._patience)
        elif self._unanswered.since is not None:
            if self._unanswered.tripped:
                found.append(self._over(UNANSWERED, self._unanswered.detail))
            self._unanswered.end()
        return found + self._settle_twins(agents, now)

    def _settle_alone(self, agents: list[Member], callers: int) -> list[Change]:
        was_open = AGENT_ALONE in self._alone.open
        serving = [a for a in agents if a.agent not in self._limits.may_be_alone]
        if serving and len(serving) == len(agents):
            if self._visited and not self._met:
                self._met = True  # not "nobody came", whoever told of it, and when
                self._alone.callers(_IN_ROOM, 1)
            self._alone.callers(_IN_ROOM, callers)
        else:
            self._alone.left(_IN_ROOM)
        if was_open and AGENT_ALONE not in self._alone.open:
            return [self._over(AGENT_ALONE, self._alone_agent or "")]
        return []

    def _settle_twins(self, agents: list[Member], now: float) -> list[Change]:
        if len(agents) < 2 and not self._dispatches and not self._twins:
            return []  # as in most rooms, at most times
        names = {a.agent for a in agents if a.agent is not None}
        names = {name for name in names if self._together(name, agents)} | self._dispatched_twice()
        ended = [name for name in self._twins if name not in names]
        found = [
            self._over(self._twin_signature.pop(name), name)
            for name in ended
            if self._twins[name].tripped
        ]
        for name in ended:
            del self._twins[name]
        for name in names:
            if name not in self._twins:
                self._twins[name] = Overdue()
                self._twins[name].begin(now, self._limits.together_seconds)
        return found

    def _together(self, name: str, agents: list[Member]) -> bool:
        return len(self._same(name, agents)) > 1

    def _same(self, name: str, agents: list[Member]) -> list[Member]:
        """The agents of that name that do the same, the first of them first."""
        apart = {job.identity: (job.serves, self._says(d)) for d, job in self._jobs()}
        by_work: dict[tuple[str, str], dict[str, Member]] = {}
        for agent in agents:
            if agent.agent == name:
                work = apart.get(agent.identity, ("", ""))
                by_work.setdefault(work, {}).setdefault(agent.identity, agent)
        most = max(by_work.values(), key=len, default={})
        return sorted(most.values(), key=lambda a: (a.joined, a.sid))

    def _jobs(self) -> Iterator[tuple[Dispatch, DispatchedJob]]:
        return ((d, job) for d in self._dispatches.values() for job in d.jobs)

    def _says(self, dispatch: Dispatch) -> str:
        return dispatch.metadata if self._limits.by_metadata else ""

    def _dispatched_twice(self) -> set[str]:
        """The names of agents that were asked for twice, and two of which are still to serve."""
        asked = Counter(
            (dispatch.agent, self._says(dispatch))
            for dispatch in self._dispatches.values()
            if dispatch.agent and dispatch.live and not any(job.serves for job in dispatch.jobs)
        )
        return {agent for (agent, _), times in asked.items() if times > 1}

    def _twin_kind(self, name: str) -> str:
        return DUPLICATE if self._together(name, self._agents()) else DISPATCHED_TWICE

    def duplicates(self, name: str) -> list[Member]:
        """The agents of that name that do the same work in this room, the first of them first."""
        return self._same(name, self._agents())

    def _twin_trip(self, name: str, twins: Overdue, now: float) -> Change:
        signature = self._twin_signature[name]
        same = self.duplicates(name)
        subject = Subject(room=self.name, participant=same[-1].identity if len(same) > 1 else "")
        count = max(len(same), 2)
        return self._lasting(signature, twins, name, now, count=count, subject=subject)

    def _judge_unanswered(self, now: float) -> list[Change]:
        """A caller waits: for an agent that was asked for by name?"""
        awaited = [
            d.agent
            for d in self._dispatches.values()
            if d.agent and not any(job.succeeded for job in d.jobs)
        ]
        if awaited:
            self._unanswered.detail = awaited[0]
            self._unanswered.trip()
            return [self._lasting(UNANSWERED, self._unanswered, awaited[0], now)]
        self._patience = min(2 * self._patience, _MOST_PATIENCE)
        self._unanswered.end()
        self._unanswered.begin(now, self._patience)
        return []

    def _lasting(
        self,
        signature: str,
        state: Overdue,
        agent: str,
        now: float,
        *,
        count: int = 1,
        subject: Subject | None = None,
    ) -> Change:
        since = now if state.since is None else state.since
        trip = Trip(
            guard=guard_of(signature),
            signature=signature,
            subject=subject or Subject(room=self.name),
            count=count,
            window_seconds=state.limit,
            threshold=count,
            mode=self._mode(signature),
            action=self._limits.acts.get(signature, "none"),
            evidence=(Evidence(signature, round(now - since, 3)),),
            reason=_WHY[signature, ""],
        )
        return self._tripped(trip, agent)

    def _mode(self, signature: str) -> Mode:
        return Mode.ENFORCE if signature in self._limits.acts else Mode.OBSERVE

    def _tripped(self, trip: Trip, agent: str) -> Change:
        return Change(trip.signature, trip.subject, agent, trip)

    def _over(self, signature: str, agent: str, identity: str = "") -> Change:
        return Change(signature, Subject(room=self.name, participant=identity), agent, over=True)


_WHY: Final = {
    (ROOM_RECONNECT, "joined"): (
        "the same agent joins the room again and again: find what ends its connection, and let its "
        "job end instead of connecting again"
    ),
    (TRACK_SUBSCRIBE, "joined"): (
        "the same participant leaves and joins again and again, and the agent takes each track for "
        "a new one"
    ),
    (TRACK_SUBSCRIBE, "published"): (
        "the same participant publishes its microphone again and again, and the agent takes each "
        "track for a new one"
    ),
    (DURATION, ""): "the room is older than it may get",
    (DUPLICATE, ""): (
        "agents of one name serve the room at once: each listens, thinks and speaks, and is billed"
    ),
    (DISPATCHED_TWICE, ""): (
        "the same agent was dispatched to the room more than once, and each dispatch has a job: "
        "dispatching is not idempotent, so ask for the room's dispatches first"
    ),
    (UNANSWERED, ""): (
        "a caller waits for an agent that was dispatched and has not come: are its workers "
        "running, and of that name?"
    ),
}
