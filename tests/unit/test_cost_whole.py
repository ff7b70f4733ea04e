"""Rates as whole numbers come to the same money as decimals, to the last digit, for every row."""

from __future__ import annotations

import threading
from decimal import Decimal
from functools import reduce
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runguard_otel.cost.account import Account
from runguard_otel.cost.ledger import Ledger
from runguard_otel.cost.price import Price
from runguard_otel.cost.pricebook import Model, PriceBook
from runguard_otel.cost.rates import (
    METERS,
    Charge,
    Rounding,
    charge,
    femtos,
    in_dollars,
    plus,
    whole_rates,
)
from tests.kit.recorder import MemoryRecorder

pytestmark = pytest.mark.unit

ROWS = PriceBook.load().rows
QUANTITIES = st.one_of(
    st.integers(0, 10**12), st.floats(0, 1e6), st.decimals(0, 10**6, places=6), st.just(0)
)


def billed(row: Price, *uses: dict[str, float | Decimal]) -> Charge:
    """What is on the bill of a session that used a model so."""
    model = Model(row._replace(max_prompt=0), row.provider, row.models[0])
    account = Account(Ledger(), row.component, model, MemoryRecorder(), threading.RLock())
    for quantities in uses:
        account.use(cast("dict[str, float]", quantities))
    cost = account.ledger.cost()
    return Charge(cost.total, {key.split("/")[1]: n for key, n in cost.unpriced.items()} or None)


@settings(max_examples=400)
@given(
    st.sampled_from(ROWS),
    st.dictionaries(st.sampled_from(METERS), QUANTITIES, max_size=6),
    st.lists(QUANTITIES, min_size=10, max_size=10),
)
def test_whole_numbers_are_the_same_money(
    row: Price, others: dict[str, float | Decimal], own: list[float | Decimal]
) -> None:
    """Fails for a unit that is not exact, a fraction taken as whole, or a meter left out."""
    quantities = {**others, **dict(zip(row.rates, own, strict=False))}
    today = charge(row.rates, row.per, row.rounding, quantities)
    assert billed(row, quantities) == today


@given(st.sampled_from(ROWS), st.integers(1, 10**6), st.floats(0, 1e6))
def test_a_bill_of_both_kinds_adds_up(row: Price, whole: int, fraction: float) -> None:
    """Fails if a bill forgets what it was told in the other way."""
    meter = next(iter(row.rates))
    uses: list[dict[str, float | Decimal]] = [{meter: whole}, {meter: fraction}, {meter: whole}]
    parts = [charge(row.rates, row.per, row.rounding, use).amount for use in uses]
    assert billed(row, *uses).amount == reduce(plus, parts)


def test_a_row_for_short_prompts_has_to_look_at_each() -> None:
    row = next(row for row in ROWS if row.max_prompt)
    assert row.whole() is None
    assert row._replace(max_prompt=0).whole() is not None


def test_nearly_every_row_is_whole() -> None:
    whole = [r for r in ROWS if whole_rates(r.rates, r.per, r.rounding) is not None]
    rounded = [r for r in ROWS if r.rounding != Rounding()]
    assert len(whole) >= 0.6 * (len(ROWS) - len(rounded))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.provider}/{row.models[0]}")
def test_each_row_with_each_of_its_meters(row: Price) -> None:
    units = whole_rates(row.rates, row.per, row.rounding)
    for meter in row.rates:
        for quantity in (1, 7, 999_999_999_999):
            today = charge(row.rates, row.per, row.rounding, {meter: quantity})
            assert billed(row, {meter: quantity}) == today
            if units is not None:
                assert in_dollars(femtos(units, {meter: quantity})) == today.amount


@pytest.mark.parametrize("quantity", [-1, float("nan"), float("inf"), "7", True])
def test_a_number_that_cannot_be_is_not_taken_as_whole(quantity: float) -> None:
    """Fails if one is multiplied unseen: text times a rate is a text of that length."""
    row = next(r for r in ROWS if "input_tokens" in r.rates)
    units = whole_rates(row.rates, row.per, row.rounding)
    assert units is not None
    assert femtos(units, {"input_tokens": quantity}) == 0


@pytest.mark.parametrize("quantity", [-1, float("nan"), float("inf")])
def test_a_use_that_cannot_be_is_one_request_without_a_price(quantity: float) -> None:
    row = next(r for r in ROWS if "input_tokens" in r.rates)
    assert billed(row, {"input_tokens": quantity}) == Charge(unpriced={"request": Decimal(1)})
