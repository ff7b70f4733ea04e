"""One number for one moment: the session's bill, the metric, the journal and the trip."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from runguard_otel.cli import commands
from runguard_otel.core.ports import Usage
from runguard_otel.core.signatures import GuardName
from runguard_otel.core.verdict import Mode, Subject, Trip
from runguard_otel.cost.lasting import PeriodPricer
from runguard_otel.cost.meter import Meter
from runguard_otel.cost.pricebook import PriceBook
from runguard_otel.cost.priced_recorder import PricedRecorder
from runguard_otel.journal.keeper import Keeper
from runguard_otel.journal.money import Money
from runguard_otel.journal.reading import find
from runguard_otel.journal.recorder import TapedRecorder
from runguard_otel.telemetry.hub.reader import Period
from tests.kit.journals import Desk
from tests.kit.recorder import MemoryRecorder

pytestmark = pytest.mark.unit


class Shown(Period):
    """What lasts, as the worker sees it, on the job's side."""

    def end(self) -> None:
        self.ended = None


class Kept:
    """Files in memory: what the worker adds to the job's lines."""

    def __init__(self, lines: list[bytes]) -> None:
        self.lines = lines

    def put(self, name: str, lines: list[bytes]) -> None:
        self.lines += lines

    def close(self, name: str) -> None: ...

    def stop(self, timeout: float = 2.0) -> None: ...


def test_bill_metric_journal_and_trip_say_the_same_at_the_same_moment(tmp_path: Path) -> None:
    """Fails if the worker's part of the bill is not booked for its job (``booked=``)."""
    desk, metrics, periods = Desk(), MemoryRecorder(), list[Shown]()

    def show(kind: str, attributes: object, began: float) -> Shown:
        periods.append(Shown(kind, dict(attributes), began))  # type: ignore[call-overload]
        return periods[-1]

    taped = TapedRecorder(metrics, desk.book, lambda name: name, desk.clock)
    meter = Meter(
        PriceBook.load(""),
        taped,
        plan="ship",
        session=lambda: "AJ_1",
        clock=desk.clock,
        show=show,  # type: ignore[arg-type]  # an `amount` is no method here
    )
    recorder = PricedRecorder(taped, meter, clock=desk.clock)
    keeper = Keeper(lambda: Kept(desk.lines), desk.clock)  # type: ignore[arg-type, return-value]
    worker = PeriodPricer(meter, metrics, keeper.booked)
    meter.connection_opened("room")
    meter.stream_opened("ear", "AssemblyAI", "universal-streaming")
    meter.used(Usage("llm", "api.openai.com", "gpt-4.1-mini", {"input_tokens": 1000.0}))
    said = list(desk.lines)
    desk.lines.clear()
    keeper.kept((1, 1), said)
    for _ in range(5):
        desk.wait(47)
        worker(periods, desk.now)
        bill = float(meter.session_cost().total)
        metric = metrics.count("runguard.cost.estimated")
        recorder.trip(
            Trip(
                GuardName.SESSION_OVERRUN, "session_overrun:agent_alone", Subject(job_id="AJ_1"),
                1, 30, 1, Mode.ENFORCE, "shutdown_job",
            )
        )  # fmt: skip
        history = desk.history(tmp_path)
        money = Money.of(history)
        trip = [row for row in history.rows() if row["e"] == "trip"][-1]
        assert bill > 0
        assert metric == pytest.approx(bill, abs=1e-9)
        assert sum(money.by_component.values()) == pytest.approx(bill, abs=1e-9)
        assert float(trip["cost"]["total"]) == pytest.approx(bill, abs=1e-8)
        assert money.until(desk.now - 1000.0) == pytest.approx(bill, abs=1e-8)
    assert find([tmp_path])[0].job == "AJ_1"


def test_cost_top_answers_from_journals_as_from_prometheus(tmp_path: Path) -> None:
    """Fails if yesterday's dollars count as today's."""
    desk = Desk()
    clock = time.time() - 1000.0

    def spend(days_ago: float, amount: float) -> None:
        row = {"e": "count", "metric": "runguard.cost.estimated", "component": "llm"}
        t = 1000.0 - days_ago * 86_400
        desk.book.put({"t": t, **row, "provider": "openai", "model": "m", "amount": amount})

    spend(0.1, 2.0)
    spend(0.2, 1.0)
    spend(3, 7.0)
    spend(20, 100.0)
    header = {**json.loads(desk.lines[0]), "clock": clock}
    desk.lines[0] = json.dumps(header).encode()
    desk.history(tmp_path)
    words = ["cost", "top", "--journal", str(tmp_path)]
    told = CliRunner().invoke(commands(), [*words, "--json"])
    assert told.exit_code == 0, told.output
    (row,) = json.loads(told.stdout)["Which component"]
    assert (row["names"], row["today"], row["usual"]) == (["llm", "openai", "m"], 3.0, 1.0)
    assert "$3.00" in CliRunner().invoke(commands(), words).output
    neither = CliRunner().invoke(commands(), ["cost", "top"])
    assert neither.exit_code == 2 and "say where to look" in neither.stderr
