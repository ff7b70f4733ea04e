"""What the demonstration knows of its runs, and what it says about them."""

from __future__ import annotations

import asyncio
import dataclasses
from decimal import Decimal
from pathlib import Path

import pytest

from runguard_otel.core.signatures import GuardName
from runguard_otel.core.verdict import Evidence, Mode, Subject, Trip
from runguard_otel.demo import runner
from runguard_otel.demo.machine import Machine
from runguard_otel.demo.runs import Plan, Run
from runguard_otel.demo.scene import PHASES, STORMS
from runguard_otel.demo.usage import Used, price_notes
from runguard_otel.demo.verdict import Verdict, explain, judge, verdicts
from runguard_otel.demo.wire import Event, Report
from tests.kit.demo import LITTLE, PLENTY, played, storm, trip

pytestmark = pytest.mark.unit


def only(plan: Plan) -> Verdict:
    return judge(plan.storms[0], *plan.pair(plan.storms[0]))


def test_every_guard_has_its_storm_and_every_storm_its_phase() -> None:
    assert {s.guard for s in STORMS} == set(GuardName)
    assert sorted(name for phase in PHASES for name in phase) == sorted(s.name for s in STORMS)


def test_what_a_report_writes_is_what_a_run_reads(tmp_path: Path) -> None:
    file = tmp_path / "events"
    report = Report(str(file))
    report.ready()
    report.signature("room_reconnect", "refused")
    evidence = (Evidence("room_reconnect", 1.0, "migration"),)
    report.trip(
        Trip(
            guard=GuardName.ROOM_RECONNECT,
            signature="room_reconnect",
            subject=Subject(room="lobby"),
            count=3,
            window_seconds=60,
            threshold=3,
            mode=Mode.ENFORCE,
            action="refuse_connect",
            evidence=evidence,
        )
    )
    report.used(PLENTY)
    report.used(PLENTY)
    report.done(PLENTY)
    run = Run(storm("reconnect"), True)
    lines = file.read_bytes().splitlines()
    for line in lines:
        event = Event.parse(line)
        assert event is not None
        run.feed(event)
    assert len(lines) == 5, "totals that did not change are not written again"
    assert (run.used, run.finished) == (PLENTY, True)
    assert run.signatures() == {("room_reconnect", "refused"): 1}
    assert [t["key"] for t in run.trips] == ["room_reconnect:lobby"]


@pytest.mark.parametrize("line", [b"", b"{", b"[]", b'{"message": "registered worker"}', b"3"])
def test_other_lines_in_the_file_are_not_events(line: bytes) -> None:
    assert Event.parse(line) is None


def test_time_counts_from_the_moment_everything_is_set_up() -> None:
    run = Run(storm("dispatch"), True)
    run.feed(Event("ready", 20.0))
    assert run.feed(Event("input", 21.5)).at == 1.5
    assert run.seconds == 1.5


def test_totals_of_several_processes_add_up() -> None:
    run = Run(storm("dispatch"), False)
    for who, used in ((1, LITTLE), (2, PLENTY), (1, PLENTY)):
        run.feed(Event("used", 1.0, "", {"who": who, **used.as_dict()}))
    assert run.used == PLENTY + PLENTY


def test_two_agents_that_understand_one_guest_have_not_understood_two() -> None:
    run = Run(storm("dispatch"), False)
    for _ in range(2):
        run.feed(Event("served", 1.0, "", {"served": 1, "of": 1}))
    assert run.served == (1, 1)


def test_a_connection_costs_a_started_minute_of_room_and_agent() -> None:
    costs = Used(connections=2).costs()
    assert (costs["transport"], costs["agent"]) == (Decimal("0.0010"), Decimal("0.02"))
    assert Used().cost == 0


def test_every_price_is_named_with_its_day() -> None:
    assert len(price_notes()) == 5
    assert all("as of 20" in note and "$" in note for note in price_notes())


def test_a_storm_that_was_stopped_is_well() -> None:
    assert [v.problems for v in verdicts(played())] == [()] * len(STORMS)


def test_a_guard_that_did_not_trip_is_a_problem() -> None:
    assert "did not trip" in only(played("misfire", tripped=False)).problems[0]


def test_another_guards_trip_does_not_count() -> None:
    plan = played("misfire", tripped=False)
    plan.pair(storm("misfire"))[1].feed(trip("room_reconnect"))
    assert "did not trip" in only(plan).problems[0]


def test_a_guard_that_only_watched_is_a_problem() -> None:
    plan = played("misfire", tripped=False)
    seen = trip("vad_misfire")
    seen.data["mode"] = "observe"
    plan.pair(storm("misfire"))[1].feed(seen)
    assert only(plan).problems == ("vad_misfire tripped but only watched",)


def test_a_run_with_guards_that_costs_as_much_is_a_problem() -> None:
    assert any("cost" in p for p in only(played("misfire", on=PLENTY)).problems)


@pytest.mark.parametrize(
    "meter", ["llm_calls", "tts_characters", "stt_sessions", "stt_seconds", "connections", "jobs"]
)
def test_more_of_any_one_thing_is_a_problem(meter: str) -> None:
    more = dataclasses.replace(LITTLE, **{meter: getattr(PLENTY, meter) + 3})
    problems = only(played("misfire", on=more)).problems
    assert any("more" in problem for problem in problems)


def test_a_user_who_was_not_understood_is_a_problem() -> None:
    assert "1 of 2 with guards on" in only(played("misfire", served=1)).problems[0]


def test_a_run_that_failed_or_never_ended_is_a_problem() -> None:
    plan = played("misfire")
    off, on = plan.pair(storm("misfire"))
    on.error = "ended with exit code 1"
    assert "exit code 1" in only(plan).problems[0]
    on.error, off.state = "", "waits"
    assert only(plan).problems == ("it was not played to the end",)


def test_a_trip_is_one_sentence() -> None:
    data = {**trip("room_reconnect").data, "evidence": [["room_reconnect", 2.0, "migration"]] * 3}
    assert explain(data) == (
        "3 x room reconnect (migration) within 2.0 s (limit 3): "
        "that connect was refused before any request was made."
    )
    assert "second job" in explain({**data, "guard": "job_dispatch", "action": "refuse_job"})


async def test_cancelled_it_waits_until_each_run_has_ended_what_it_began(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else a folder is removed, and a loop closed, under a run that still kills its processes."""
    folders: dict[str, Path] = {}
    ended: list[str] = []

    async def play(run: Run, _: object, folder: Path, *__: object) -> None:
        folders[run.name] = folder
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0 if run.guards else 0.05)
            assert folder.exists()
            ended.append(run.name)

    monkeypatch.setattr(runner, "_play_run", play)
    plan = Plan((storm("reconnect"),))
    task = asyncio.ensure_future(runner.run_plan(plan, lambda *_: None, machine=Machine(1.0)))
    while len(folders) < 2:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == ["reconnect on", "reconnect off"]
    assert not any(folder.exists() for folder in folders.values())


async def test_a_run_that_raises_ends_those_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[str] = []

    async def play(run: Run, *_: object) -> None:
        if run.guards:
            raise OSError("no more processes")
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(run.name)

    monkeypatch.setattr(runner, "_play_run", play)
    with pytest.raises(OSError, match="no more processes"):
        await runner.run_plan(Plan((storm("reconnect"),)), lambda *_: None, machine=Machine(1.0))
    assert ended == ["reconnect off"]
