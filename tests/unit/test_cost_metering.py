"""Charges are exact, never negative, monotone, additive, and rounded as the provider rounds."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runguard_otel.cost.rates import METERS, Rounding, charge, exact, natural_units

pytestmark = pytest.mark.unit

RATES = {
    "input_tokens": Decimal("0.40"),
    "cached_input_tokens": Decimal("0.10"),
    "output_tokens": Decimal("1.60"),
}
MILLION = Decimal(1_000_000)
EXACT = Rounding()
MINUTE = Rounding(increment=Decimal(60), minimum=Decimal(60))
tokens = st.integers(0, 10**12)
seconds = st.floats(0, 10**7, allow_nan=False)


@given(a=tokens, b=tokens, c=tokens)
def test_a_bill_is_the_sum_of_its_components(a: int, b: int, c: int) -> None:
    whole = charge(
        RATES, MILLION, EXACT, {"input_tokens": a, "cached_input_tokens": b, "output_tokens": c}
    ).amount
    parts = sum(
        charge(RATES, MILLION, EXACT, {meter: n}).amount
        for meter, n in zip(RATES, (a, b, c), strict=True)
    )
    assert whole == parts
    assert whole * MILLION == a * RATES["input_tokens"] + b * RATES["cached_input_tokens"] + (
        c * RATES["output_tokens"]
    )


@given(a=tokens, b=tokens)
def test_exact_metering_is_additive_over_uses(a: int, b: int) -> None:
    def cost(n: int) -> Decimal:
        return charge(RATES, MILLION, EXACT, {"output_tokens": n}).amount

    assert cost(a) + cost(b) == cost(a + b)


@given(a=seconds, b=seconds)
def test_more_use_never_costs_less(a: float, b: float) -> None:
    low, high = sorted((a, b))
    rates = {"connection_seconds": Decimal("0.01")}

    def cost(n: float) -> Decimal:
        return charge(rates, Decimal(60), MINUTE, {"connection_seconds": n}).amount

    assert cost(low) <= cost(high)


@given(quantity=seconds)
def test_rounding_goes_up_by_less_than_one_step_and_to_whole_steps(quantity: float) -> None:
    used = exact(quantity)
    billed = MINUTE.billable(used)
    assert billed >= used
    assert billed % 60 == 0
    assert billed == 60 if used <= 60 else billed - used < 60


@pytest.mark.parametrize(
    ("quantity", "billed"), [(0, 60), (0.001, 60), (10, 60), (60, 60), (60.001, 120), (70, 120)]
)
def test_ten_seconds_are_a_minute_and_seventy_are_two(quantity: float, billed: int) -> None:
    assert MINUTE.billable(exact(quantity)) == billed


@pytest.mark.parametrize("bad", [-1, -0.001, float("nan"), float("inf"), float("-inf")])
def test_usage_that_cannot_be_raises(bad: float) -> None:
    with pytest.raises(ValueError, match="usage must be a finite number >= 0"):
        charge(RATES, MILLION, EXACT, {"input_tokens": bad})
    with pytest.raises(ValueError, match="usage must be"):
        natural_units({"input_tokens": bad})


def test_tokens_without_a_rate_are_unpriced_not_free() -> None:
    result = charge(
        {"input_tokens": Decimal(1)},
        Decimal(1),
        EXACT,
        {"input_tokens": 2, "cached_input_tokens": 7},
    )
    assert result.amount == 2
    assert result.unpriced == {"token": Decimal(7)}


def test_a_row_paid_by_the_open_second_does_not_bill_tokens_too() -> None:
    result = charge(
        {"open_seconds": Decimal(1)}, Decimal(1), EXACT, {"open_seconds": 3, "output_tokens": 9}
    )
    assert result.amount == 3
    assert result.unpriced is None


def test_usage_in_another_unit_than_the_row_is_unpriced() -> None:
    result = charge({"input_tokens": Decimal(1)}, Decimal(1), EXACT, {"characters": 9})
    assert result.amount == 0
    assert result.unpriced == {"character": Decimal(9)}


@given(meter=st.sampled_from(METERS), quantity=st.integers(1, 10**9))
def test_every_meter_without_a_price_is_counted_in_some_unit(meter: str, quantity: int) -> None:
    assert sum(natural_units({meter: quantity}).values()) > 0


def test_a_tenth_is_a_tenth() -> None:
    assert sum((exact(0.1) for _ in range(10)), Decimal(0)) == 1
