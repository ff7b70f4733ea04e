"""Rates as whole numbers come to the same money as decimals, to the last digit, for every row."""

from __future__ import annotations

import threading
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runguard_otel.cost.account import Account
from runguard_otel.cost.ledger import Ledger
from runguard_otel.cost.price import Price
from runguard_otel.cost.pricebook import Model, PriceBook
from runguard_otel.cost.rates import METERS, Rounding, charge, charge_whole, whole_rates
from tests.kit.recorder import MemoryRecorder

pytestmark = pytest.mark.unit

ROWS = PriceBook.load().rows
QUANTITIES = st.one_of(
    st.integers(0, 10**12), st.floats(0, 1e6), st.decimals(0, 10**6, places=6), st.just(0)
)


def account_of(row: Price) -> Account:
    model = Model(row._replace(max_prompt=0), row.provider, row.models[0])
    return Account(Ledger(), row.component, model, MemoryRecorder(), threading.RLock())


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
    assert account_of(row).charge(quantities) == today


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
            assert account_of(row).charge({meter: quantity}) == today
            if units is not None:
                assert charge_whole(units, {meter: quantity}) == today


@pytest.mark.parametrize("quantity", [-1, float("nan"), float("inf")])
def test_a_number_that_cannot_be_is_refused_as_before(quantity: float) -> None:
    row = next(r for r in ROWS if "input_tokens" in r.rates)
    with pytest.raises(ValueError, match="finite"):
        account_of(row).charge({"input_tokens": quantity})
