"""What stays in rooms cost, seen from the server: each started minute once, whoever watches.

Caught: a short stay that no look saw; one counted again when it is told of late, after a restart or
by the watcher that stood by; a recorder that is billed as a caller.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, cast

import pytest

from runguard_otel.core.guards.presence import Limits, Member, Role
from runguard_otel.core.ports import Recorder
from runguard_otel.cost.meter import Meter
from runguard_otel.cost.pricebook import PriceBook
from runguard_otel.watch.costing import Costs
from runguard_otel.watch.fleet import Fleet

pytestmark = pytest.mark.unit

MINUTE = 0.0005
"""USD of a participant on LiveKit Cloud's Ship plan; an agent's session is 0.01 more."""
BEGAN = 1000.0


class World:
    """A watcher of the server's cost, and what it counted in USD by component and agent."""

    def __init__(self, plan: str = "ship", now: float = BEGAN) -> None:
        self.now = now
        self.tells = True
        self.counted: Counter[tuple[str, str]] = Counter()
        self.unpriced: Counter[str] = Counter()
        self.fleet = Fleet(Limits(), lambda *_: None, clock=self.wall, wall=self.wall)
        meter = Meter(PriceBook.load(), cast("Recorder", self), plan=plan, cloud_agents=True)
        self.costs = Costs(meter, cast("Recorder", self), lambda: self.tells, wall=self.wall)

    def wall(self) -> float:
        return self.now

    def add(self, metric: str, amount: float = 1, /, **labels: Any) -> None:
        if metric == "runguard.cost.estimated":
            self.counted[labels["component"], labels["agent"]] += amount  # type: ignore[assignment]
        else:
            self.unpriced[labels["component"]] += amount  # type: ignore[assignment]

    def there(self, *members: Member) -> None:
        self.fleet.listed("RM", "room", 0, members, self.now)
        self.costs.look(self.fleet)

    @property
    def dollars(self) -> dict[tuple[str, str], float]:
        return {key: round(amount, 6) for key, amount in self.counted.items() if amount}


def agent(sid: str = "PA_1", joined: float = BEGAN) -> Member:
    return Member(sid, "agent", Role.AGENT, "support", joined)


def caller(sid: str = "PA_2", joined: float = BEGAN) -> Member:
    return Member(sid, "caller", Role.CALLER, None, joined)


RECORDER = Member("PA_3", "egress", Role.OTHER, None, BEGAN)


def test_agents_callers_and_nobody_else_by_started_minutes() -> None:
    world = World()
    world.there(agent(), caller(), RECORDER)
    for _ in range(30):
        world.now += 4.1
        world.there(agent(), caller(), RECORDER)
    world.now += 15
    world.there(agent(), caller(), RECORDER)
    assert world.dollars == {
        ("transport", "support"): round(2 * 3 * MINUTE, 6),  # 138 s each
        ("agent", "support"): 0.03,
    }


def test_each_of_a_loops_short_stays_is_a_minute_though_no_look_saw_it() -> None:
    world = World()
    for number in range(20):
        stay = agent(f"PA_{number}", world.now)
        world.costs.came("RM", stay)
        world.now += 2
        world.costs.left("RM", stay, world.now)
        world.costs.came("RM", stay)  # told late, once more
    assert world.dollars["transport", "support"] == round(20 * MINUTE, 6)


def test_a_stay_whose_beginning_nobody_told_of() -> None:
    world = World()
    world.now += 100
    world.costs.left("RM", caller(), BEGAN + 61, "support")
    assert world.dollars == {("transport", "support"): 2 * MINUTE}


def test_a_restart_counts_on() -> None:
    world = World()
    world.there(caller())
    world.now += 90
    world.there(caller())
    again = World(now=world.now)
    again.there(caller())
    again.now += 20
    again.there(caller())
    assert again.dollars == {}, "its second minute is counted"
    again.now += 20
    again.there(caller())
    assert again.dollars == {("transport", ""): MINUTE}


def test_two_watchers_count_once() -> None:
    first, second = World(), World()
    second.tells = False
    for _ in range(5):
        for world in (first, second):
            world.there(agent(), caller())
            world.now += 30
    first.tells, second.tells = False, True
    for _ in range(5):
        for world in (first, second):
            world.there(agent(), caller())
            world.now += 30
    together = first.counted + second.counted
    assert round(together["agent", "support"], 6) == 0.05, "270 s are five minutes"
    assert second.dollars["agent", "support"] == 0.03, "the third minute and on"


def test_what_has_no_price_is_counted_as_such() -> None:
    world = World(plan="self_hosted")
    world.there(caller())
    world.now += 60
    world.there(caller())
    assert world.dollars == {}
    assert round(world.unpriced["transport"], 6) == 1, "minutes"


def test_who_is_gone_is_forgotten() -> None:
    world = World()
    world.there(agent(), caller())
    world.now += 10
    world.fleet.listed("RM", "room", 0, [caller()], world.now + 1)
    world.costs.look(world.fleet)
    assert len(world.costs) == 1
