"""What lasts is priced while it lasts: the metric says what the job's own bill says."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

import pytest

from runguard_otel.core.verdict import Mode, Subject, Trip
from runguard_otel.cost.lasting import PeriodPricer
from runguard_otel.cost.meter import Meter
from runguard_otel.cost.price import Price
from runguard_otel.cost.pricebook import PriceBook
from runguard_otel.cost.priced_recorder import PricedRecorder
from runguard_otel.cost.rates import Rounding
from runguard_otel.telemetry.hub.server import Hub
from tests.kit.recorder import MemoryRecorder

pytestmark = pytest.mark.unit

TODAY = date(2026, 11, 28)
OPEN, HEARD, MINUTE = Decimal("0.003"), Decimal("0.007"), Decimal("0.13")
BOOK = PriceBook(
    [
        Price("stt", "assemblyai", ("open",), {"open_seconds": OPEN}, "this test", TODAY),
        Price("stt", "deepgram", ("heard",), {"audio_seconds": HEARD}, "this test", TODAY),
        Price(
            "transport",
            "livekit-cloud",
            ("participant",),
            {"connection_seconds": MINUTE},
            "this test",
            TODAY,
            per=Decimal(60),
            rounding=Rounding(Decimal(60), Decimal(60)),
        ),
    ]
)


@dataclass(eq=False)
class Shown:
    """A period as its worker sees it, and the job's handle on it in one."""

    kind: str
    attributes: dict[str, str]
    began: float
    clock: Callable[[], float]
    pushed: float = 0.0
    ended: float | None = None

    def amount(self, value: float) -> None:
        self.pushed = value

    def end(self) -> None:
        self.ended = self.clock()

    def seconds(self, now: float) -> float:
        return max(0.0, (now if self.ended is None else self.ended) - self.began)


class Seen:
    """What the worker is told of a period."""

    def __init__(self, shown: Shown) -> None:
        self._shown = shown
        self.kind, self.attributes, self.began = shown.kind, shown.attributes, shown.began
        self.amount = 0.0
        self.ended: float | None = None

    def look(self) -> None:
        self.amount, self.ended = self._shown.pushed, self._shown.ended

    def seconds(self, now: float) -> float:
        return self._shown.seconds(now)


class Job:
    """A job's meter, and its worker's pricer, on one clock."""

    def __init__(self, plan: str = "ship") -> None:
        self.now = 1000.0
        self.seen: list[Seen] = []
        self.worker, self.inner = MemoryRecorder(), MemoryRecorder()
        self.meter = Meter(
            BOOK,
            self.inner,
            plan=plan,
            clock=lambda: self.now,
            show=self._show,
            session=lambda: "AJ_1",
        )
        self.recorder = PricedRecorder(self.inner, self.meter, clock=lambda: self.now)
        self.pricer = PeriodPricer(Meter(BOOK, self.worker, plan=plan), self.worker)

    def _show(self, kind: str, attributes: Mapping[str, str], began: float) -> Shown:
        shown = Shown(kind, dict(attributes), began, lambda: self.now)
        self.seen.append(Seen(shown))
        return shown

    def look(self) -> None:
        for period in self.seen:
            period.look()
        self.pricer(self.seen, self.now)
        self.seen = [period for period in self.seen if period.ended is None]

    def counted(self, metric: str = "runguard.cost.estimated", **labels: str) -> Decimal:
        return Decimal(str(round(self.worker.count(metric, **labels), 9)))


def test_two_minutes_of_silence_cost_what_they_last_at_every_moment() -> None:
    """Fails if the metric stands still while nothing else happens, or counts anything twice."""
    job = Job()
    job.meter.connection_opened("room")
    job.meter.stream_opened("stream", "assemblyai", "open")
    for second in range(1, 121):
        job.now += 1
        job.look()
        minutes = -(-second // 60)
        assert job.counted() == second * OPEN + minutes * MINUTE
        assert job.counted() == job.meter.session_cost().total
    assert job.inner.count("runguard.cost.estimated") == 0, "the worker counts, and nobody else"


def test_audio_is_priced_by_what_went_in() -> None:
    job = Job()
    job.meter.stream_opened("stream", "deepgram", "heard")
    for second in range(1, 31):
        job.now += 2
        job.meter.stream_audio("stream", 1.0)
        job.look()
        assert job.counted(component="stt") == second * HEARD == job.meter.session_cost().stt
    job.meter.stream_closed("stream")
    job.look()
    assert job.counted(component="stt") == 30 * HEARD


def test_what_has_ended_costs_nothing_more() -> None:
    job = Job()
    job.meter.stream_opened("stream", "assemblyai", "open")
    job.now += 10
    job.meter.stream_closed("stream")
    job.now += 100
    for _ in range(2):
        job.look()
    assert job.counted() == 10 * OPEN == job.meter.session_cost().total


def test_what_has_no_price_is_counted_without_one_while_it_lasts() -> None:
    job = Job("self_hosted")
    job.meter.connection_opened("room")
    job.now += 90
    job.look()
    assert job.counted("runguard.cost.unpriced", component="transport") == Decimal("1.5")
    job.now += 30
    job.look()
    assert job.counted("runguard.cost.unpriced", component="transport") == 2
    assert job.meter.session_cost().unpriced["transport/minute"] == 2


def overrun(kind: str, mode: Mode = Mode.OBSERVE) -> Trip:
    from runguard_otel.core.signatures import GuardName

    return Trip(
        guard=GuardName.SESSION_OVERRUN,
        signature=f"session_overrun:{kind}",
        subject=Subject(job_id="AJ_1"),
        count=1,
        window_seconds=30,
        threshold=1,
        mode=mode,
        action="none",
    )


def test_an_agent_alone_wastes_from_its_trip_to_its_end_to_the_second() -> None:
    """Fails if waste begins with the connection, or is noticed only at the next look."""
    job = Job()
    job.meter.stream_opened("stream", "assemblyai", "open")
    job.now += 30
    trip = overrun("agent_alone")
    job.recorder.trip(trip)
    assert job.inner.trips[0].cost is not None
    assert Decimal(job.inner.trips[0].cost["total"]) == 30 * OPEN, "the trip says the same number"
    for second in range(1, 41):
        job.now += 1
        if second % 7 == 0:
            job.look()
    job.recorder.guard_closed("session_overrun", trip.signature)
    job.now += 60
    job.look()
    wasted = job.counted("runguard.cost.wasted", guard="session_overrun", component="stt")
    assert wasted == 40 * OPEN
    assert job.counted() == 130 * OPEN == job.meter.session_cost().total


def test_reconnects_of_a_recogniser_are_no_waste_of_the_whole_session() -> None:
    job = Job()
    job.meter.stream_opened("stream", "assemblyai", "open")
    job.recorder.trip(overrun("stt_reconnect"))
    job.now += 60
    job.look()
    assert job.counted("runguard.cost.wasted") == 0


def test_a_script_counts_what_lasts_by_itself() -> None:
    """Nobody shows it to a worker: fails if only the next use settles it."""
    now, recorder = [0.0], MemoryRecorder()
    meter = Meter(BOOK, recorder, plan="ship", clock=lambda: now[0], tick_seconds=0.01)
    meter.stream_opened("stream", "assemblyai", "open")
    deadline = time.monotonic() + 5
    for second in range(5, 121, 5):  # as often as it looks by default
        now[0], expected = float(second), float(second * OPEN)
        while recorder.count("runguard.cost.estimated") < expected * (1 - 1e-9):
            assert time.monotonic() < deadline
            time.sleep(0.005)
        assert recorder.count("runguard.cost.estimated") == pytest.approx(expected)
    meter.stream_closed("stream")
    while any(t.name == "runguard-cost" for t in threading.enumerate()):
        assert time.monotonic() < deadline, "the thread ends with the last of what lasts"
        time.sleep(0.01)


def test_tokens_that_nobody_reported_are_seconds_without_a_price() -> None:
    book = PriceBook(
        [Price("stt", "openai", ("tokens",), {"input_tokens": OPEN}, "this test", TODAY)]
    )
    recorder = MemoryRecorder()
    meter = Meter(book, recorder)
    meter.stream_opened("stream", "openai", "tokens")
    meter.stream_audio("stream", 12.0)
    meter.stream_closed("stream")
    assert recorder.count("runguard.cost.unpriced", unit="second") == 12


JOB = """
import sys, time
from runguard_otel.telemetry.hub.client import HubSink
sink = HubSink(sys.argv[1])
sink.start()
sink.begin("stt_stream", {"job": "AJ_1", "provider": "assemblyai", "model": "open"})
print("open", flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_what_a_killed_job_had_open_is_priced_to_its_last_second() -> None:
    recorder = MemoryRecorder()
    hub = Hub(lambda *_: lambda *_: None)
    hub.watch(PeriodPricer(Meter(BOOK, recorder), recorder))
    hub.start()
    try:
        job = subprocess.Popen(
            [sys.executable, "-c", JOB, hub.address], stdout=subprocess.PIPE, text=True
        )
        assert job.stdout is not None
        assert job.stdout.readline() == "open\n"
        began = time.monotonic()
        time.sleep(1.5)
        job.kill()
        job.wait()
        lasted = time.monotonic() - began
        deadline = time.monotonic() + 5
        while recorder.count("runguard.cost.estimated") < float(OPEN) * (lasted - 0.5):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        counted = recorder.count("runguard.cost.estimated")
        time.sleep(1.2)
        assert counted == pytest.approx(float(OPEN) * lasted, abs=float(OPEN))
        assert recorder.count("runguard.cost.estimated") <= float(OPEN) * (lasted + 1)
    finally:
        hub.stop()
