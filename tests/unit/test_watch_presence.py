"""What a room's loops are from outside, fact by fact; ``test_watch_orders`` shuffles them."""

from __future__ import annotations

import pytest

from runguard_otel.core.guards.presence import (
    Change,
    Dispatch,
    DispatchedJob,
    Limits,
    Member,
    Role,
    RoomPolicy,
)
from runguard_otel.core.signatures import DISPATCHED_TWICE, DUPLICATE, UNANSWERED
from runguard_otel.core.verdict import Mode

pytestmark = pytest.mark.unit


class Room:
    """A policy whose clock is the server's time."""

    def __init__(self, **limits: object) -> None:
        self.now = 0.0
        self.policy = RoomPolicy("r", Limits(**limits), clock=lambda: self.now)  # type: ignore[arg-type]
        self.stays = 0

    def comes(self, identity: str, role: Role = Role.CALLER, agent: str | None = None) -> Member:
        self.stays += 1
        stay = Member(f"PA_{self.stays}", identity, role, agent, self.now)
        self.changes = self.policy.joined(stay)
        return stay

    def agent(self, identity: str = "a1", name: str | None = "support") -> Member:
        return self.comes(identity, Role.AGENT, name)

    def goes(self, stay: Member) -> list[Change]:
        return self.policy.left(stay)

    def judged(self, *dispatches: Dispatch) -> list[str]:
        """The server is asked, and what lasts is a loop."""
        self.policy.listed(self.policy.members, self.now, dispatches)
        return [c.signature for c in self.policy.check() if c.trip]


def test_an_agent_that_joins_a_third_time_again_within_the_window_loops() -> None:
    room = Room()
    found = []
    for room.now in (0, 10, 20, 30):
        stay = room.agent()
        found.append([c.trip.count for c in room.changes if c.trip])
        room.goes(stay)
    assert found == [[], [], [], [3]], "fails if the first join counts, or a stay twice"
    (change,) = room.changes
    assert change.trip is not None
    assert change.trip.signature_with_key == "room_reconnect:a1"
    assert change.trip.mode is Mode.OBSERVE
    assert [e.seconds_before for e in change.trip.evidence] == [20, 10, 0]


def test_a_loop_is_over_after_a_quiet_window_and_may_come_again() -> None:
    room = Room()
    for room.now in (0, 10, 20, 30):
        room.agent()
    assert room.policy.quiet_at == 90
    room.now = 90
    assert [c.over for c in room.policy.quieten()] == [True]
    trips = []
    for room.now in (100, 110, 120):
        room.agent()
        trips += [c for c in room.changes if c.trip]
    assert len(trips) == 1, "fails if the joins of the former loop count for the next"


def test_an_agent_that_comes_back_now_and_then_is_no_loop() -> None:
    room = Room()
    for room.now in range(0, 600, 40):
        room.agent()
        assert not any(c.trip for c in room.changes)


def test_two_agents_of_one_name_are_duplicates_once_the_hand_over_is_long_over() -> None:
    room = Room()
    room.comes("caller")
    room.agent("a1")
    room.now = 5
    room.agent("a2")
    assert room.policy.due == 15
    room.now = 15
    assert room.judged() == [DUPLICATE]
    assert [a.identity for a in room.policy.duplicates("support")] == ["a1", "a2"]
    room.now = 16
    assert room.judged() == [], "one trip while it lasts"


def test_a_transfer_another_name_and_an_avatar_are_no_duplicates() -> None:
    room = Room()
    room.comes("caller")
    first = room.agent("a1")
    room.agent("a2", "billing")
    room.agent("a3", None)
    room.agent("a4", None)
    room.comes("avatar", Role.OTHER, "support")
    room.now = 8
    room.agent("a5")
    room.goes(first)
    room.now = 60
    assert room.judged() == []


def test_jobs_for_one_participant_each_are_no_duplicates() -> None:
    """A transcriber has one agent per speaker; fails if the jobs are not looked at."""
    room = Room()
    for n in (1, 2):
        room.comes(f"caller{n}")
        room.agent(f"a{n}", "scribe")
    room.now = 60
    jobs = tuple(DispatchedJob(f"a{n}", f"PA_c{n}") for n in (1, 2))
    assert room.judged(Dispatch("AD_1", "scribe", "", jobs)) == []


def test_an_agent_alone_is_a_loop_sooner_if_somebody_was_there() -> None:
    room = Room()
    caller = room.comes("caller")
    room.agent()
    room.goes(caller)
    room.now = 30
    assert room.judged() == ["session_overrun:agent_alone"]
    room.comes("caller")
    assert [c.agent for c in room.changes if c.over] == ["support"]

    unmet = Room()
    unmet.agent()
    unmet.now = 30
    assert unmet.judged() == []
    unmet.now = 120
    assert unmet.judged() == ["session_overrun:agent_alone"]


def test_an_agent_that_may_be_alone_is_no_loop() -> None:
    room = Room(may_be_alone=frozenset({"support"}))
    room.agent()
    room.now = 3600
    assert room.judged() == []


def test_a_dispatch_doubled_and_a_caller_unanswered_are_found() -> None:
    room = Room()
    room.comes("caller")
    asked = [Dispatch(f"AD_{n}", "support", jobs=(DispatchedJob(""),)) for n in (1, 2)]
    room.judged(*asked)
    room.now = 30
    assert sorted(room.judged(*asked)) == sorted([DISPATCHED_TWICE, UNANSWERED])


def test_a_room_without_a_dispatch_by_name_needs_no_agent() -> None:
    """Every room has a dispatch without a name; fails if that one counts."""
    room = Room()
    room.comes("caller")
    for room.now in (30, 90, 210):
        assert room.judged(Dispatch("AD_0", "")) == []
    assert room.policy.due == 210 + 240, "it is asked for less and less often"


@pytest.mark.parametrize("served", [True, False])
def test_a_microphone_published_again_and_again_matters_where_an_agent_listens(
    served: bool,
) -> None:
    room = Room()
    if served:
        room.agent()
    room.comes("caller")
    trips: list[Change] = []
    for n, at in enumerate((1, 5, 9)):
        trips += [c for c in room.policy.published("caller", f"TR_{n}", at) if c.trip]
    assert [c.signature for c in trips] == (["track_subscribe"] if served else [])


def test_what_is_remembered_of_a_room_is_bounded() -> None:
    """Fails if anything grows with the number of those who came."""
    room = Room()
    for n in range(5000):
        room.now = n * 100
        room.goes(room.comes(f"c{n}"))
    held = vars(room.policy)
    assert max(len(v) for v in held.values() if hasattr(v, "__len__")) <= 64


def test_an_old_room_is_told_of_once() -> None:
    room = RoomPolicy("r", Limits(age_seconds=100), age=70, clock=lambda: 0.0)
    assert room.due == 30
