"""Turns usage into the running bill of each session and into ``runguard.cost.*``."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

from runguard_otel.core.keyed import BoundedMap
from runguard_otel.core.ports import Recorder, Usage, Use
from runguard_otel.core.verdict import Clock
from runguard_otel.cost.account import Account
from runguard_otel.cost.ledger import Ledger, SessionCost, Turn
from runguard_otel.cost.price import Price
from runguard_otel.cost.pricebook import PriceBook
from runguard_otel.cost.rates import Charge, exact, group_of, natural_units

__all__ = ["Handle", "Meter", "Running", "Show", "show_nobody"]

MAX_RUNNING = 10_000
MAX_ACCOUNTS = 256
"""Models on one bill; a process that makes up names for more opens them anew."""
SELF_HOSTED = "self_hosted"


class Handle(Protocol):
    """Something that lasts, as the worker sees it."""

    def amount(self, value: float) -> None:
        """What it came to so far, where time alone does not say it."""

    def end(self) -> None:
        """It is over."""


Show = Callable[[str, Mapping[str, str], float], Handle | None]
"""``show(kind, attributes, began)``: from here on the worker prices it; ``None``: it does not."""


def show_nobody(kind: str, attributes: Mapping[str, str], began: float) -> Handle | None:
    """A :data:`Show` without a worker."""
    return None


@dataclass(slots=True)
class Running:
    """Something that is billed while it lasts: a stream or a connection."""

    account: Account
    meter: str
    opened: float
    pushed: float = 0.0
    billed: Decimal = Decimal(0)
    unpriced: Decimal = Decimal(0)
    handle: Handle | None = None
    """Set where the worker counts it; here it is on the session's bill all the same."""

    def come_to(self, lasted: float, pushed: float) -> tuple[Decimal, Mapping[str, Decimal]]:
        """What it costs, and what of it has no price.

        Args:
            lasted: For how long, in seconds.
            pushed: Seconds of audio that went into it.
        """
        seconds = pushed if self.meter == "audio_seconds" else max(pushed, lasted, 0.0)
        if self.account.model.price is None:
            return Decimal(0), natural_units({self.meter: seconds})
        return self.account.charge({self.meter: exact(seconds)}).amount, {}


class _Bill:
    """Of one session: its ledger, and who is on it, as LiveKit names them."""

    __slots__ = ("accounts", "ledger")

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.accounts: dict[tuple[str, str, str], Account] = {}


class Meter:
    """Implements ``core.ports.UsagePort``; one per process.

    What runs (open sockets, connections) is billed as it goes, so that a process that is killed
    has lost no more than the last few seconds: whatever accrues is settled with every other use,
    at most every ``settle_seconds``.

    Args:
        book: The prices.
        recorder: Gets ``runguard.cost.estimated``, ``.unpriced`` and ``.wasted``.
        plan: ``ship`` or ``scale`` (LiveKit Cloud), or ``self_hosted``.
        cloud_agents: Whether LiveKit Cloud hosts the agent and bills its session minutes.
        session: Names the session the calling code belongs to; the adapters know it.
        clock: Monotonic seconds.
        settle_seconds: See above.
        show: Shows the worker what lasts, which then counts it.
        tick_seconds: How often a thread settles what lasts and no worker counts; 0: no thread.
    """

    def __init__(
        self,
        book: PriceBook,
        recorder: Recorder,
        *,
        plan: str = SELF_HOSTED,
        cloud_agents: bool = False,
        session: Callable[[], str] = lambda: "",
        clock: Clock = time.monotonic,
        settle_seconds: float = 5.0,
        show: Show = show_nobody,
        tick_seconds: float = 0.0,
    ) -> None:
        self.book = book
        self.plan = plan
        self.cloud_agents = cloud_agents
        self._recorder = recorder
        self._session = session
        self._clock = clock
        self._settle_seconds = settle_seconds
        self._settled = float("-inf")
        self._show = show
        self._tick_seconds = tick_seconds
        self._ticking = False
        self._tokens: dict[object, tuple[Account, list[float]]] = {}
        self._waste: dict[str, Handle] = {}
        self._bills: BoundedMap[str, _Bill] = BoundedMap(lambda _: _Bill(), 1000)
        self._streams: dict[object, Running] = {}
        self._connections: dict[object, list[Running]] = {}
        self._lock = threading.RLock()

    # -- what adapters report (core.ports.UsagePort) --------------------------------------------

    def used(self, usage: Usage) -> None:
        """See :class:`~runguard_otel.core.ports.UsagePort`."""
        with self._lock:
            account = self._account(usage.component, usage.provider, usage.model)
            quantities = usage.quantities
            if usage.streamed:
                quantities = self._without_audio_of_the_stream(account, quantities)
            if any(quantities.values()):
                account.use(quantities, usage.turn)
            self.settle()

    def bind(self, component: str, provider: str, model: str) -> Use:
        """See :class:`~runguard_otel.core.ports.UsagePort`."""
        with self._lock:
            return self._account(component, provider, model).use

    def stream_opened(self, key: object, provider: str, model: str) -> None:
        """See :class:`~runguard_otel.core.ports.UsagePort`."""
        with self._lock:
            session = self._session()
            account = self._account("stt", provider, model)
            price = account.model.price
            groups = {group_of(meter) for meter in price.rates} if price else {"audio"}
            if "token" in groups:  # paid by what the provider reports, not by time
                if len(self._tokens) < MAX_RUNNING:
                    self._tokens[key] = account, [0.0]
                return
            account.ledger.streamed.add((account.model.provider, account.model.name))
            running = Running(account, _meter_of(price), self._clock())
            if len(self._streams) >= MAX_RUNNING:
                self.stream_closed(next(iter(self._streams)))
            running.handle = self._show(
                "stt_stream",
                {"job": session, "provider": provider, "model": model},
                running.opened,
            )
            self._streams[key] = running
            self._start_ticking(running)

    def stream_audio(self, key: object, seconds: float) -> None:
        """See :class:`~runguard_otel.core.ports.UsagePort`. Hot: one dictionary look-up."""
        running = self._streams.get(key)
        if running is not None and seconds > 0:
            running.pushed += seconds
            if running.handle is not None:
                running.handle.amount(running.pushed)
        elif key in self._tokens:
            self._tokens[key][1][0] += seconds

    def stream_closed(self, key: object) -> None:
        """See :class:`~runguard_otel.core.ports.UsagePort`."""
        with self._lock:
            running = self._streams.pop(key, None)
            if running is not None:
                self._accrue(running)
                if running.handle is not None:
                    running.handle.end()
            unreported = self._tokens.pop(key, None)
            if unreported is not None:
                account, (seconds,) = unreported
                if seconds > 0:  # the number of tokens is unknown
                    account.book(Charge(unpriced=natural_units({"audio_seconds": seconds})))

    def connection_opened(self, key: object) -> None:
        """See :class:`~runguard_otel.core.ports.UsagePort`."""
        now, session = self._clock(), self._session()
        with self._lock:
            self.connection_closed(key)
            parts = [
                Running(self._account(*part), "connection_seconds", now)
                for part in self.connection_parts()
            ]
            self._connections[key] = parts
            handle = self._show("connection", {"job": session}, now)
            for part in parts:  # a started minute is owed at once
                part.handle = handle
                self._accrue(part)
                self._start_ticking(part)

    def connection_closed(self, key: object) -> None:
        """See :class:`~runguard_otel.core.ports.UsagePort`."""
        with self._lock:
            parts = self._connections.pop(key, [])
            for part in parts:
                self._accrue(part)
            if parts and parts[0].handle is not None:
                parts[0].handle.end()

    def settle(self, *, force: bool = False) -> None:
        """Bill what is running up to now.

        Args:
            force: Even if it was done less than ``settle_seconds`` ago.
        """
        now = self._clock()
        if not force and now - self._settled < self._settle_seconds:
            return
        with self._lock:
            self._settled = now
            for running in self._streams.values():
                self._accrue(running)
            for parts in self._connections.values():
                for part in parts:
                    self._accrue(part)

    # -- what others ask ------------------------------------------------------------------------

    def session_cost(self) -> SessionCost:
        """The bill of the session the calling code belongs to, up to now."""
        with self._lock:
            self.settle(force=True)
            return self.ledger().cost()

    def average_turn(self) -> Turn:
        """This session's average agent turn."""
        return self.ledger().average_turn()

    def ledger(self) -> Ledger:
        """The ledger of the session the calling code belongs to."""
        return self._bills.get(self._session()).ledger

    def connection_parts(self) -> tuple[tuple[str, str, str], ...]:
        """Component, provider and model of what one connection of an agent is billed as."""
        where = "self-hosted" if self.plan == SELF_HOSTED else "livekit-cloud"
        hosted = ("agent", "livekit-cloud", "agent-session")
        own = ("agent", "self-hosted", "compute")
        return (("transport", where, "participant"), hosted if self.cloud_agents else own)

    def open_stream_price(self) -> tuple[str, str, Price] | None:
        """The cheapest open STT stream that is paid by the open second, or ``None``."""
        with self._lock:
            found = [
                (price.rates["open_seconds"] / price.per, model.provider, model.name, price)
                for running in self._streams.values()
                for model in (running.account.model,)
                for price in (model.price,)
                if price is not None and running.meter == "open_seconds"
            ]
        if not found:
            return None
        _, provider, model, price = min(found, key=lambda row: row[0])
        return provider, model, price

    def lines_of(self, kind: str, attributes: Mapping[str, str]) -> list[Running]:
        """The lines of the bill of something that lasts in a job, as its worker prices it.

        Args:
            kind: ``connection`` or ``stt_stream``.
            attributes: As its job showed it.
        """
        if kind == "connection":
            parts = self.connection_parts()
            return [Running(self._account(*part), "connection_seconds", 0.0) for part in parts]
        account = self._account("stt", attributes.get("provider", ""), attributes.get("model", ""))
        return [Running(account, _meter_of(account.model.price), 0.0)]

    def waste(self, guard: str) -> None:
        """From here on this whole session is waste that ``guard`` saw and may not end."""
        with self._lock:
            self.settle(force=True)
            session, ledger = self._session(), self.ledger()
            if ledger.wasting:
                return
            ledger.wasting = guard
            handle = self._show("waste", {"job": session, "guard": guard}, self._clock())
            if handle is not None:
                self._waste[session] = handle

    def waste_over(self, guard: str) -> None:
        """What ``guard`` saw is over."""
        with self._lock:
            ledger = self.ledger()
            if ledger.wasting != guard:
                return
            self.settle(force=True)
            ledger.wasting = ""
            handle = self._waste.pop(self._session(), None)
            if handle is not None:
                handle.end()

    def find(self, component: str, provider: str, model: str) -> Price | None:
        """The price row in force under this meter's plan."""
        return self.book.find(component, provider, model, self.plan)

    # -- inside ---------------------------------------------------------------------------------

    def _account(self, component: str, provider: str, model: str) -> Account:
        """A model on the bill of the session the calling code belongs to."""
        bill, key = self._bills.get(self._session()), (component, provider, model)
        account = bill.accounts.get(key)
        if account is None:
            known = self.book.model(component, provider, model, self.plan)
            if len(bill.accounts) >= MAX_ACCOUNTS:
                bill.accounts.clear()
            account = bill.accounts[key] = Account(
                bill.ledger, component, known, self._recorder, self._lock
            )
        return account

    def _without_audio_of_the_stream(
        self, account: Account, quantities: Mapping[str, float]
    ) -> Mapping[str, float]:
        """An open stream is metered itself: plugins report its audio late, in part or twice."""
        model = account.model
        for other, pushed in self._tokens.values():
            if other.model == model:
                pushed[0] = 0.0
        if (model.provider, model.name) in account.ledger.streamed:
            if model.price is None:
                return {}
            return {meter: q for meter, q in quantities.items() if meter != "audio_seconds"}
        if model.price is not None and "open_seconds" in model.price.rates:
            # The socket itself is not seen; it was open at least as long as the audio lasted.
            return {"open_seconds": quantities.get("audio_seconds", 0), **quantities}
        return quantities

    def _accrue(self, running: Running) -> None:
        amount, unpriced = running.come_to(self._clock() - running.opened, running.pushed)
        counted = running.handle is None
        for unit, quantity in unpriced.items():
            left, running.unpriced = quantity - running.unpriced, quantity
            running.account.book(Charge(unpriced={unit: left}), counted=counted)
        delta, running.billed = amount - running.billed, amount
        running.account.book(Charge(delta), counted=counted)

    def _start_ticking(self, running: Running) -> None:
        """What no worker counts is counted by a thread, for as long as something lasts."""
        if self._tick_seconds and running.handle is None and not self._ticking:
            self._ticking = True
            threading.Thread(target=self._tick, name="runguard-cost", daemon=True).start()

    def _tick(self) -> None:
        while True:
            time.sleep(self._tick_seconds)
            with self._lock:
                if not (self._streams or self._connections):
                    self._ticking = False
                    return
                self.settle(force=True)


def _meter_of(price: Price | None) -> str:
    """What a recogniser's stream is billed by."""
    return (
        "open_seconds" if price is not None and "open_seconds" in price.rates else "audio_seconds"
    )
