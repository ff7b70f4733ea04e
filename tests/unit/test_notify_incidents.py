"""One incident per signature and agent, from the first loop to the end of the last."""

from __future__ import annotations

import pytest

from alerts.loops import loop_alerts
from alerts.recording import loops
from alerts.tuning import Tuning
from runguard_otel.core.signatures import GuardName
from runguard_otel.core.verdict import Mode
from runguard_otel.notify.address import Address
from runguard_otel.notify.incidents import (
    ENDED_SECONDS,
    STOPPED,
    STOPPED_SECONDS,
    URGENT_SECONDS,
    Incidents,
    Loop,
    Notice,
)
from runguard_otel.notify.messages import Owner, body

pytestmark = pytest.mark.unit

RECONNECT = Loop(GuardName.ROOM_RECONNECT, "room_reconnect", "front")
ECHO = Loop(GuardName.VAD_MISFIRE, "vad_misfire:echo", "front")
MINUTE = 60.0


def step(incidents: Incidents, now: float) -> list[Notice]:
    """What is told at this time."""
    found = incidents.due(now)
    for notice in found:
        incidents.told(notice)
    return found


def said(incidents: Incidents, begin: float, end: float) -> list[tuple[float, bool, str]]:
    """What is told in a span of time, minute by minute."""
    now = begin
    out: list[tuple[float, bool, str]] = []
    while now <= end:
        out += [(now, n.firing, n.severity) for n in step(incidents, now)]
        now += MINUTE
    return out


def test_an_unstopped_loop_is_one_incident_for_as_long_as_it_lasts() -> None:
    """Mutant: an end ten minutes after the trip, in the middle of a loop of three hours."""
    incidents = Incidents()
    incidents.tripped(RECONNECT, Mode.OBSERVE, 1, 0)
    incidents.opened(RECONNECT, 1, 0)
    assert said(incidents, 0, 180 * MINUTE) == [(0, True, "critical")]
    incidents.opened(RECONNECT, -1, 180 * MINUTE)
    assert said(incidents, 180 * MINUTE, 200 * MINUTE) == [(190 * MINUTE, False, "critical")]
    assert said(incidents, 201 * MINUTE, 300 * MINUTE) == []


def test_a_stopped_loop_that_comes_back_is_the_same_incident() -> None:
    """Mutant: ``ENDED_SECONDS`` for both makes four incidents."""
    incidents = Incidents()
    told = []
    for again in range(4):
        at = again * 20 * MINUTE
        incidents.tripped(RECONNECT, Mode.ENFORCE, 1, at)
        told += said(incidents, at, at + 19 * MINUTE)
    told += said(incidents, 80 * MINUTE, 200 * MINUTE)
    assert told == [(0, True, "critical"), (90 * MINUTE, False, "critical")]


def test_single_stopped_misfires_are_not_told() -> None:
    """Mutant: ``trips`` of 1 tells of every one."""
    incidents = Incidents()
    told = []
    for hour in range(12):
        incidents.tripped(ECHO, Mode.ENFORCE, 2, hour * 61 * MINUTE)
        told += said(incidents, hour * 61 * MINUTE, (hour * 61 + 60) * MINUTE)
    assert told == []
    assert incidents._loops == {}, "what is over is forgotten"
    incidents.tripped(ECHO, Mode.ENFORCE, 3, 0)
    assert [n.severity for n in step(incidents, 0)] == ["warning"]


def test_what_goes_on_unstopped_becomes_urgent() -> None:
    incidents = Incidents()
    incidents.tripped(ECHO, Mode.OBSERVE, 1, 0)
    incidents.opened(ECHO, 1, 0)
    assert said(incidents, 0, 60 * MINUTE) == [
        (0, True, "warning"),
        (10 * MINUTE, True, "critical"),
    ]


def test_what_was_never_told_has_no_end_to_tell() -> None:
    incidents = Incidents()
    incidents.tripped(RECONNECT, Mode.OBSERVE, 1, 0)
    assert incidents.due(0)  # could not be sent
    assert said(incidents, 11 * MINUTE, 60 * MINUTE) == []


def test_two_agents_are_two_incidents_and_the_urgent_one_is_told_first() -> None:
    incidents = Incidents()
    other = ECHO._replace(agent="night")
    for loop in (ECHO, other, RECONNECT):
        incidents.tripped(loop, Mode.OBSERVE, 1, 0)
    assert [n.loop for n in step(incidents, 0)] == [RECONNECT, ECHO, other]


def test_the_end_of_the_worker_ends_what_was_told_and_nothing_else() -> None:
    incidents = Incidents()
    incidents.tripped(RECONNECT, Mode.OBSERVE, 1, 0)
    step(incidents, 0)
    incidents.tripped(ECHO, Mode.OBSERVE, 1, 1)
    assert [(n.loop, n.firing) for n in incidents.over(2)] == [(RECONNECT, False)]


def test_the_number_of_loops_is_bounded() -> None:
    incidents = Incidents()
    for agent in range(5000):
        incidents.tripped(ECHO._replace(agent=str(agent)), Mode.OBSERVE, 1, 0)
    assert len(incidents.due(0)) == 1000


def test_thresholds_and_memories_are_those_of_the_alerts() -> None:
    tuning = Tuning()
    windows = {"5m": 300.0, "1h": 3600.0}
    assert {row.guard: (row.trips, windows[row.window]) for row in loops(tuning)} == {
        str(guard): (rule.trips, rule.seconds) for guard, rule in STOPPED.items()
    }
    minutes = {ENDED_SECONDS: tuning.ended_memory, STOPPED_SECONDS: tuning.stopped_memory}
    assert {f"{seconds / 60:g}m": memory for seconds, memory in minutes.items()} == {
        memory: memory for memory in minutes.values()
    }
    (storm,) = (a for a in loop_alerts(tuning) if a.name == "RunguardStormNotStopped")
    assert URGENT_SECONDS == 600
    assert "more than ten minutes" in storm.description


@pytest.mark.parametrize("mode", [Mode.OBSERVE, Mode.ENFORCE])
def test_a_notice_has_the_words_of_its_alert(mode: Mode) -> None:
    summaries = [a.summary for a in loop_alerts(Tuning())[:4]]
    for loop in (RECONNECT, ECHO):
        text = body(
            Address.of("https://example.com"),
            Owner("desk", "eu"),
            Notice(loop, True, "warning", mode, 1, 0.0),
        ).decode()
        (alert,) = (s for s in summaries if f'"{s[:20]}' in text.replace('"summary": ', ""))
        ending = {"observe": "and nothing stops it", "enforce": "and the guard stops it each time"}
        assert alert.partition(" on agent")[0] in text
        assert ending[str(mode)] in alert
        assert f"service desk, cluster eu, {ending[str(mode)]}." in text
