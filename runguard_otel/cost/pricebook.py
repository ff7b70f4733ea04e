"""The price book: rows with a source, overridable, strict about what it does not understand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import Final, NamedTuple

from runguard_otel.cost.price import OURS, Price, PriceBookError
from runguard_otel.cost.pricefile import built_in, read

__all__ = ["MULTI", "Model", "PriceBook"]

MULTI: Final = ":multi"
"""Ends the name of a recogniser that listens to several languages at once, as LiveKit Inference
writes it. It counts only where a row has the name with it; a row without is for all languages."""


class Model(NamedTuple):
    """What the book knows of a model.

    Args:
        price: The row that prices it; ``None``: it is unpriced, not free.
        provider: Our name for its provider, ``unknown`` without one.
        name: Its name, lower case, ``unknown`` without one.
    """

    price: Price | None
    provider: str
    name: str


class PriceBook:
    """Finds the row of a model.

    Args:
        rows: The rows; a later row replaces an earlier one of the same identity.
        aliases: Our provider name by what LiveKit calls it, lower case.
        version: Of the built-in rows; exported so that a number can be traced to its prices.
    """

    def __init__(
        self, rows: Iterable[Price], aliases: Mapping[str, str] | None = None, version: str = ""
    ) -> None:
        known: dict[tuple[str, str, str, str], Price] = {}
        for row in rows:
            for model in row.models:
                known[row.component, row.provider, row.plan, model] = row
        self.rows = tuple({id(row): row for row in known.values()}.values())
        # By who makes what: a job process that looks a model up touches its maker's rows only, and
        # shares the memory of all others with the process it was forked from.
        self._of: dict[tuple[str, str], list[tuple[str, str, Price]]] = {}
        for (component, provider, plan, model), row in known.items():
            self._of.setdefault((component, provider), []).append((plan, model, row))
        self.aliases = {k.lower(): v for k, v in (aliases or {}).items()}
        self.version = version
        self._look_up = lru_cache(maxsize=512)(self._model)

    @classmethod
    def load(cls, override: str | Path = "") -> PriceBook:
        """Our rows, replaced and extended by those of ``override``.

        Args:
            override: A file of the same form; empty for none.

        Raises:
            PriceBookError: If a file is missing or a row cannot be used.
        """
        if not override:
            return _ours()
        ours = built_in()
        try:
            path = Path(override).expanduser()
        except RuntimeError as error:  # "~somebody", or "~" in a container without a home
            raise PriceBookError(f"{override}: {error}") from error
        own = read(path, str(override))
        return cls(
            [*ours.rows, *own.rows],
            {**ours.aliases, **own.aliases},
            f"{ours.version}+{own.version or 'override'}",
        )

    @classmethod
    def empty(cls) -> PriceBook:
        """A book without rows: everything is unpriced, nothing is wrong."""
        return cls(())

    def provider(self, name: str) -> str:
        """Our name for a provider."""
        lowered = name.strip().lower()
        return self.aliases.get(lowered, lowered)

    def find(self, component: str, provider: str, model: str, plan: str = "") -> Price | None:
        """The row that prices this model, or ``None``: then it is unpriced, not free.

        Args:
            component: The component.
            provider: As LiveKit names it.
            model: As LiveKit names it; compared without regard to case.
            plan: The LiveKit Cloud plan in force; rows of another plan do not count.
        """
        return self._look_up(component, provider, model, plan).price

    def model(self, component: str, provider: str, model: str, plan: str = "") -> Model:
        """The row :meth:`find` finds, and the names that metrics carry. Searched for once."""
        return self._look_up(component, provider, model, plan)

    def _model(self, component: str, provider: str, model: str, plan: str) -> Model:
        whose, which = self.provider(provider), model.strip().lower()
        row = self._search(component, whose, which, plan)
        if which.endswith(MULTI) and (row is None or row.origin == OURS):
            base = which.removesuffix(MULTI)
            of_all = self._search(component, whose, base, plan)
            # a row of the user's for the model as such wins over ours for several languages
            if not self._by_language(component, whose, which) or (
                of_all is not None and of_all.origin != OURS
            ):
                row, which = of_all, base
        return Model(row, whose or "unknown", which or "unknown")

    def _by_language(self, component: str, provider: str, model: str) -> bool:
        return any(pattern == model for _, pattern, _ in self._of.get((component, provider), ()))

    def _search(self, component: str, provider: str, model: str, plan: str) -> Price | None:
        best: tuple[tuple[bool, bool, bool, int], Price] | None = None
        for its_plan, pattern, row in self._of.get((component, provider), ()):
            if its_plan in ("", plan) and (pattern == model or fnmatchcase(model, pattern)):
                rank = (row.origin != OURS, pattern == model, bool(its_plan), len(pattern))
                if best is None or rank > best[0]:
                    best = (rank, row)
        return best[1] if best else None


@lru_cache(maxsize=1)
def _ours() -> PriceBook:
    """The book of the built-in rows; where jobs are forked, one for all of them."""
    ours = built_in()
    return PriceBook(ours.rows, ours.aliases, ours.version)
