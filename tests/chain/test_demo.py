"""The demonstration itself, for the storms that take seconds; `make demo` plays all five."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import signal
import sys
from pathlib import Path

import pytest

from runguard_otel.demo import runner
from runguard_otel.demo.runs import Plan
from runguard_otel.demo.scene import STORMS
from runguard_otel.demo.verdict import verdicts
from tests.kit.sinks import eventually

pytestmark = pytest.mark.chain


async def demo(*arguments: str, **environment: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "import typer; from runguard_otel.cli.demo import demo; typer.run(demo)",
        "--anyway",  # how busy the machine of a test is, is not its claim
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **environment},
    )
    out, err = await asyncio.wait_for(process.communicate(), 110)
    return process.returncode or 0, out.decode(), err.decode()


async def test_a_storm_is_stopped_and_told_whatever_the_environment_says(tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    code, out, err = await demo(
        "--json",
        *("--only", "tracks", "--html", str(report)),
        RUNGUARD_MODE="observe",
        OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9",
    )
    assert code == 0, out + err
    (tracks,) = json.loads(out)["storms"]
    assert (tracks["off"]["stt_sessions"], tracks["on"]["stt_sessions"]) == (8, 1)
    assert tracks["on"]["served"] == [8, 8]
    assert [trip["guard"] for trip in tracks["trips"]] == ["track_subscribe"]
    assert report.read_text("utf-8").count("<figure>") == 1


async def test_a_guard_that_only_watches_fails_the_demonstration(tmp_path: Path) -> None:
    switch_off = "import os; os.environ['RUNGUARD_ROOM_RECONNECT_MODE'] = 'observe'"
    (tmp_path / "sitecustomize.py").write_text(switch_off)
    code, out, err = await demo(
        *("--json", "--only", "reconnect", "--html", str(tmp_path / "report.html")),
        PYTHONPATH=str(tmp_path),
    )
    assert code == 1, out + err
    (reconnect,) = json.loads(out)["storms"]
    assert reconnect["on"]["connections"] == 13, reconnect["problems"]
    assert reconnect["problems"] == [
        "room_reconnect tripped but only watched",
        "guards on cost $0.1593, off $0.1593",
    ]


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
async def test_who_ends_it_leaves_nothing_behind(how: signal.Signals, tmp_path: Path) -> None:
    """Neither processes, nor files in the temporary folder, nor half a report."""
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "import typer; from runguard_otel.cli.demo import demo; typer.run(demo)",
        *("--plain", "--anyway", "--only", "reconnect", "--html", str(tmp_path / "report.html")),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(temporary)},
        # A shell lets what it starts in the background ignore Ctrl-C; this is somebody's terminal.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stdout is not None
    assert b"begins" in await asyncio.wait_for(process.stdout.readline(), 60)
    assert _told(str(temporary)), "its storms run"
    process.send_signal(how)
    _, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 130
    assert err.decode().splitlines()[-1] == "stopped; everything that was started has ended"
    assert list(temporary.iterdir()) == []
    assert not (tmp_path / "report.html").exists()
    eventually(lambda: _told(str(temporary)) == [])  # killed, a process takes its time to go


def _told(temporary: str) -> list[int]:
    """The processes whose temporary folder is below that one."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            environment = (process / "environ").read_bytes()
        except OSError:  # it has ended, or is another user's
            continue
        if f"TMPDIR={temporary}/".encode() in environment:
            found.append(int(process.name))
    return found


async def test_a_storm_that_cannot_be_played_fails_with_its_own_last_words(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    unheard_of = dataclasses.replace(STORMS[0], name="sandstorm")
    monkeypatch.setattr(runner, "PHASES", (("sandstorm",),))
    plan, heard = Plan((unheard_of,)), list[str]()
    await runner.run_plan(plan, lambda run, event: heard.append(event.kind), logs=tmp_path)
    assert heard == ["failed", "failed"]
    assert all("usage: " in run.error for run in plan.runs)
    assert not any("\n" in run.error for run in plan.runs), "the rest is in the log"
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "demo-sandstorm-off.log",
        "demo-sandstorm-on.log",
    ]
    assert not any(verdict.ok for verdict in verdicts(plan))
