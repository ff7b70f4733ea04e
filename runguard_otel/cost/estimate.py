"""The estimator: what a month costs without a loop, with it, and with the guard.

Pure arithmetic over the price book; every line of the result names its formula. The loop is priced
by what it adds to a call that goes on as it would have.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from runguard_otel.cost.price import Price
from runguard_otel.cost.pricebook import PriceBook
from runguard_otel.cost.rates import group_of
from runguard_otel.cost.scenario import EstimateError, Loop, Stack, Traffic

__all__ = ["COMPONENTS", "LOOPS", "Bill", "Estimate", "estimate", "total"]

COMPONENTS: Final = ("transport", "agent", "stt", "llm", "tts")
Bill = Mapping[str, Decimal]


@dataclass(frozen=True)
class Estimate:
    """The answer. Bills are USD a month by component; ``call`` bills are USD for one call."""

    normal: Bill
    loop: Bill
    guarded: Bill
    call: Bill
    call_extra: Bill
    call_guarded: Bill
    formulas: Mapping[str, str]
    sources: tuple[Price, ...]
    notes: tuple[str, ...] = field(default=())

    @property
    def extra(self) -> Decimal:
        """What the loop costs a month."""
        return total(self.loop) - total(self.normal)

    @property
    def saved(self) -> Decimal:
        """What the guard takes off that."""
        return total(self.loop) - total(self.guarded)


def total(bill: Bill) -> Decimal:
    """The sum of a bill."""
    return sum(bill.values(), Decimal(0))


class _Prices:
    """The unit prices of one stack."""

    def __init__(self, book: PriceBook, stack: Stack) -> None:
        self.used: dict[int, Price] = {}
        self.notes: list[str] = []
        self._book, self._stack = book, stack
        hosted = stack.plan != "self_hosted"
        self.transport = (
            self._row("transport", "livekit-cloud", "participant")
            if hosted
            else self._row("transport", "self-hosted", "egress")
        )
        self.agent = (
            self._row("agent", "livekit-cloud", "agent-session")
            if stack.cloud_agents
            else self._row("agent", "self-hosted", "compute")
        )
        self.stt, self.llm, self.tts = (
            self._row(name, *self._split(name)) for name in ("stt", "llm", "tts")
        )

    def _split(self, name: str) -> tuple[str, str]:
        value = getattr(self._stack, name)
        provider, slash, model = value.partition("/")
        if not slash or not model:
            raise EstimateError(f"{name}={value!r} must be provider/model, as in deepgram/nova-3")
        return provider, model

    def _row(self, component: str, provider: str, model: str) -> Price:
        price = self._book.find(component, provider, model, self._stack.plan)
        if price is None:
            rows = [
                p
                for p in self._book.rows
                if p.component == component and p.plan in ("", self._stack.plan)
            ]
            whose = self._book.provider(provider)
            of_it = [f"{p.provider}/{p.models[0]}" for p in rows if p.provider == whose]
            known = sorted(of_it or {f"{p.provider}/..." for p in rows})
            raise EstimateError(
                f"no price for {component} {provider}/{model} on plan {self._stack.plan}; known: "
                f"{', '.join(known)}; add a row in your price file (RUNGUARD_PRICES)"
            )
        self.used[id(price)] = price
        if price.note and price.provider != "livekit-cloud":
            self.notes.append(f"{price.models[0]}: {price.note}")
        return price

    def connection(self, minutes: Decimal) -> Bill:
        """One connection of the agent."""
        return {
            "transport": self.participant(minutes),
            "agent": self.agent.charge({"connection_seconds": minutes * 60}).amount,
        }

    def participant(self, minutes: Decimal) -> Decimal:
        """One participant for so long."""
        if self._stack.plan != "self_hosted":
            return self.transport.charge({"connection_seconds": minutes * 60}).amount
        gigabytes = self._stack.kbps * minutes * 60 / 8 / 1_000_000 / 2
        return self.transport.charge({"gigabytes": gigabytes}).amount

    def listening(self, minutes: Decimal) -> Decimal:
        """STT for so long."""
        meter = next(iter(self.stt.rates))
        return self.stt.charge({meter: minutes * 60}).amount

    def idle_stream(self, minutes: Decimal) -> Decimal:
        """A stream without audio: free where audio is metered."""
        paid = "open" in {group_of(m) for m in self.stt.rates}
        return self.listening(minutes) if paid else Decimal(0)

    def turn(self, prompt: Decimal, output: Decimal, characters: Decimal) -> Bill:
        """One answer."""
        asked = self.llm.charge({"input_tokens": prompt, "output_tokens": output})
        said = self.tts.charge({"characters": characters})
        for name, charge in (("llm", asked), ("tts", said)):
            if charge.unpriced:
                raise EstimateError(f"the {name} has no price for {', '.join(charge.unpriced)}s")
        return {"llm": asked.amount, "tts": said.amount}

    def agent_side(self, traffic: Traffic, minutes: Decimal) -> Bill:
        """Everything one agent costs in a call, without the human's connection."""
        turns = traffic.turns_per_minute * minutes
        answers = self.turn(traffic.prompt_tokens, traffic.output_tokens, traffic.characters)
        return {
            **self.connection(minutes),
            "stt": self.listening(minutes),
            **{name: amount * turns for name, amount in answers.items()},
        }


def _reconnects(prices: _Prices, traffic: Traffic, loop: Loop, events: Decimal) -> Bill:
    period = 1 / loop.per_minute
    each, whole = prices.connection(period), prices.connection(Decimal(1))
    # While the loop lasts there are many short connections instead of the one that the call would
    # have paid for anyway; beyond the end of the call there would have been none.
    replaced = min(events * period, traffic.minutes_per_call)
    return {name: events * each[name] - replaced * whole[name] for name in each}


def _fillers(prices: _Prices, traffic: Traffic, loop: Loop, events: Decimal) -> Bill:
    each = prices.turn(traffic.prompt_tokens, traffic.output_tokens, loop.filler_characters)
    return {name: events * amount for name, amount in each.items()}


def _duplicates(prices: _Prices, traffic: Traffic, loop: Loop, events: Decimal) -> Bill:
    each = prices.agent_side(traffic, loop.minutes)
    return {name: events * amount for name, amount in each.items()}


def _cascade(prices: _Prices, traffic: Traffic, loop: Loop, events: Decimal) -> Bill:
    return {"stt": events * prices.idle_stream(loop.open_minutes)}


@dataclass(frozen=True)
class Kind:
    """A loop the estimator knows.

    Args:
        extra: What so many events add to one call.
        passes: How many events the guard lets through before it stops them.
        formula: In words.
    """

    extra: Callable[[_Prices, Traffic, Loop, Decimal], Bill]
    passes: Decimal
    formula: str


LOOPS: Final[Mapping[str, Kind]] = {
    "reconnect": Kind(
        _reconnects,
        Decimal(2),  # the third is refused
        "(reconnects x one connection rounded up - minutes of the call it replaces) "
        "x (transport + agent)",
    ),
    "misfire": Kind(
        _fillers,
        Decimal(4),  # the fifth trips
        "fillers x (prompt x input + answer x output + characters x voice)",
    ),
    "duplicate": Kind(
        _duplicates,
        Decimal(0),  # refused before it connects
        "extra jobs x all that an agent costs in those minutes",
    ),
    "cascade": Kind(
        _cascade,
        Decimal(0),  # the second subscription already shares the first one's stream
        "republished tracks x minutes an unclosed stream stays open x price of an open stream",
    ),
}


def estimate(book: PriceBook, traffic: Traffic, stack: Stack, loop: Loop) -> Estimate:
    """Price a month.

    Raises:
        EstimateError: If an input is out of range or a model has no price.
    """
    _check(traffic, loop)
    kind, prices = LOOPS[loop.kind], _Prices(book, stack)
    call = dict(prices.agent_side(traffic, traffic.minutes_per_call))
    call["transport"] += prices.participant(traffic.minutes_per_call)
    extra = kind.extra(prices, traffic, loop, loop.events)
    guarded = kind.extra(prices, traffic, loop, min(loop.events, kind.passes))
    hit = traffic.calls * loop.share
    if loop.kind == "cascade":
        prices.notes.append(
            f"unclosed streams are taken to stay open for {loop.open_minutes:f} minutes; "
            "a process that ends sooner takes its streams with it (--open-minutes)"
        )
    formulas = {
        "transport": "calls x 2 participants x minutes, each connection rounded up to the minute"
        if stack.plan != "self_hosted"
        else f"calls x minutes x {stack.kbps} kbit/s x price of a GB",
        "agent": "calls x minutes x price of an agent minute",
        "stt": "calls x minutes x price of a minute",
        "llm": "calls x turns x (prompt tokens x input + answer tokens x output)",
        "tts": "calls x turns x characters x price of a character",
        "loop": f"calls x share x {kind.formula}",
        "guard": f"calls x share x the same for the {kind.passes} that pass before it acts"
        if kind.passes
        else "nothing: it acts on the first one",
    }
    normal = {name: traffic.calls * call[name] for name in COMPONENTS}
    return Estimate(
        normal=normal,
        loop={n: a + hit * extra.get(n, Decimal(0)) for n, a in normal.items()},
        guarded={n: a + hit * guarded.get(n, Decimal(0)) for n, a in normal.items()},
        call=call,
        call_extra=extra,
        call_guarded=guarded,
        formulas=formulas,
        sources=tuple(prices.used.values()),
        notes=tuple(prices.notes),
    )


def _check(traffic: Traffic, loop: Loop) -> None:
    if loop.kind not in LOOPS:
        raise EstimateError(f"loop={loop.kind!r} is unknown; one of {', '.join(LOOPS)}")
    for name in vars(traffic):
        if getattr(traffic, name) < 0:
            raise EstimateError(f"{name} must be >= 0")
    if loop.per_minute <= 0 or loop.minutes <= 0:
        raise EstimateError("the loop's rate and duration must be > 0")
    if not 0 <= loop.share <= 1:
        raise EstimateError("share must be between 0 and 1")
    if loop.kind == "duplicate" and loop.per_minute % 1:
        raise EstimateError("duplicate jobs come whole: give a whole number")
