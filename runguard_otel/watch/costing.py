"""What the people and agents in a server's rooms cost, by the minutes that the server shows.

Every stay of an agent or a caller is a connection, by the price book's rows for connections; an
agent's is its session as well. Recorders, ingress and avatars are left out, and so is what only an
agent knows: what it listened to, thought and said.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Final

from runguard_otel.core.guards.presence import Member, Role, RoomPolicy
from runguard_otel.core.ports import Recorder
from runguard_otel.core.verdict import Clock
from runguard_otel.cost.meter import Meter, Running
from runguard_otel.watch.fleet import Fleet

__all__ = ["Costs"]

_MOST_STAYS: Final = 100_000
_MOST_ENDED: Final = 20_000


_LOOK_SECONDS: Final = 15.0
"""How late what a stay has come to may be counted; its beginning and its end are at once."""


class _Stay:
    """A stay, and how much of each line of its bill is counted."""

    __slots__ = ("counted", "due", "looked", "member", "unpriced")

    def __init__(self, member: Member, lines: int) -> None:
        self.member = member
        self.counted = [_NOTHING] * lines
        self.unpriced: list[dict[str, Decimal] | None] = [None] * lines
        self.due = 0.0
        self.looked = 0


_NOTHING: Final = Decimal(0)


class Costs:
    """Counts ``runguard.cost.estimated`` and ``runguard.cost.unpriced`` of a server.

    What began before this process is counted from its beginning on: who watched before has counted
    the rest. The same holds for a watcher that stood by.

    Args:
        meter: Knows the prices and the plan.
        recorder: Counts.
        tells: Whether this watcher is the one that counts.
        wall: Unix seconds.
        booked: Told of all that is counted, with the room's sid.
    """

    def __init__(
        self,
        meter: Meter,
        recorder: Recorder,
        tells: Callable[[], bool],
        *,
        wall: Clock = time.time,
        booked: Callable[[str, str, float, Mapping[str, str]], None] | None = None,
    ) -> None:
        self._booked = booked
        self._recorder = recorder
        self._tells = tells
        self._wall = wall
        self._began = wall()
        lines = meter.lines_of("connection", {})
        self._lines: dict[Role, list[Running]] = {
            Role.AGENT: lines,
            Role.CALLER: [line for line in lines if line.account.component == "transport"],
        }
        self._stays: OrderedDict[str, _Stay] = OrderedDict()
        self._ended: OrderedDict[str, None] = OrderedDict()
        self._looks = 0

    def __len__(self) -> int:
        return len(self._stays)

    def came(self, room: str, member: Member, agent: str = "") -> None:
        """Somebody is in a room; a started minute is owed at once.

        Args:
            room: The room's sid.
            member: Who, and since when.
            agent: The name of the agent that is there.
        """
        self._count(room, self._stay(member), self._wall(), agent)

    def left(self, room: str, member: Member, at: float, agent: str = "") -> None:
        """A stay ended at ``at`` (unix seconds of the server), perhaps one that nobody told of."""
        self._count(room, self._stay(member), at, agent)
        self._end(member.sid)

    def look(self, fleet: Fleet) -> None:
        """Count what has accrued since the last look, and end what is no longer there."""
        self._looks += 1
        now = self._wall()
        for sid, room in fleet.named():
            agent = serving(room)
            for member in room.members:
                stay = self._stay(member)
                if stay is not None:
                    stay.looked = self._looks
                    if now >= stay.due:
                        self._count(sid, stay, now, agent)
        for sid, stay in list(self._stays.items()):
            if stay.looked != self._looks and stay.looked:
                self._end(sid)

    # -- inside ---------------------------------------------------------------------------------

    def _stay(self, member: Member) -> _Stay | None:
        if member.role is Role.OTHER or not member.joined or member.sid in self._ended:
            return None
        stay = self._stays.get(member.sid)
        if stay is None:
            lines = self._lines[member.role]
            stay = self._stays[member.sid] = _Stay(member, len(lines))
            if member.joined < self._began:
                for number in range(len(lines)):
                    self._come_to(stay, number, self._began - member.joined)
            if len(self._stays) > _MOST_STAYS:
                self._end(next(iter(self._stays)))
        return stay

    def _end(self, sid: str) -> None:
        self._stays.pop(sid, None)
        self._ended[sid] = None
        if len(self._ended) > _MOST_ENDED:
            self._ended.popitem(last=False)

    def _count(self, room: str, stay: _Stay | None, now: float, agent: str) -> None:
        if stay is None:
            return
        stay.due = now + _LOOK_SECONDS
        name = stay.member.agent or agent
        for number, line in enumerate(self._lines[stay.member.role]):
            labels = line.account.labels
            more, unpriced = self._come_to(stay, number, now - stay.member.joined)
            if not self._tells():
                continue
            if more > 0:
                self._add(room, "runguard.cost.estimated", more, {"agent": name, **labels})
            for unit, quantity in unpriced.items():
                by = {"agent": name, "unit": unit, **labels}
                self._add(room, "runguard.cost.unpriced", quantity, by)

    def _add(self, room: str, metric: str, amount: Decimal, labels: dict[str, str]) -> None:
        self._recorder.add(metric, float(amount), **labels)
        if self._booked is not None:
            self._booked(room, metric, float(amount), labels)

    def _come_to(
        self, stay: _Stay, number: int, lasted: float
    ) -> tuple[Decimal, dict[str, Decimal]]:
        """What of a line is not counted yet, and from now on is."""
        line = self._lines[stay.member.role][number]
        amount, unpriced = line.come_to(max(lasted, 0.0), 0)
        more = amount - stay.counted[number]
        if more > 0:
            stay.counted[number] = amount
        if not unpriced:
            return more, {}
        before = stay.unpriced[number] or {}
        stay.unpriced[number] = {u: max(q, before.get(u, _NOTHING)) for u, q in unpriced.items()}
        left = {u: q - before.get(u, _NOTHING) for u, q in unpriced.items()}
        return more, {u: q for u, q in left.items() if q > 0}


def serving(room: RoomPolicy) -> str:
    """The name of the agent that is in a room; ``""`` if there is none, or it has none."""
    return next((m.agent for m in room.members if m.role is Role.AGENT and m.agent), "")
