"""A picture of a server at this moment: its rooms, their agents, and what of them is a loop.

One look cannot tell an agent that is about to leave from one that was left alone, nor a hand-over
from a duplicate. So a room in question is looked at once more, some seconds later.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from math import inf
from typing import Any, Final

from runguard_otel.core.guards.overrun import AGENT_ALONE
from runguard_otel.core.guards.presence import Change, Limits, Member, Role
from runguard_otel.core.signatures import DUPLICATE, UNANSWERED
from runguard_otel.core.verdict import Clock, Trip
from runguard_otel.watch.fleet import Fleet
from runguard_otel.watch.server import Room, Server

__all__ = ["Picture", "RoomPicture", "look"]

SECOND_LOOK: Final = 5.0
"""Seconds between the two looks."""
AT_ONCE: Final = 16
"""Questions on their way at the same time."""


@dataclass(frozen=True)
class RoomPicture:
    """One room.

    Args:
        name: Its name.
        sid: LiveKit's id of this life of it.
        age_seconds: Since it was opened.
        agents: Names of its agents; an identity in brackets where an agent does not say its name.
        callers: How many there are.
        others: Recorders, ingress, avatars.
        agent_seconds: The sum of the times its agents have been there: what duplicates add to.
        trips: What of it is a loop.
    """

    name: str
    sid: str
    age_seconds: float
    agents: tuple[str, ...]
    callers: int
    others: int
    agent_seconds: float
    trips: tuple[Trip, ...] = ()

    def as_data(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "room": self.name,
            "sid": self.sid,
            "age_seconds": round(self.age_seconds),
            "agents": list(self.agents),
            "callers": self.callers,
            "others": self.others,
            "agent_seconds": round(self.agent_seconds),
            "loops": [
                {"signature": trip.signature, "guard": str(trip.guard), "why": trip.reason}
                for trip in self.trips
            ],
        }


@dataclass
class Picture:
    """All rooms.

    Args:
        rooms: The rooms, those with loops first, then the oldest first.
        unasked: Rooms that went away, or could not be asked about.
    """

    rooms: list[RoomPicture] = field(default_factory=list)
    unasked: int = 0

    @property
    def loops(self) -> int:
        """How many loops there are."""
        return sum(len(room.trips) for room in self.rooms)

    def as_data(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "rooms": [room.as_data() for room in self.rooms],
            "loops": self.loops,
            "agents": sum(len(room.agents) for room in self.rooms),
            "agents_alone": sum(not r.callers for r in self.rooms if r.agents),
            "oldest_seconds": round(max((r.age_seconds for r in self.rooms), default=0)),
            "unasked": self.unasked,
        }


async def look(
    server: Server,
    limits: Limits,
    *,
    between: float = SECOND_LOOK,
    clock: Clock = time.monotonic,
    wall: Clock = time.time,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> Picture:
    """Take a picture.

    Args:
        server: An open one.
        limits: What is a loop; how long a state has lasted is taken from the times of arrival.
        between: Seconds between the first and the second look at a room in question.
        clock: Monotonic seconds, the one of ``server``.
        wall: Unix seconds.
        sleep: Waits.

    Raises:
        ServerError: If the server cannot be asked for its rooms.
    """
    trips: dict[str, list[Trip]] = {}

    def tell(sid: str, change: Change) -> None:
        if change.trip is not None:
            trips.setdefault(sid, []).append(change.trip)

    # What two looks agree on has lasted; how long before the first, the times of arrival say.
    at_once = replace(
        limits,
        **{
            name: min(getattr(limits, name), between)
            for name in ("together_seconds", "left_seconds", "unmet_seconds", "unanswered_seconds")
        },
    )
    fleet = Fleet(at_once, tell, max_rooms=10_000_000, clock=clock, wall=wall)
    found = await server.rooms()
    unasked = await _ask_all(server, fleet, found, clock)
    doubtful = [r for r in found if (room := fleet.room(r.sid)) and room.due < inf]
    if doubtful:
        await sleep(between)
        unasked += await _ask_all(server, fleet, doubtful, clock)
    now = wall()
    rooms = [
        _picture(room, fleet, now, trips.get(room.sid, []), limits)
        for room in found
        if room.sid in fleet
    ]
    rooms.sort(key=lambda r: (not r.trips, -r.age_seconds))
    return Picture(rooms, unasked)


async def _ask_all(server: Server, fleet: Fleet, rooms: list[Room], clock: Clock) -> int:
    """Ask about each of them; returns about how many nothing is known."""
    turn = asyncio.Semaphore(AT_ONCE)
    unasked = 0

    async def ask(room: Room) -> None:
        nonlocal unasked
        async with turn:
            asked = clock()
            members = await server.members(room.name)
            if members is None:
                unasked += 1
                return
            dispatches = await server.dispatches(room.name)
        fleet.listed(room.sid, room.name, room.created, members, asked, dispatches)

    await asyncio.gather(*(ask(room) for room in rooms))
    return unasked


def _picture(
    room: Room, fleet: Fleet, now: float, trips: list[Trip], limits: Limits
) -> RoomPicture:
    policy = fleet.room(room.sid)
    members = policy.members if policy else []
    agents = [m for m in members if m.role is Role.AGENT]
    return RoomPicture(
        name=room.name,
        sid=room.sid,
        age_seconds=max(now - room.created, 0.0) if room.created else 0.0,
        agents=tuple(sorted(map(_name, agents))),
        callers=sum(m.role is Role.CALLER for m in members),
        others=sum(m.role is Role.OTHER for m in members),
        agent_seconds=sum(max(now - a.joined, 0.0) for a in agents if a.joined),
        trips=tuple(_in_words(t) for t in trips if _old_enough(t, members, limits, now)),
    )


def _name(agent: Member) -> str:
    return f"({agent.identity})" if agent.agent is None else agent.agent or "unnamed"


def _old_enough(trip: Trip, members: list[Member], limits: Limits, now: float) -> bool:
    """Whether the people concerned have been there for as long as the rule says."""
    least = {
        AGENT_ALONE: (Role.AGENT, limits.unmet_seconds),
        UNANSWERED: (Role.CALLER, limits.unanswered_seconds),
        DUPLICATE: (Role.AGENT, limits.together_seconds),
    }.get(trip.signature)
    if least is None:
        return True
    role, seconds = least
    latest = max((m.joined for m in members if m.role is role), default=now)
    return now - latest >= seconds


def _in_words(trip: Trip) -> Trip:
    """Two looks know that agents are alone, and not since when."""
    if trip.signature != AGENT_ALONE:
        return trip
    return replace(trip, reason="its agents are there and no caller is")
