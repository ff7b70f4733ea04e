"""The running bill of one session."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from functools import reduce
from typing import Final, NamedTuple

from runguard_otel.cost.rates import in_dollars, plus

__all__ = ["Ledger", "SessionCost", "Turn"]

_NOTHING: Final = Decimal(0)


@dataclass(frozen=True)
class SessionCost:
    """What a session has cost so far, in USD by component: an estimate from list prices.

    Args:
        transport: The agent's own connection minutes.
        agent: Agent session minutes, or your own compute.
        stt: Speech recognition.
        llm: Language and realtime models.
        tts: Speech synthesis.
        unpriced: Usage without a price, by ``component/unit`` (``llm/token``). Not in any amount.
    """

    transport: Decimal = Decimal(0)
    agent: Decimal = Decimal(0)
    stt: Decimal = Decimal(0)
    llm: Decimal = Decimal(0)
    tts: Decimal = Decimal(0)
    unpriced: Mapping[str, Decimal] = field(default_factory=dict)

    @property
    def total(self) -> Decimal:
        """The sum of the components."""
        return reduce(plus, (self.transport, self.agent, self.stt, self.llm, self.tts))

    def by_component(self) -> dict[str, Decimal]:
        """The components that cost something."""
        named = {c: getattr(self, c) for c in ("transport", "agent", "stt", "llm", "tts")}
        return {c: amount for c, amount in named.items() if amount}


class Turn(NamedTuple):
    """This session's average agent turn, in USD; zero while it has had none."""

    llm: Decimal = Decimal(0)
    tts: Decimal = Decimal(0)
    turns: int = 0


class Ledger:
    """Adds up one session. Not thread-safe: its meter holds the lock."""

    __slots__ = ("_amounts", "_femtos", "_last_turn", "_turns", "_unpriced", "streamed", "wasting")

    def __init__(self) -> None:
        self._amounts: dict[str, Decimal] = {}
        self._femtos: dict[str, int] = {}
        self._unpriced: dict[str, Decimal | int] = {}
        self._turns = 0
        self._last_turn = ""
        self.streamed: set[tuple[str, str]] = set()
        """STT models (provider, model) whose audio is metered by the stream, not by its reports."""
        self.wasting = ""
        """The guard that saw this whole session to be waste and was not allowed to end it."""

    def add(self, component: str, amount: Decimal) -> None:
        """Add to the bill."""
        self._amounts[component] = plus(self._amounts.get(component, _NOTHING), amount)

    def add_femtos(self, component: str, amount: int) -> None:
        """The same in whole :data:`~runguard_otel.cost.rates.FEMTO` of a dollar."""
        self._femtos[component] = self._femtos.get(component, 0) + amount

    def add_unpriced(self, component: str, unit: str, quantity: Decimal | int) -> None:
        """Remember usage that has no price."""
        key = f"{component}/{unit}"
        before = self._unpriced.get(key, 0)
        whole = type(before) is type(quantity) is int
        self._unpriced[key] = before + quantity if whole else plus(before, quantity)

    def add_turn(self, turn: str) -> None:
        """Count an agent's turn: a request to a language model that costs something.

        Only the last turn's name is kept: turns that interleave count twice, which makes the
        average smaller, the conservative side.
        """
        if not turn or turn != self._last_turn:
            self._turns += 1
            self._last_turn = turn

    def average_turn(self) -> Turn:
        """What one agent turn of this session has cost on average."""
        if not self._turns:
            return Turn()
        llm, tts = (self._amount(component) / self._turns for component in ("llm", "tts"))
        return Turn(llm, tts, self._turns)

    def cost(self) -> SessionCost:
        """The bill so far."""
        amounts = {c: self._amount(c) for c in {**self._amounts, **self._femtos}}
        return SessionCost(**amounts, unpriced={k: Decimal(n) for k, n in self._unpriced.items()})

    def _amount(self, component: str) -> Decimal:
        whole = in_dollars(self._femtos.get(component, 0))
        return plus(whole, self._amounts.get(component, _NOTHING))
