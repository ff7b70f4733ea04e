"""The four worked examples of docs/cost.md, and what the estimator refuses."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runguard_otel.core.ports import Usage
from runguard_otel.cost.estimate import COMPONENTS, Estimate, estimate, total
from runguard_otel.cost.meter import Meter
from runguard_otel.cost.pricebook import PriceBook
from runguard_otel.cost.scenario import EstimateError, Loop, Stack, Traffic
from tests.kit.recorder import MemoryRecorder

pytestmark = pytest.mark.unit

BOOK = PriceBook.load()
DOC = (Path(__file__).parents[2] / "docs" / "cost.md").read_text("utf-8")
D = Decimal


def ask(loop: Loop, stack: Stack | None = None, **traffic: str) -> Estimate:
    given = {name: D(value) for name, value in traffic.items()}
    return estimate(BOOK, Traffic(**given), stack or Stack(), loop)


def documented(*amounts: str) -> None:
    """Every amount is written in the document as it is computed."""
    for amount in amounts:
        assert amount in DOC, f"{amount} is not in docs/cost.md"


def test_example_1_a_five_second_reconnect_loop_for_20_minutes() -> None:
    answer = ask(Loop("reconnect", D(12), D(20)), minutes_per_call="20")
    # 240 connections, each a started minute: 240 x (0.0005 + 0.01) = 2.52
    # instead of one connection of 20 minutes:  20 x (0.0005 + 0.01) = 0.21
    assert total(answer.call_extra) == D("2.52") - D("0.21") == D("2.31")
    # Two pass, the third is refused: 2 x 0.0105 - 10 s of the call, 0.00175
    assert total(answer.call_guarded) == D("0.021") - D("0.00175") == D("0.01925")
    documented("2.52", "0.21", "2.31", "0.01925")


def test_a_loop_that_outlives_its_call_replaces_only_the_calls_own_minutes() -> None:
    answer = ask(Loop("reconnect", D(12), D(20)), minutes_per_call="6")
    assert total(answer.call_extra) == D("2.52") - 6 * D("0.0105")


def test_the_meter_bills_example_1_the_same() -> None:
    now = [0.0]
    meter = Meter(BOOK, MemoryRecorder(), plan="ship", cloud_agents=True, clock=lambda: now[0])
    for _ in range(240):
        meter.connection_opened("room")
        now[0] += 5
        meter.connection_closed("room")
    assert meter.session_cost().total == D("2.52")


def test_example_2_twenty_fillers_in_a_call_with_persistent_noise() -> None:
    answer = ask(Loop("misfire", D(2), D(10)))
    # 1500 x 0.40/M + 40 x 1.60/M + 30 x 50/M = 0.0006 + 0.000064 + 0.0015 = 0.002164
    assert answer.call_extra == {"llm": 20 * D("0.000664"), "tts": 20 * D("0.0015")}
    assert total(answer.call_extra) == D("0.04328")
    assert total(answer.call_guarded) == 4 * D("0.002164") == D("0.008656")
    documented("0.002164", "0.04328", "0.008656")


def test_the_meter_bills_example_2_the_same() -> None:
    meter = Meter(BOOK, MemoryRecorder())
    for _ in range(20):
        tokens = {"input_tokens": 1500, "output_tokens": 40}
        meter.used(Usage("llm", "api.openai.com", "gpt-4.1-mini", tokens))
        meter.used(Usage("tts", "Cartesia", "sonic-3", {"characters": 30}))
    assert meter.session_cost().total == D("0.04328")


def test_example_3_a_ten_minute_call_served_by_two_agents() -> None:
    answer = ask(Loop("duplicate", D(1), D(10)), minutes_per_call="10")
    assert answer.call_extra == {
        "transport": D("0.005"),  # 10 x 0.0005
        "agent": D("0.10"),  # 10 x 0.01
        "stt": D("0.048"),  # 10 x 0.0048
        "llm": D("0.02656"),  # 40 turns x 0.000664
        "tts": D("0.15"),  # 40 turns x 75 x 50/M
    }
    assert total(answer.call_extra) == D("0.32956")
    assert total(answer.call_guarded) == 0
    documented("0.32956", "0.02656")


def test_example_4_eight_republishes_on_an_open_socket_nobody_closes() -> None:
    stack = Stack(stt="assemblyai/universal-streaming-english")
    answer = ask(Loop("cascade", D(8), D(1)), stack)
    assert total(answer.call_extra) == 8 * 3 * D("0.15") == D("3.60")
    assert total(answer.call_guarded) == 0
    pro = ask(Loop("cascade", D(8), D(1)), Stack(stt="assemblyai/u3-rt-pro"))
    assert total(pro.call_extra) == 8 * 3 * D("0.45") == D("10.80")
    documented("3.60", "10.80")


def test_the_meter_bills_example_4_the_same() -> None:
    now = [0.0]
    meter = Meter(BOOK, MemoryRecorder(), clock=lambda: now[0])
    for n in range(8):
        meter.stream_opened(n, "AssemblyAI", "universal-streaming-english")
    now[0] = 3 * 3600
    assert meter.session_cost().stt == D("3.60")


def test_a_cascade_on_a_vendor_that_bills_audio_adds_nothing() -> None:
    assert total(ask(Loop("cascade", D(8), D(1))).call_extra) == 0


def test_a_month_is_its_calls_and_the_loop_hits_its_share() -> None:
    answer = ask(
        Loop("duplicate", D(1), D(10), D("0.02")), minutes_per_call="10", calls_per_day="100"
    )
    assert answer.extra == 60 * D("0.32956")
    assert answer.saved == answer.extra
    # One call: 2 participants, agent, stt, 40 turns.
    assert total(answer.call) == D("0.01") + D("0.1") + D("0.048") + D("0.02656") + D("0.15")
    assert total(answer.normal) == 3000 * total(answer.call)


def test_self_hosting_is_compute_and_egress() -> None:
    stack = Stack("self_hosted", cloud_agents=False)
    answer = ask(Loop("duplicate", D(1), D(60)), stack, minutes_per_call="60")
    assert answer.call["agent"] == D("0.0068")  # 0.34 an hour for 50 agents
    assert answer.call["transport"] == 60 * 60 * 80 / D(8) / 1_000_000 * D("0.09")


positive = st.decimals("0.1", 1000, places=1)


@given(
    kind=st.sampled_from(["reconnect", "misfire", "cascade"]),
    rate=positive,
    minutes=positive,
    share=st.decimals(0, 1, places=2),
)
def test_a_loop_never_saves_and_the_guard_never_costs(
    kind: str, rate: Decimal, minutes: Decimal, share: Decimal
) -> None:
    answer = ask(Loop(kind, rate, minutes, share))
    tolerance = D("1e-18")
    assert answer.extra >= -tolerance
    assert answer.saved >= -tolerance
    assert answer.saved <= answer.extra + tolerance
    for component in COMPONENTS:
        assert answer.normal[component] <= answer.loop[component] + tolerance


@given(rate=st.integers(1, 60), minutes=st.integers(1, 60), more=st.integers(1, 60))
def test_a_longer_loop_never_costs_less(rate: int, minutes: int, more: int) -> None:
    short = ask(Loop("misfire", D(rate), D(minutes)))
    long = ask(Loop("misfire", D(rate), D(minutes + more)))
    assert long.extra > short.extra


@pytest.mark.parametrize(
    ("loop", "stack", "says"),
    [
        (Loop("ghost", D(1), D(1)), Stack(), "loop='ghost' is unknown; one of reconnect"),
        (Loop("misfire", D(0), D(1)), Stack(), "must be > 0"),
        (Loop("misfire", D(1), D(1), D(2)), Stack(), "share must be between 0 and 1"),
        (Loop("duplicate", D("1.5"), D(1)), Stack(), "whole number"),
        (Loop("misfire", D(1), D(1)), Stack(llm="gpt-4.1"), "must be provider/model"),
        (
            Loop("misfire", D(1), D(1)),
            Stack(llm="openai/gpt-9"),
            "llm.*known: openai/gpt",
        ),
        (
            Loop("misfire", D(1), D(1)),
            Stack(llm="nobody/gpt"),
            "known: anthropic/..., ",
        ),
        (Loop("misfire", D(1), D(1)), Stack(llm="xai/grok-voice-latest"), "has no price for token"),
        (Loop("misfire", D(1), D(1)), Stack("gold"), "no price for transport"),
    ],
)
def test_what_cannot_be_priced_is_an_error_that_helps(loop: Loop, stack: Stack, says: str) -> None:
    with pytest.raises(EstimateError, match=says):
        ask(loop, stack)
