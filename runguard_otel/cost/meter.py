"""Turns usage into the running bill of each session and into ``runguard.cost.*``."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal

from runguard_otel.core.keyed import BoundedMap
from runguard_otel.core.ports import Recorder, Usage
from runguard_otel.core.verdict import Clock
from runguard_otel.cost.ledger import Ledger, SessionCost, Turn
from runguard_otel.cost.metering import Charge, exact, group_of, natural_units
from runguard_otel.cost.pricebook import Model, Price, PriceBook

__all__ = ["Meter"]

logger = logging.getLogger("runguard_otel")

MAX_RUNNING = 10_000
SELF_HOSTED = "self_hosted"


@dataclass(slots=True)
class _Running:
    """Something that is billed while it lasts: a stream or a connection."""

    session: str
    component: str
    provider: str
    model: str
    price: Price | None
    meter: str
    opened: float
    pushed: float = 0.0
    billed: Decimal = Decimal(0)
    unpriced: Decimal = Decimal(0)


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
    ) -> None:
        self.book = book
        self.plan = plan
        self.cloud_agents = cloud_agents
        self._recorder = recorder
        self._session = session
        self._clock = clock
        self._settle_seconds = settle_seconds
        self._settled = float("-inf")
        self._ledgers: BoundedMap[str, Ledger] = BoundedMap(lambda _: Ledger(), 1000)
        self._streams: dict[object, _Running] = {}
        self._connections: dict[object, list[_Running]] = {}
        self._lock = threading.RLock()
        self._warned = False

    # -- what adapters report (core.ports.UsagePort) --------------------------------------------

    def used(self, usage: Usage) -> None:
        """See :class:`~runguard_otel.core.ports.UsagePort`."""
        session = self._session()
        model = self._model(usage.component, usage.provider, usage.model)
        price, quantities = model.price, usage.quantities
        with self._lock:
            ledger = self._ledgers.get(session)
            if usage.streamed:
                quantities = self._without_audio_of_the_stream(ledger, model, quantities)
            if not any(quantities.values()):
                return self.settle()
            try:
                charge = (
                    price.charge(quantities)
                    if price
                    else Charge(unpriced=natural_units(quantities))
                )
            except (ValueError, ArithmeticError):
                self._warn_once(usage)
                charge = Charge(unpriced={"request": Decimal(1)})
            self._book(ledger, usage.component, model, charge)
            if charge.amount and usage.component in ("llm", "tts"):
                ledger.add_turn(usage.component, charge.amount, usage.turn)
            self.settle()
        return None

    def stream_opened(self, key: object, provider: str, model: str) -> None:
        """See :class:`~runguard_otel.core.ports.UsagePort`."""
        known = self._model("stt", provider, model)
        price = known.price
        groups = {group_of(meter) for meter in price.rates} if price else {"audio"}
        meter = "open_seconds" if "open" in groups else "audio_seconds"
        with self._lock:
            session = self._session()
            if "token" in groups:  # paid by what the provider reports, not by time
                return
            self._ledgers.get(session).streamed.add((known.provider, known.name))
            running = _Running(session, "stt", provider, model, price, meter, self._clock())
            if len(self._streams) >= MAX_RUNNING:
                self.stream_closed(next(iter(self._streams)))
            self._streams[key] = running

    def stream_audio(self, key: object, seconds: float) -> None:
        """See :class:`~runguard_otel.core.ports.UsagePort`. Hot: one dictionary look-up."""
        running = self._streams.get(key)
        if running is not None and seconds > 0:
            running.pushed += seconds

    def stream_closed(self, key: object) -> None:
        """See :class:`~runguard_otel.core.ports.UsagePort`."""
        with self._lock:
            running = self._streams.pop(key, None)
            if running is not None:
                self._accrue(running)

    def connection_opened(self, key: object) -> None:
        """See :class:`~runguard_otel.core.ports.UsagePort`."""
        now, session = self._clock(), self._session()
        with self._lock:
            self.connection_closed(key)
            parts = [
                _Running(session, c, p, m, self.find(c, p, m), "connection_seconds", now)
                for c, p, m in self.connection_parts()
            ]
            self._connections[key] = parts
            for part in parts:  # a started minute is owed at once
                self._accrue(part)

    def connection_closed(self, key: object) -> None:
        """See :class:`~runguard_otel.core.ports.UsagePort`."""
        with self._lock:
            for part in self._connections.pop(key, ()):
                self._accrue(part)

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
        return self._ledgers.get(self._session())

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
                (r.price.rates["open_seconds"] / r.price.per, r.provider, r.model, r.price)
                for r in self._streams.values()
                if r.price is not None and r.meter == "open_seconds"
            ]
        if not found:
            return None
        _, provider, model, price = min(found, key=lambda row: row[0])
        return provider, model, price

    def find(self, component: str, provider: str, model: str) -> Price | None:
        """The price row in force under this meter's plan."""
        return self._model(component, provider, model).price

    # -- inside ---------------------------------------------------------------------------------

    def _model(self, component: str, provider: str, model: str) -> Model:
        return self.book.model(component, provider, model, self.plan)

    @staticmethod
    def _without_audio_of_the_stream(
        ledger: Ledger, model: Model, quantities: Mapping[str, float]
    ) -> Mapping[str, float]:
        """An open stream is metered itself: plugins report its audio late, in part or twice."""
        if (model.provider, model.name) in ledger.streamed:
            if model.price is None:
                return {}
            return {meter: q for meter, q in quantities.items() if meter != "audio_seconds"}
        if model.price is not None and "open_seconds" in model.price.rates:
            # Nobody watches the socket; it was open at least as long as the audio lasted.
            return {"open_seconds": quantities.get("audio_seconds", 0), **quantities}
        return quantities

    def _accrue(self, running: _Running) -> None:
        ledger = self._ledgers.get(running.session)
        model = self._model(running.component, running.provider, running.model)
        seconds = running.pushed
        if running.meter != "audio_seconds":
            seconds = max(seconds, self._clock() - running.opened, 0.0)
        if running.price is None:
            total = natural_units({running.meter: seconds})
            for unit, quantity in total.items():
                delta, running.unpriced = quantity - running.unpriced, quantity
                self._book(ledger, running.component, model, Charge(unpriced={unit: delta}))
            return
        amount = running.price.charge({running.meter: exact(seconds)}).amount
        delta, running.billed = amount - running.billed, amount
        self._book(ledger, running.component, model, Charge(delta))

    def _book(self, ledger: Ledger, component: str, model: Model, charge: Charge) -> None:
        if charge.amount > 0:
            ledger.add(component, charge.amount)
            # A counter takes floats; nowhere else does money become one.
            self._recorder.add(
                "runguard.cost.estimated",
                float(charge.amount),
                component=component,
                provider=model.provider,
                model=model.name,
            )
            if ledger.wasting:
                self._recorder.add(
                    "runguard.cost.wasted",
                    float(charge.amount),
                    guard=ledger.wasting,
                    component=component,
                )
        for unit, quantity in (charge.unpriced or {}).items():
            if quantity > 0:
                ledger.add_unpriced(component, unit, quantity)
                self._recorder.add(
                    "runguard.cost.unpriced",
                    float(quantity),
                    component=component,
                    provider=model.provider,
                    model=model.name,
                    unit=unit,
                )

    def _warn_once(self, usage: Usage) -> None:
        if not self._warned:
            self._warned = True
            logger.warning(
                "%s %s reported usage that cannot be: %s; counted as unpriced",
                usage.provider,
                usage.model,
                dict(usage.quantities),
            )
