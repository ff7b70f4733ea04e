"""The demonstration's fifth storm: off it goes on until the room closes, on it ends by itself."""

from __future__ import annotations

from pathlib import Path

import pytest

import runguard_otel
from runguard_otel.demo.runs import Plan, Run
from runguard_otel.demo.scene import STORMS
from runguard_otel.demo.storms import overrun
from runguard_otel.demo.verdict import verdicts
from runguard_otel.demo.wire import Event, Report
from tests.kit.overrun import retries_for_ever

pytestmark = [pytest.mark.livekit, retries_for_ever]


async def played(run: Run, folder: Path) -> None:
    file = folder / run.name
    try:
        await overrun.play(Report(str(file)), run.guards)
    finally:
        runguard_otel.uninstrument()
    for line in file.read_bytes().splitlines():
        event = Event.parse(line)
        assert event is not None
        run.feed(event)


async def test_an_agent_left_alone_and_a_recogniser_that_reconnects_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overrun, "ROOM_MINUTES", 4)
    plan = Plan(tuple(storm for storm in STORMS if storm.name == "overrun"))
    off, on = plan.pair(plan.storms[0])
    await played(off, tmp_path)
    await played(on, tmp_path)
    assert [verdict.problems for verdict in verdicts(plan)] == [()]
    assert {trip["signature"] for trip in on.trips} == {
        "session_overrun:stt_reconnect",
        "session_overrun:agent_alone",
    }
    assert off.trips == []
    assert off.used.stt_sessions > on.used.stt_sessions == 5
