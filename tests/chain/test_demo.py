"""The demonstration itself, for the two storms that take seconds; `make demo` plays all four."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import sys
from pathlib import Path

import pytest

from runguard_otel.demo import theatre
from runguard_otel.demo.runs import Programme
from runguard_otel.demo.scene import STORMS
from runguard_otel.demo.verdict import verdicts

pytestmark = pytest.mark.chain


async def demo(*arguments: str, **environment: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "import typer; from runguard_otel.cli.demo import demo; typer.run(demo)",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **environment},
    )
    out, err = await asyncio.wait_for(process.communicate(), 100)
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


async def test_a_storm_that_cannot_be_played_fails_with_its_own_last_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    unheard_of = dataclasses.replace(STORMS[0], name="sandstorm")
    monkeypatch.setattr(theatre, "PHASES", (("sandstorm",),))
    programme, heard = Programme((unheard_of,)), list[str]()
    await theatre.perform(programme, lambda run, event: heard.append(event.kind))
    assert heard == ["failed", "failed"]
    assert all("usage: " in run.error for run in programme.runs)
    assert not any(verdict.ok for verdict in verdicts(programme))
