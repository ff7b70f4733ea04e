"""What a recorded call cost, and what verdicts would have saved in it."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from runguard_otel.core.signatures import GuardName
from runguard_otel.cost.avoided import ANSWERED
from runguard_otel.journal.reading import History
from runguard_otel.journal.replay import Tripped

__all__ = ["Money", "saved"]

_STT_RECONNECT = "session_overrun:stt_reconnect"


@dataclass
class Money:
    """The bill of one history, in USD.

    Args:
        times: Seconds since its beginning at which something was booked.
        sums: What it had come to by then.
        by_component: The bill.
        wasted: By guard: what an observing guard saw go to waste.
        avoided: By guard: what an acting guard stopped.
        unpriced: Amounts without a price, by component and unit.
        requests: How often something was booked, by component.
        connections: How often a room was joined.
        streams: How many recogniser streams were opened.
    """

    times: list[float] = field(default_factory=list)
    sums: list[float] = field(default_factory=list)
    by_component: Counter[str] = field(default_factory=Counter)
    wasted: Counter[str] = field(default_factory=Counter)
    avoided: Counter[str] = field(default_factory=Counter)
    unpriced: Counter[str] = field(default_factory=Counter)
    requests: Counter[str] = field(default_factory=Counter)
    connections: int = 0
    streams: int = 0
    _booked: float = 0.0

    @classmethod
    def of(cls, history: History) -> Money:
        """Read it."""
        found, began = cls(), float(history.header["t"])
        for row in history.rows():
            kind = row.get("e")
            if kind == "count":
                found._count(row, float(row["t"]) - began)
            elif kind == "trip" and (row.get("cost") or {}).get("total"):
                found._known(float(row["t"]) - began, float(row["cost"]["total"]))
            elif kind == "in" and row.get("op") == "stream_opened":
                found.streams += 1
        return found

    @property
    def total(self) -> float:
        """The bill."""
        return self.sums[-1] if self.sums else 0.0

    def _known(self, at: float, total: float) -> None:
        """The call's bill at one moment. What its worker counts of it may be booked later."""
        self.times.append(at)
        self.sums.append(max(total, self.total))

    def until(self, at: float) -> float:
        """What it had come to ``at`` seconds after its beginning."""
        n = bisect_right(self.times, at)
        return self.sums[n - 1] if n else 0.0

    def _count(self, row: Mapping[str, object], at: float) -> None:
        metric, amount = row["metric"], float(str(row["amount"]))
        component = str(row.get("component", ""))
        if metric == "runguard.cost.estimated":
            self._booked += amount
            self._known(at, self._booked)
            self.by_component[component] += amount  # type: ignore[assignment]  # a sum, no count
            self.requests[component] += 1
        elif metric == "runguard.cost.wasted":
            self.wasted[str(row.get("guard", ""))] += amount  # type: ignore[assignment]
        elif metric == "runguard.cost.avoided":
            self.avoided[str(row.get("guard", ""))] += amount  # type: ignore[assignment]
        elif metric == "runguard.cost.unpriced":
            self.unpriced[f"{component}/{row.get('unit', '')}"] += amount  # type: ignore[assignment]
        elif metric == "runguard.room.connects" and row.get("connect") == "ok":
            self.connections += 1


def saved(
    money: Money, acted: Mapping[tuple[str, str], int], trips: Iterable[Tripped]
) -> dict[str, float]:
    """What guards that act stop in a call, by guard, at that call's own averages.

    A result that is held back saves a turn, a connect that is refused a connection, a stream that
    is reused a stream; a call that has gone on too long is ended when it trips. What the rest of
    the call would have become is not known and counts nothing.

    Args:
        money: Its bill.
        acted: Verdicts other than ``allow``, by guard and signature.
        trips: When what tripped.
    """
    spent = money.by_component
    prices = {
        str(GuardName.VAD_MISFIRE): _each(spent["llm"] + spent["tts"], money.requests["llm"]),
        str(GuardName.ROOM_RECONNECT): _each(
            spent["transport"] + spent["agent"], money.connections
        ),
        str(GuardName.TRACK_SUBSCRIBE): _each(spent["stt"], money.streams),
    }
    found: dict[str, float] = {}
    for (guard, signature), number in acted.items():
        counts = guard != GuardName.VAD_MISFIRE or signature in ANSWERED
        price = prices.get(guard, 0.0) if counts else 0.0
        if price:
            found[guard] = found.get(guard, 0.0) + number * price
    overrun = str(GuardName.SESSION_OVERRUN)
    ends = [t.at for t in trips if t.guard == overrun and t.signature != _STT_RECONNECT]
    if ends:
        found[overrun] = money.total - money.until(min(ends))
    return found


def _each(amount: float, number: int) -> float:
    return amount / number if number else 0.0
