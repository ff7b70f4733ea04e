"""Only what a guard demonstrably stopped is avoided; what it would have stopped is waste."""

from __future__ import annotations

from decimal import Decimal

import pytest

from runguard_otel.core.ports import Usage
from runguard_otel.core.signatures import GuardName
from runguard_otel.core.verdict import Mode, Outcome, Subject, Trip
from runguard_otel.cost.meter import Meter
from runguard_otel.cost.pricebook import PriceBook
from runguard_otel.cost.priced_recorder import PricedRecorder
from tests.kit.recorder import MemoryRecorder

pytestmark = pytest.mark.unit

BOOK = PriceBook.load()
ROOM = Subject(room="r")
CALLER = Subject(room="r", participant="caller")


class Stage:
    def __init__(self) -> None:
        self.now = 0.0
        self.inner = MemoryRecorder()
        self.meter = Meter(BOOK, self.inner, plan="ship", cloud_agents=True, clock=lambda: self.now)
        self.recorder = PricedRecorder(self.inner, self.meter, clock=lambda: self.now)

    def talk(self, turns: int) -> None:
        for n in range(turns):
            self.meter.used(Usage("llm", "openai", "gpt-4.1-mini", {"input_tokens": 1000}, f"t{n}"))
            self.meter.used(Usage("tts", "cartesia", "sonic-3", {"characters": 100}, f"t{n}"))

    def trip(self, guard: GuardName, signature: str, subject: Subject, window: float) -> None:
        self.recorder.trip(Trip(guard, signature, subject, 3, window, 3, Mode.OBSERVE, "none"))

    def avoided(self, guard: str, component: str) -> float:
        return self.inner.count("runguard.cost.avoided", guard=guard, component=component)

    def wasted(self, guard: str, component: str) -> float:
        return self.inner.count("runguard.cost.wasted", guard=guard, component=component)


def test_a_refused_connect_avoids_the_one_minute_it_would_be_billed_at_least() -> None:
    stage = Stage()
    stage.recorder.event("room_reconnect", Outcome.REFUSED, ROOM)
    assert stage.avoided("room_reconnect", "transport") == pytest.approx(0.0005)
    assert stage.avoided("room_reconnect", "agent") == pytest.approx(0.01)


def test_a_refused_job_avoids_one_started_minute_not_the_length_of_a_call() -> None:
    stage = Stage()
    stage.recorder.event("job_claim:refused", Outcome.REFUSED, ROOM)
    assert stage.avoided("job_dispatch", "agent") == pytest.approx(0.01)
    assert stage.avoided("job_dispatch", "llm") == 0


def test_a_suppressed_result_avoids_this_sessions_average_turn() -> None:
    stage = Stage()
    stage.talk(4)
    stage.recorder.event("vad_misfire:echo", Outcome.SUPPRESSED, ROOM)
    assert stage.avoided("vad_misfire", "llm") == pytest.approx(0.0004)
    assert stage.avoided("vad_misfire", "tts") == pytest.approx(0.005)


def test_before_the_first_turn_a_suppressed_result_avoids_nothing() -> None:
    stage = Stage()
    stage.recorder.event("vad_misfire:echo", Outcome.SUPPRESSED, ROOM)
    assert stage.avoided("vad_misfire", "llm") == 0


def test_results_that_could_belong_to_one_turn_avoid_one_answer() -> None:
    stage = Stage()
    stage.talk(1)
    for seconds in (0, 1, 1.9):
        stage.now = 10 + seconds
        stage.recorder.event("vad_misfire:low_confidence", Outcome.SUPPRESSED, ROOM)
    assert stage.avoided("vad_misfire", "llm") == pytest.approx(0.0004)
    stage.now = 13
    stage.recorder.event("vad_misfire:low_confidence", Outcome.SUPPRESSED, ROOM)
    assert stage.avoided("vad_misfire", "llm") == pytest.approx(0.0008)


def test_an_empty_transcript_may_never_have_been_answered_so_it_avoids_nothing() -> None:
    stage = Stage()
    stage.talk(1)
    stage.recorder.event("vad_misfire:empty_transcript", Outcome.SUPPRESSED, ROOM)
    assert stage.avoided("vad_misfire", "llm") == 0


@pytest.mark.parametrize("outcome", [Outcome.ALLOWED, Outcome.OBSERVED])
def test_what_was_let_through_avoids_nothing(outcome: Outcome) -> None:
    stage = Stage()
    stage.talk(1)
    for signature in ("room_reconnect", "vad_misfire:echo", "track_subscribe"):
        stage.recorder.event(signature, outcome, ROOM)
    assert not [key for key in stage.inner.counts if key[0] != "runguard.cost.estimated"]


def test_a_reused_stream_avoids_an_idle_socket_until_its_window_has_passed() -> None:
    stage = Stage()
    stage.meter.stream_opened("s", "AssemblyAI", "universal-streaming-english")
    stage.recorder.event("track_subscribe", Outcome.REUSED, CALLER)
    stage.now = 12
    stage.recorder.settle()
    assert stage.avoided("track_subscribe", "stt") == pytest.approx(12 * 0.15 / 3600)
    stage.now = 5000
    stage.recorder.settle()
    stage.now = 9000
    stage.recorder.settle()
    assert stage.avoided("track_subscribe", "stt") == pytest.approx(30 * 0.15 / 3600)


def test_what_it_saves_shows_while_audio_flows() -> None:
    """Fails if only events and ends settle it: a dashboard would show a long call's at its end."""
    stage = Stage()
    stage.meter.stream_opened("s", "AssemblyAI", "universal-streaming-english")
    heard = stage.recorder.bind("runguard.stt.audio", provider="AssemblyAI", model="universal")
    stage.recorder.event("track_subscribe", Outcome.REUSED, CALLER)
    for second in (1, 2, 3):
        stage.now = second
        heard(1.0)
        assert stage.avoided("track_subscribe", "stt") == pytest.approx(second * 0.15 / 3600)
    assert stage.inner.count("runguard.stt.audio") == 3


def test_it_ends_with_the_guard_or_with_the_shared_stream() -> None:
    stage = Stage()
    stage.meter.stream_opened("s", "AssemblyAI", "universal-streaming-english")
    stage.recorder.guard_opened("track_subscribe")
    stage.recorder.event("track_subscribe", Outcome.REUSED, CALLER)
    stage.now = 6
    stage.recorder.guard_closed("track_subscribe")
    stage.now = 20
    stage.recorder.settle()
    assert stage.avoided("track_subscribe", "stt") == pytest.approx(6 * 0.15 / 3600)
    stage.recorder.event("track_subscribe", Outcome.REUSED, CALLER)
    stage.now = 24
    stage.recorder.settle()
    stage.meter.stream_closed("s")
    stage.now = 29
    stage.recorder.settle()
    assert stage.avoided("track_subscribe", "stt") == pytest.approx(10 * 0.15 / 3600)


def test_where_audio_is_metered_an_idle_socket_costs_and_saves_nothing() -> None:
    stage = Stage()
    stage.meter.stream_opened("s", "Deepgram", "nova-3")
    stage.recorder.event("track_subscribe", Outcome.REUSED, CALLER)
    stage.now = 30
    stage.recorder.settle()
    assert stage.avoided("track_subscribe", "stt") == 0


@pytest.mark.parametrize("trip_first", [False, True])
def test_in_observe_mode_what_enforce_would_have_refused_is_waste(trip_first: bool) -> None:
    stage = Stage()
    for second in (0, 5, 10):
        stage.now = second
        if second == 10 and trip_first:
            stage.trip(GuardName.ROOM_RECONNECT, "room_reconnect", ROOM, 60)
        stage.recorder.event("room_reconnect", Outcome.OBSERVED, ROOM)
    if not trip_first:
        stage.trip(GuardName.ROOM_RECONNECT, "room_reconnect", ROOM, 60)
    # The first two would have been allowed; the third would have been refused.
    assert stage.wasted("room_reconnect", "agent") == pytest.approx(0.01)
    stage.now = 15
    stage.recorder.event("room_reconnect", Outcome.OBSERVED, ROOM)
    stage.recorder.event("room_reconnect", Outcome.OBSERVED, Subject(room="another"))
    assert stage.wasted("room_reconnect", "agent") == pytest.approx(0.02)
    stage.now = 15 + 59  # each event keeps it open for another window
    stage.recorder.event("room_reconnect", Outcome.OBSERVED, ROOM)
    assert stage.wasted("room_reconnect", "agent") == pytest.approx(0.03)
    stage.now = 15 + 59 + 60
    stage.recorder.event("room_reconnect", Outcome.OBSERVED, ROOM)  # it would be closed again
    assert stage.wasted("room_reconnect", "agent") == pytest.approx(0.03)
    assert stage.avoided("room_reconnect", "agent") == 0


def test_waste_ends_when_the_guard_closes() -> None:
    stage = Stage()
    stage.talk(1)
    stage.recorder.event("vad_misfire:echo", Outcome.OBSERVED, ROOM)
    stage.recorder.guard_opened("vad_misfire")
    stage.trip(GuardName.VAD_MISFIRE, "vad_misfire:echo", ROOM, 120)
    assert stage.wasted("vad_misfire", "llm") == pytest.approx(0.0004)
    stage.recorder.guard_closed("vad_misfire")
    stage.now = 10
    stage.recorder.event("vad_misfire:echo", Outcome.OBSERVED, ROOM)
    assert stage.wasted("vad_misfire", "llm") == pytest.approx(0.0004)


def test_all_that_a_duplicate_costs_after_it_was_seen_and_let_in_is_waste() -> None:
    stage = Stage()
    stage.talk(1)
    assert stage.wasted("job_dispatch", "llm") == 0
    stage.recorder.event("job_claim:refused", Outcome.OBSERVED, ROOM)
    stage.talk(2)
    assert stage.wasted("job_dispatch", "llm") == pytest.approx(0.0008)
    assert stage.wasted("job_dispatch", "tts") == pytest.approx(0.01)
    stage.recorder.event("job_claim:taken_over", Outcome.ALLOWED, ROOM)
    stage.talk(1)
    assert stage.wasted("job_dispatch", "llm") == pytest.approx(0.0008)


def test_a_trip_carries_the_bill_and_the_inputs_of_its_formula() -> None:
    stage = Stage()
    stage.talk(2)
    stage.trip(GuardName.VAD_MISFIRE, "vad_misfire:echo", ROOM, 120)
    cost = stage.inner.trips[0].cost
    assert cost is not None
    assert cost["llm"] == "0.00080000"
    assert cost["total"] == "0.01080000"
    assert (cost["turns"], cost["turn_llm"], cost["turn_tts"]) == ("2", "0.00040000", "0.00500000")
    assert all(Decimal(v) >= 0 for k, v in cost.items() if k != "formula")


def test_everything_else_reaches_the_inner_recorder_unchanged() -> None:
    stage = Stage()
    stage.recorder.add("runguard.stt.results", 2, kind="empty")
    stage.recorder.observe("runguard.guard.duration", 0.1, guard="vad_misfire")
    stage.recorder.guard_opened("vad_misfire")
    stage.recorder.event("room_reconnect", Outcome.ALLOWED, ROOM, attributes={"a": 1})
    assert stage.inner.count("runguard.stt.results", kind="empty") == 2
    assert stage.inner.values == [("runguard.guard.duration", 0.1, {"guard": "vad_misfire"})]
    assert stage.inner.open_guards["vad_misfire"] == 1
    assert stage.inner.events[0].attributes == {"a": 1}
