"""The meter bills what was used, once, while it is used, and never guesses."""

from __future__ import annotations

from decimal import Decimal

import pytest

from runguard_otel.core.ports import Usage
from runguard_otel.cost import current_session_cost, use_meter
from runguard_otel.cost.meter import Meter
from runguard_otel.cost.pricebook import PriceBook
from tests.kit.recorder import MemoryRecorder

pytestmark = pytest.mark.unit

BOOK = PriceBook.load()


class Stage:
    def __init__(self, *, plan: str = "ship", cloud_agents: bool = True) -> None:
        self.now = 1000.0
        self.session = "job-1"
        self.recorder = MemoryRecorder()
        self.meter = Meter(
            BOOK,
            self.recorder,
            plan=plan,
            cloud_agents=cloud_agents,
            session=lambda: self.session,
            clock=lambda: self.now,
        )

    def llm(self, turn: str = "", **quantities: float) -> None:
        self.meter.used(Usage("llm", "api.openai.com", "gpt-4.1-mini", quantities, turn))

    def estimated(self, component: str) -> float:
        return self.recorder.count("runguard.cost.estimated", component=component)

    def unpriced(self, **attributes: str) -> float:
        return self.recorder.count("runguard.cost.unpriced", **attributes)


def test_usage_times_price_is_the_estimate_and_carries_provider_and_model() -> None:
    stage = Stage()
    stage.llm(input_tokens=1500, output_tokens=40)
    assert stage.meter.session_cost().llm == Decimal("0.000664")
    assert stage.recorder.count(
        "runguard.cost.estimated", component="llm", provider="openai", model="gpt-4.1-mini"
    ) == pytest.approx(0.000664)


def test_an_unknown_model_is_unpriced_and_costs_nothing() -> None:
    stage = Stage()
    stage.meter.used(Usage("llm", "acme", "brain-1", {"input_tokens": 5, "output_tokens": 2}))
    assert stage.meter.session_cost().total == 0
    assert stage.meter.session_cost().unpriced == {"llm/token": Decimal(7)}
    assert stage.unpriced(component="llm", provider="acme", model="brain-1", unit="token") == 7


def test_negative_usage_is_unpriced_never_a_refund() -> None:
    stage = Stage()
    stage.llm(input_tokens=100, output_tokens=1)
    before = stage.meter.session_cost().llm
    stage.llm(input_tokens=-50, output_tokens=10)
    assert stage.meter.session_cost().llm == before
    assert stage.unpriced(component="llm", unit="request") == 1


def test_a_request_whose_usage_is_unknown_is_an_unpriced_request() -> None:
    stage = Stage()
    stage.llm(requests=1)
    assert stage.estimated("llm") == 0
    assert stage.unpriced(unit="request") == 1


def test_an_empty_book_prices_nothing_and_says_so() -> None:
    recorder = MemoryRecorder()
    meter = Meter(PriceBook.empty(), recorder)
    meter.used(Usage("tts", "Cartesia", "sonic-3", {"characters": 100}))
    assert meter.session_cost().total == 0
    assert recorder.count("runguard.cost.unpriced", unit="character") == 100


def test_an_open_socket_is_billed_by_the_second_it_is_open() -> None:
    stage = Stage()
    stage.meter.stream_opened("s", "AssemblyAI", "universal-streaming-english")
    stage.meter.stream_audio("s", 10)
    stage.now += 3600
    stage.meter.stream_closed("s")
    stage.now += 3600
    assert stage.meter.session_cost().stt == Decimal("0.15")


def test_audio_vendors_are_billed_by_the_audio_pushed_not_by_the_clock() -> None:
    stage = Stage()
    stage.meter.stream_opened("s", "Deepgram", "nova-3")
    for _ in range(3000):
        stage.meter.stream_audio("s", 0.02)
    stage.now += 3600
    stage.meter.stream_closed("s")
    assert round(stage.meter.session_cost().stt, 12) == Decimal("0.0048")


def test_the_streams_own_report_is_not_billed_again() -> None:
    stage = Stage()
    stage.meter.stream_opened("s", "Deepgram", "nova-3")
    stage.meter.stream_audio("s", 60)
    stage.meter.used(Usage("stt", "Deepgram", "nova-3", {"audio_seconds": 60}, streamed=True))
    stage.meter.stream_closed("s")
    stage.meter.used(Usage("stt", "Deepgram", "nova-3", {"audio_seconds": 4}, streamed=True))
    assert stage.meter.session_cost().stt == Decimal("0.0048")


def test_a_batch_request_is_billed_beside_a_stream_of_the_same_model() -> None:
    stage = Stage()
    stage.meter.stream_opened("s", "Deepgram", "nova-3")
    stage.meter.used(Usage("stt", "Deepgram", "nova-3", {"audio_seconds": 60}))
    assert stage.meter.session_cost().stt == Decimal("0.0048")


def test_without_a_stream_gauge_the_report_is_what_is_known() -> None:
    stage = Stage()
    used = {"audio_seconds": 60.0}
    stage.meter.used(Usage("stt", "Deepgram", "nova-3", used, streamed=True))
    assert stage.meter.session_cost().stt == Decimal("0.0048")
    # A socket nobody watches was open at least as long as the audio lasted.
    stage.meter.used(Usage("stt", "AssemblyAI", "u3-rt-pro", used, streamed=True))
    assert stage.meter.session_cost().stt == Decimal("0.0048") + Decimal("0.0075")


def test_what_runs_is_billed_as_it_goes_so_that_a_killed_process_loses_little() -> None:
    stage = Stage()
    stage.meter.stream_opened("s", "AssemblyAI", "universal-streaming-english")
    for _ in range(60):
        stage.now += 1
        stage.meter.settle()
    assert stage.estimated("stt") == pytest.approx(0.0025, abs=5 * 0.15 / 3600)
    settled = [k for k in stage.recorder.counts if k[0] == "runguard.cost.estimated"]
    assert len(settled) == 1


def test_every_connection_is_rounded_up_to_the_minute() -> None:
    stage = Stage()
    for _ in range(3):
        stage.meter.connection_opened("room")
        stage.now += 5
        stage.meter.connection_closed("room")
    cost = stage.meter.session_cost()
    assert (cost.transport, cost.agent) == (Decimal("0.0015"), Decimal("0.03"))


def test_a_started_minute_is_owed_at_once_and_the_next_when_it_starts() -> None:
    stage = Stage()
    stage.meter.connection_opened("room")
    assert stage.estimated("transport") == pytest.approx(0.0005)
    stage.now += 60.5
    stage.meter.settle()
    assert stage.estimated("transport") == pytest.approx(0.0010)


def test_connecting_again_ends_the_connection_before_and_an_unknown_key_ends_nothing() -> None:
    stage = Stage()
    stage.meter.connection_opened("room")
    stage.now += 30
    stage.meter.connection_opened("room")
    stage.meter.connection_closed("room")
    stage.meter.connection_closed("room")
    stage.meter.stream_closed("nothing")
    stage.meter.stream_audio("nothing", 3)
    assert stage.meter.session_cost().transport == Decimal("0.0010")


def test_self_hosted_transport_has_no_price_per_minute_and_compute_has() -> None:
    stage = Stage(plan="self_hosted", cloud_agents=False)
    stage.meter.connection_opened("room")
    stage.now += 3600
    stage.meter.connection_closed("room")
    cost = stage.meter.session_cost()
    assert cost.transport == 0
    assert cost.unpriced == {"transport/minute": Decimal(60)}
    assert cost.agent == Decimal("0.0068")  # 0.34 USD an hour for 50 agents


def test_sessions_in_one_process_have_a_bill_each() -> None:
    stage = Stage()
    stage.llm(input_tokens=1_000_000)
    stage.session = "job-2"
    stage.llm(output_tokens=1_000_000)
    assert stage.meter.session_cost().llm == Decimal("1.6")
    stage.session = "job-1"
    assert stage.meter.session_cost().llm == Decimal("0.4")


def test_a_stream_is_billed_to_the_session_that_opened_it() -> None:
    stage = Stage()
    stage.meter.stream_opened("s", "AssemblyAI", "u3-rt-pro")
    stage.session = "job-2"
    stage.now += 60
    stage.meter.stream_closed("s")
    assert stage.meter.session_cost().total == 0
    stage.session = "job-1"
    assert stage.meter.session_cost().stt == Decimal("0.0075")


def test_the_average_turn_is_what_turns_cost_so_far() -> None:
    stage = Stage()
    assert stage.meter.average_turn().turns == 0
    for turn in ("a", "b"):
        stage.llm(turn, input_tokens=1000)
        stage.meter.used(Usage("tts", "Cartesia", "sonic-3", {"characters": 100}, turn))
    stage.llm("b", input_tokens=1000)  # the answer after a tool call, still turn b
    average = stage.meter.average_turn()
    assert (average.turns, average.llm, average.tts) == (2, Decimal("0.0006"), Decimal("0.005"))


def test_anyone_can_ask_what_this_session_has_cost() -> None:
    assert current_session_cost().total == 0
    stage = Stage()
    use_meter(stage.meter)
    try:
        stage.llm(input_tokens=1_000_000)
        assert current_session_cost().by_component() == {"llm": Decimal("0.4")}
    finally:
        use_meter(None)
    assert current_session_cost().total == 0


def test_an_stt_without_a_price_is_unpriced_once_not_by_stream_and_by_report() -> None:
    stage = Stage()
    stage.meter.stream_opened("s", "nobody", "nothing")
    stage.meter.stream_audio("s", 30)
    used = {"audio_seconds": 30.0, "input_tokens": 9.0}
    stage.meter.used(Usage("stt", "nobody", "nothing", used, streamed=True))
    stage.meter.stream_closed("s")
    assert stage.meter.session_cost().unpriced == {"stt/second": Decimal(30)}
