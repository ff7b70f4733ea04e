"""A replay says what was said live, event for event; and with another threshold, something else."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from runguard_otel.cli import commands
from runguard_otel.core.breaker import Breaker
from runguard_otel.core.guards.misfire import MisfireGuard
from runguard_otel.core.overdue import Overdue
from runguard_otel.core.signatures import GuardName
from runguard_otel.core.verdict import Verdict
from runguard_otel.core.window import SlidingWindow
from runguard_otel.journal.reading import UnreadableError, find
from runguard_otel.journal.replay import replay
from tests.kit.journals import Desk, random_call

pytestmark = pytest.mark.unit

SEED = st.integers(0, 2**32)
MODES = st.sampled_from(("observe", "enforce"))


@given(seed=SEED, mode=MODES)
@settings(max_examples=60)
def test_unchanged_settings_give_the_live_verdicts_event_for_event(
    tmp_path_factory: pytest.TempPathFactory, seed: int, mode: str
) -> None:
    """Fails if a line leaves out anything its policy was given, such as ``joins`` or the time."""
    desk = Desk(mode=mode, session_overrun_session_seconds=900)
    random_call(desk, random.Random(seed))
    result = replay(desk.history(tmp_path_factory.mktemp("journal")))
    assert result.differences == []
    assert result.same and result.exact
    assert result.events > 50
    assert desk.lost == 0


def storm(folder: Path, calls: int = 20) -> list[Desk]:
    desks = []
    for seed in range(calls):
        desk = Desk(mode="enforce", session_overrun_session_seconds=900)
        random_call(desk, random.Random(seed), steps=120)
        desk.history(folder, f"20260101T0000{seed:02}Z-AJ_{seed}")
        desks.append(desk)
    return desks


def _one_second_later(self: Overdue, now: float, limit: float, detail: str = "") -> None:
    if self.since is None:
        self.since, self.limit, self.detail, self.due = now, limit, detail, now + limit + 1


@pytest.mark.parametrize(
    ("owner", "name", "mutant"),
    [
        (MisfireGuard, "_one_may_pass", lambda self, kind, confidence: Verdict.SUPPRESS),
        (Breaker, "healthy", lambda self, now: False),
        (SlidingWindow, "count", lambda self, now: 0),
        (Overdue, "begin", _one_second_later),
    ],
    ids=lambda part: part if isinstance(part, str) else "",
)
def test_a_policy_that_was_changed_in_one_place_is_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: type, name: str, mutant: object
) -> None:
    storm(tmp_path)
    assert all(replay(history).same for history in find([tmp_path]))
    monkeypatch.setattr(owner, name, mutant)
    assert any(not replay(history).same for history in find([tmp_path]))


@pytest.mark.parametrize(
    "change",
    [
        {"vad_misfire_limit": 4},
        {"vad_misfire_min_confidence": 0.58},
        {"vad_misfire_floor_confidence": 0.5},
        {"vad_misfire_window_seconds": 10},
        {"room_reconnect_limit": 4},
        {"room_reconnect_window_seconds": 20},
        {"room_reconnect_redial_limit": 2},
        {"track_subscribe_limit": 4},
        {"track_subscribe_window_seconds": 2},
        {"session_overrun_left_seconds": 60},
        {"session_overrun_silent_seconds": 300},
        {"session_overrun_close_seconds": 5},
        {"session_overrun_session_seconds": 500},
        {"session_overrun_stt_reconnects": 3},
        {"session_overrun_stt_reconnects_at_all": 8},
        {"room_reconnect_mode": "off"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_another_threshold_gives_another_answer(tmp_path: Path, change: dict[str, object]) -> None:
    """Fails for a setting that :class:`Policies` does not hand on."""
    storm(tmp_path)
    results = [replay(history, change) for history in find([tmp_path])]
    assert any(not result.same for result in results)


def test_the_command_says_what_changes_and_ends_as_ci_wants_it(tmp_path: Path) -> None:
    """Fails if ``--no-trips`` looks at the live trips instead of those of the replay."""
    folder = tmp_path / "journal"
    folder.mkdir()
    storm(folder)
    run = CliRunner().invoke
    page = tmp_path / "replay.html"
    words = ["replay", "--set", "vad_misfire_limit=4", str(folder)]
    told = run(commands(), [*words, "--html", str(page)])
    assert told.exit_code == 0, told.output
    assert "20 calls" in told.output and "vad_misfire_limit=4" in told.output
    assert page.read_text().count('class="now"') > 1
    assert run(commands(), [*words, "--no-changes"]).exit_code == 1
    assert run(commands(), ["replay", str(folder), "--no-changes"]).exit_code == 0
    assert run(commands(), ["replay", str(folder), "--no-trips"]).exit_code == 1
    off = [f"--set={guard}_mode=off" for guard in GuardName if guard != "job_dispatch"]
    silent = run(commands(), ["replay", *off, str(folder), "--no-trips", "--json"])
    assert silent.exit_code == 0
    data = json.loads(silent.stdout)
    assert data["calls"] == 20
    assert data["guards"]["vad_misfire"]["then"] > 0 == data["guards"]["vad_misfire"]["now"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--set", "vad_misfire_limit"], "write NAME=VALUE"),
        (["--set", "vad_misfire_limt=4"], "did you mean 'vad_misfire_limit'?"),
        (["--set", "vad_misfire_limit=many"], "allowed: whole number"),
        (["--set", "vad_misfire_echo_seconds=4"], "no replay can tell"),
        (["nowhere"], "there is no such file or folder"),
        ([__file__], "no journal of runguard-otel"),
    ],
)
def test_what_cannot_be_replayed_is_one_clear_line(words: list[str], says: str) -> None:
    told = CliRunner().invoke(commands(), ["replay", ".", *words])
    assert told.exit_code == 2
    assert says in told.stderr and told.stderr.count("\n") == 1


def test_a_torn_line_is_read_around_and_an_older_schema_is_read(tmp_path: Path) -> None:
    """Fails if one bad line costs the batch it stands in."""
    desk = Desk()
    random_call(desk, random.Random(3))
    whole = replay(desk.history(tmp_path))
    path = tmp_path / "20260101T000000Z-AJ_1.1.jsonl"
    lines = path.read_bytes().splitlines()
    header = json.loads(lines[0])
    del header["settings"], header["agent"], header["release"]
    lines[0] = json.dumps({**header, "schema": 0}).replace(", ", ",").replace(": ", ":").encode()
    path.write_bytes(b"\n".join([*lines, b'{"t":1.0,"e":"in","p":1,"op":"fin']))
    history = find([path])[0]
    torn = replay(history)
    assert torn.events == whole.events and torn.then == whole.then
    assert history.torn == 1 and not torn.exact
    later = tmp_path / "later.jsonl"
    later.write_text('{"t":1,"e":"journal","schema":99}\n')
    with pytest.raises(UnreadableError, match="a later release"):
        find([later])
