"""What ``--act`` does, and above all what it leaves alone."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, cast

import pytest

from runguard_otel.core.guards.presence import Change, Limits, Member, Role
from runguard_otel.watch.acting import ACTS, Acting
from runguard_otel.watch.fleet import Fleet
from runguard_otel.watch.reporting import Reporter
from runguard_otel.watch.server import Room, Server, ServerError

pytestmark = pytest.mark.unit


class World:
    """A server that answers and obeys, and a watcher of it."""

    def __init__(self, **options: Any) -> None:
        self.now = 0.0
        self.sid = "RM_1"
        self.members_now: list[Member] = []
        self.did: list[tuple[str, ...]] = []
        self.became: list[tuple[str, str]] = []
        self.ill = False
        self.acting = Acting(
            cast("Reporter", self),
            dry_run=options.pop("dry_run", False),
            clock=self.clock,
            **options,
        )
        self.fleet = Fleet(Limits(acts=ACTS), self.tell, clock=self.clock, wall=self.clock)

    def clock(self) -> float:
        return self.now

    def tell(self, sid: str, change: Change) -> None:
        if change.trip is not None:
            self.acting.consider(sid, change)

    def act(self, action: str, became: str) -> None:
        self.became.append((action, became))

    async def room(self, name: str) -> Room | None:
        if self.ill:
            raise ServerError("away")
        return Room(self.sid, name, 0)

    async def members(self, name: str) -> list[Member]:
        return self.members_now

    async def dispatches(self, name: str) -> list[Any]:
        return []

    async def remove(self, room: str, identity: str) -> None:
        self.did.append(("remove", room, identity))

    async def delete(self, room: str) -> None:
        self.did.append(("delete", room))

    def judged(self, *members: Member, after: float = 200.0) -> None:
        """The room is seen with these people, and again when what lasts has lasted its time."""
        self.members_now = list(members)
        for _ in range(2):
            self.fleet.listed("RM_1", "desk", 0, members, self.now)
            self.now += after

    async def runs(self) -> list[tuple[str, ...]]:
        task = asyncio.create_task(self.acting.run(cast("Server", self), self.fleet))
        for _ in range(50):
            await asyncio.sleep(0)
        task.cancel()
        return self.did


def agent(number: int, joined: float) -> Member:
    return Member(f"PA_{number}", f"agent-{number}", Role.AGENT, "support", joined)


CALLER = Member("PA_c", "ann", Role.CALLER, None, 0)


async def test_the_younger_duplicate_is_removed_and_the_audit_log_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    world = World()
    with caplog.at_level(logging.WARNING, "runguard_otel.watch.audit"):
        world.judged(CALLER, agent(2, 9), agent(1, 5))
        assert await world.runs() == [("remove", "desk", "agent-2")]
    assert world.became == [("remove_agent", "done")]
    assert "done: remove_agent in room 'desk'" in caplog.text


async def test_a_room_with_agents_only_is_deleted() -> None:
    world = World()
    world.judged(agent(1, 5))
    assert await world.runs() == [("delete", "desk")]


def came_back(world: World) -> None:
    world.members_now = [*world.members_now, CALLER]


def another_room(world: World) -> None:
    world.sid = "RM_2"


def left(world: World) -> None:
    world.members_now = world.members_now[:-1]


def away(world: World) -> None:
    world.ill = True


@pytest.mark.parametrize(
    ("change", "became"),
    [(came_back, "changed"), (another_room, "changed"), (left, "changed"), (away, "failed")],
)
async def test_a_room_that_changed_since_it_was_judged_is_left_alone(
    change: Callable[[World], None], became: str
) -> None:
    """Fails if the server is not asked once more, or its answer not compared."""
    world = World()
    world.judged(agent(1, 5))
    change(world)
    assert await world.runs() == []
    assert world.became == [("delete_room", became)]


async def test_of_two_who_came_at_once_none_is_removed() -> None:
    """It could be the one that serves."""
    world = World()
    world.judged(CALLER, agent(1, 5), agent(2, 5))
    assert await world.runs() == []


async def test_a_dry_run_says_what_it_would_do() -> None:
    world = World(dry_run=True)
    world.judged(agent(1, 5))
    assert await world.runs() == []
    assert world.became == [("delete_room", "dry_run")]


async def test_a_storm_of_loops_is_no_storm_of_interventions() -> None:
    world = World(per_minute=2)
    world.members_now = [agent(1, 5)]
    for number in range(5):
        for _ in range(2):
            world.fleet.listed(f"RM_{number}", "desk", 0, [agent(1, 5)], world.now)
            world.now += 150
    world.now = 10_000

    async def room(name: str) -> Room:
        return Room(f"RM_{len(world.became)}", name, 0)

    world.room = room  # type: ignore[method-assign]
    assert len(await world.runs()) == 2
    assert [what for _, what in world.became] == ["done", "done", "limited", "limited", "limited"]


async def test_an_agent_that_never_named_itself_and_other_loops_are_not_acted_on() -> None:
    world = World()
    nameless = [a._replace(agent=None) for a in (agent(1, 5), agent(2, 9))]
    world.judged(CALLER, *nameless)
    assert await world.runs() == []
    assert world.became == []
