"""The journal of the server's view is one like any other: shown, judged again, without names.

Caught: a replay that answers otherwise than live; a name in clear; rooms that keep files open.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from runguard_otel.core.guards.overrun import AGENT_ALONE
from runguard_otel.core.guards.presence import Change, Limits, Member, Role
from runguard_otel.journal.reading import History, find
from runguard_otel.journal.replay import replay
from runguard_otel.journal.timeline import Timeline
from runguard_otel.settings import Settings
from runguard_otel.telemetry.privacy import Privacy
from runguard_otel.watch.diary import Diary
from runguard_otel.watch.fleet import Fleet

pytestmark = pytest.mark.unit

BEGAN = time.monotonic()
"""A journal's own clock, which its header is written by."""


class World:
    """A watcher that keeps a journal, and what it found."""

    def __init__(self, folder: Path) -> None:
        self.now = time.monotonic()
        self.lost = 0
        self.found: list[Change] = []
        settings = Settings(journal=str(folder))
        self.diary = Diary(
            settings, Privacy("salt").hash, self._lose, acts={}, release="0", clock=self.clock
        )
        limits = Limits(
            left_seconds=settings.session_overrun_left_seconds,
            unmet_seconds=settings.session_overrun_unmet_seconds,
        )
        self.fleet = Fleet(
            limits, self._tell, clock=self.clock, wall=self.clock, alone=self.diary.alone
        )

    def clock(self) -> float:
        return self.now

    def _lose(self, lines: int) -> None:
        self.lost += lines

    def _tell(self, sid: str, change: Change) -> None:
        self.diary.told(sid, change)
        self.found.append(change)

    def passes(self, seconds: float, room: str, *members: Member) -> None:
        """Time passes; the room is asked for each second."""
        for _ in range(int(seconds)):
            self.now += 1
            self.fleet.listed(f"RM_{room}", room, 0, members, self.now)
            self.diary.look(self.fleet)


AGENT = Member("PA_a", "agent-secret", Role.AGENT, "support", BEGAN)
CALLER = Member("PA_c", "+15550100", Role.CALLER, None, BEGAN)


def an_evening(folder: Path) -> tuple[World, History]:
    """A caller leaves, and the agent stays for two minutes."""
    world = World(folder)
    world.passes(20, "room-secret", AGENT, CALLER)
    world.diary.booked(
        "RM_room-secret", "runguard.cost.estimated", 0.25,
        {"component": "transport", "provider": "livekit-cloud", "model": "participant"},
    )  # fmt: skip
    world.passes(120, "room-secret", AGENT)
    world.fleet.ended("RM_room-secret")
    world.diary.look(world.fleet)
    world.diary.close(10)
    (history,) = find([folder])
    return world, history


def test_a_rooms_history_is_shown(tmp_path: Path) -> None:
    world, history = an_evening(tmp_path)
    shown = Timeline.of(history)
    assert history.job == "RM_room-secret"
    assert [t.trip.signature for t in shown.trips] == [AGENT_ALONE]
    assert len(history.parts) > 1, "written by and by"
    for part in history.parts:
        assert json.loads(part.read_text().splitlines()[0])["e"] == "journal"
    assert 45 <= shown.trips[0].at <= 51, "20 s with a caller, 30 s without"
    assert {"callers", "guards open", "trips"} <= {lane.name for lane in shown.lanes}
    assert shown.money.by_component["transport"] == 0.25
    assert shown.ended == "clean"
    assert (world.lost, history.torn) == (0, 0)


def test_it_is_judged_again_as_it_was_live_and_by_other_settings(tmp_path: Path) -> None:
    _, history = an_evening(tmp_path)
    same = replay(history)
    assert same.exact
    assert same.same
    assert [t.signature for t in same.now] == [AGENT_ALONE]
    later = replay(history, {"session_overrun_left_seconds": 100})
    assert [round(t.at - same.now[0].at) for t in later.now] == [70]
    assert replay(history, {"session_overrun_left_seconds": 300}).now == []


def test_no_name_is_in_it(tmp_path: Path) -> None:
    an_evening(tmp_path)
    text = "".join(path.read_text() for path in tmp_path.iterdir())
    assert "RM_room-secret" in text, "LiveKit's id is the history's name"
    text = text.replace("RM_room-secret", "")
    assert "secret" not in text
    assert "+1555" not in text


def test_many_rooms_keep_no_files_open(tmp_path: Path) -> None:
    world = World(tmp_path)
    before = len(os.listdir("/proc/self/fd"))
    for number in range(300):
        world.passes(1, f"r{number}", AGENT._replace(sid=f"PA_{number}"))
    assert len(os.listdir("/proc/self/fd")) - before < 10
    world.diary.close(30)
    assert len(find([tmp_path])) == 300
