"""Webhooks shuffled, doubled, dropped, and the watcher restarted: never a wrong verdict.

An evening is made from a seed and told in order once; that is what there is to find. Told in any
other way the same is found, or less of it, and nothing else. ``make soak`` tries 10,000 seeds
(``SOAK_ORDERS``).

Caught: a stay counted twice; a state judged without asking the server; a rate counted by the time
of arrival.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable

import pytest

from runguard_otel.core.guards.presence import Change, Limits, Member, Role
from runguard_otel.watch import seen as words
from runguard_otel.watch.fleet import Fleet
from runguard_otel.watch.seen import Seen

pytestmark = pytest.mark.unit

SEEDS = int(os.environ.get("SOAK_ORDERS", "120"))
POLL = 15.0
END = 400.0

Found = set[tuple[str, str, str]]


class Evening:
    """What happened on a server."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.events: list[Seen] = []
        self.stays: list[tuple[str, Member, float, float]] = []
        scripts: list[Callable[[str, float], None]] = [
            self.healthy, self.rejoins, self.twins, self.left_alone, self.flaps, self.transfer,
        ]  # fmt: skip
        for number in range(self.random.randint(2, 6)):
            self.random.choice(scripts)(f"RM_{number}", self.random.uniform(0, 60))
        self.events.sort(key=lambda e: e.at)

    def stay(self, room: str, who: str, role: Role, begin: float, end: float) -> Member:
        name = "support" if role is Role.AGENT else None
        name = "billing" if who == "billing" else name
        member = Member(f"PA_{len(self.stays)}", who, role, name, begin)
        self.stays.append((room, member, begin, end))
        self.tell(words.JOINED, room, begin, member)
        if end < END:
            self.tell(words.LEFT[0], room, end, member)
        return member

    def tell(self, kind: str, room: str, at: float, member: Member | None, track: str = "") -> None:
        number = len(self.events)
        self.events.append(Seen(kind, room, room, at, 0, member, track, 0, f"EV_{number}"))

    # What may happen in a room.

    def healthy(self, room: str, at: float) -> None:
        caller = self.stay(room, "caller", Role.CALLER, at, at + 200)
        self.stay(room, "agent", Role.AGENT, at + 1, at + 201)
        for n in range(2):
            self.tell(words.PUBLISHED, room, at + 2 + n, caller, f"TR_{room}_{n}")
        self.tell(words.FINISHED, room, at + 220, None)

    def transfer(self, room: str, at: float) -> None:
        self.stay(room, "caller", Role.CALLER, at, at + 250)
        self.stay(room, "agent", Role.AGENT, at, at + 100)
        self.stay(room, "agent-2", Role.AGENT, at + 97, at + 252)  # a hand-over
        self.stay(room, "billing", Role.AGENT, at + 50, at + 240)
        self.stay(room, "recorder", Role.OTHER, at, at + 252)

    def rejoins(self, room: str, at: float) -> None:
        self.stay(room, "caller", Role.CALLER, at, END)
        times = self.random.randint(2, 8)
        step = self.random.choice((5, 12, 31))  # the last is just too slow for a loop
        for n in range(times):
            self.stay(room, "agent", Role.AGENT, at + n * step, at + n * step + step - 2)

    def twins(self, room: str, at: float) -> None:
        self.stay(room, "caller", Role.CALLER, at, END)
        self.stay(room, "agent", Role.AGENT, at + 1, END)
        self.stay(room, "agent-2", Role.AGENT, at + 5, END)

    def left_alone(self, room: str, at: float) -> None:
        self.stay(room, "caller", Role.CALLER, at, at + 30)
        self.stay(room, "agent", Role.AGENT, at + 1, END)

    def flaps(self, room: str, at: float) -> None:
        caller = self.stay(room, "caller", Role.CALLER, at, END)
        self.stay(room, "agent", Role.AGENT, at, END)
        for n in range(self.random.randint(2, 6)):
            self.tell(words.PUBLISHED, room, at + 1 + n * 4, caller, f"TR_{room}_{n}")

    def there(self, room: str, now: float) -> list[Member]:
        """What the server answers."""
        return [m for r, m, begin, end in self.stays if r == room and begin <= now < end]

    def rooms(self, now: float) -> list[str]:
        over = {e.room_sid for e in self.events if e.kind == words.FINISHED and e.at <= now}
        begun = {r for r, _, begin, _ in self.stays if begin <= now}
        return sorted(begun - over)


def watched(evening: Evening, told: list[tuple[float, Seen]], restart: float = END * 2) -> Found:
    """What is found when events arrive at these times."""
    found: Found = set()
    now = 0.0

    def tell(sid: str, change: Change) -> None:
        if change.trip is not None:
            found.add((sid, change.signature, change.subject.participant))

    def made() -> Fleet:
        return Fleet(Limits(unmet_seconds=60), tell, clock=lambda: now, wall=lambda: now)

    def ask(sid: str) -> None:
        fleet.listed(sid, sid, 0, evening.there(sid, now), now)

    fleet, next_poll = made(), POLL
    told = sorted(told, key=lambda pair: pair[0])
    moments = sorted({at for at, _ in told} | {n / 2 for n in range(int(END * 2))})
    index = 0
    for now in moments:
        if now >= restart:
            fleet, restart, next_poll = made(), END * 2, now
        while index < len(told) and told[index][0] <= now:
            fleet.heard(told[index][1])
            index += 1
        if now >= next_poll:
            next_poll += POLL
            fleet.rooms_are(evening.rooms(now), now)
            for sid in evening.rooms(now):
                ask(sid)
        for sid, _ in fleet.due():
            ask(sid)
    return found


def in_order(evening: Evening) -> Found:
    return watched(evening, [(e.at, e) for e in evening.events])


def lasting(found: Found) -> Found:
    """The loops that are states: a round of questions finds them without a single webhook."""
    return {f for f in found if f[1] in ("session_overrun:agent_alone", "job_claim:duplicate")}


@pytest.mark.parametrize("part", range(4))
def test_no_way_of_telling_makes_a_wrong_verdict(part: int) -> None:
    different = 0
    for seed in range(part, SEEDS, 4):
        evening = Evening(seed)
        expected = in_order(evening)
        dice = random.Random(seed)

        def late(events: list[Seen], dice: random.Random = dice) -> list[tuple[float, Seen]]:
            return [(e.at + dice.choice((0, 0, dice.uniform(0, 25))), e) for e in events]

        shuffled = late(evening.events + dice.sample(evening.events, len(evening.events) // 2))
        assert watched(evening, shuffled) == expected, f"seed {seed}: late, doubled, shuffled"

        kept = [e for e in evening.events if dice.random() > 0.3]
        found = watched(evening, late(kept))
        assert found <= expected, f"seed {seed}: dropped"
        assert lasting(found) == lasting(expected), f"seed {seed}: dropped, and asked for"

        again = watched(evening, late(kept), dice.uniform(1, END / 2))
        assert again <= expected, f"seed {seed}: restarted"
        assert lasting(again) == lasting(expected), f"seed {seed}: restarted, and asked for"
        different += found != expected
    assert different, "something is lost at all"


def test_evenings_have_loops_of_every_kind_and_healthy_ones_have_none() -> None:
    kinds = set().union(*({f[1] for f in in_order(Evening(seed))} for seed in range(30)))
    assert kinds == {
        "room_reconnect", "track_subscribe", "session_overrun:agent_alone", "job_claim:duplicate",
    }  # fmt: skip
    for seed in range(30):
        evening = Evening(seed)
        evening.events, evening.stays = [], []
        for number in range(50):
            script = evening.healthy if number % 2 else evening.transfer
            script(f"RM_{number}", evening.random.uniform(0, 100))
        if seed < 3:
            assert in_order(evening) == set(), "a healthy evening of 50 rooms"
