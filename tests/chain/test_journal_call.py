"""A real call with every loop and an overrun, killed at its end, is all in its journal."""

from __future__ import annotations

import asyncio
import io
import sys
from pathlib import Path

import pytest
from rich.console import Console

from runguard_otel.cli.timeline import view
from runguard_otel.core.signatures import GuardName
from runguard_otel.journal.reading import History, find
from runguard_otel.journal.replay import replay
from runguard_otel.journal.timeline import LANES, Timeline
from runguard_otel.journal.timeline_page import page
from runguard_otel.testing.dispatcher import Dispatcher
from tests.kit.executors import in_a_terminal
from tests.kit.workers import Crew

pytestmark = pytest.mark.chain

AGENT = Path(__file__).parents[1] / "kit" / "journal_agent.py"
CLI = "from runguard_otel.cli import main; main()"
AT_ITS_TERMINAL = ("sh", "-c", 'terminal=$(tty); exec "$0" "$@" <"$terminal"')
"""Makes the terminal that of the session, so that its Ctrl-C is one."""


def ended(folder: Path) -> History | None:
    found = [h for h in find([folder]) if h.job.startswith("AJ_")]
    return found[0] if found and any(row["e"] == "end" for row in found[0].rows()) else None


async def test_a_call_with_every_loop_is_all_on_its_timeline(tmp_path: Path) -> None:
    """Fails if any guard's policy is not made by ``services.policies``, or its trip not taped.

    Somebody follows it in a terminal, from before the worker has made its folder until after its
    job is gone. Fails if a folder must be there, a call that is over stays, or Ctrl-C is an error.
    """
    journal = tmp_path / "journal"
    crew = Crew(tmp_path, agent=AGENT)
    (tmp_path / "screen").mkdir()
    python = (sys.executable, "-c", CLI)
    follow = (*AT_ITS_TERMINAL, *python, "timeline", "--live", str(journal))
    async with in_a_terminal(tmp_path / "screen", *follow) as live, Dispatcher() as dispatcher:
        await live.until(lambda: live.said("waiting for calls"), 60)
        await crew.start(
            1,
            "module",
            RUNGUARD_JOURNAL=str(journal),
            RUNGUARD_SESSION_OVERRUN_LEFT_SECONDS="1",
            **dispatcher.environment,
        )
        try:
            (worker,) = await dispatcher.wait_workers(1, 60)
            await dispatcher.dispatch(worker, dispatcher.job("Room-Of-Ada"))
            await dispatcher.wait(lambda: crew.steps("played") or None, 60)
            await live.until(lambda: live.said("session_overrun:agent_alone"), 60)
            assert live.said("1 call runs on this host, $0.00") and live.said("│ AJ_")
            crew.finish()
            history = await dispatcher.wait(lambda: ended(journal), 30)
            over = live.said("0 calls run on this host")
            await live.until(lambda: live.said("0 calls run on this host") > over, 60)
        finally:
            await crew.end()
        live.type("\x03")
        assert await asyncio.wait_for(live.process.wait(), 60) == 0
        assert "Traceback" not in live.log()
    call = Timeline.of(history)
    assert {timed.trip.guard for timed in call.trips} == set(GuardName)
    assert call.ended == "killed"
    assert {lane.name for lane in call.lanes} == set(LANES)
    assert replay(history).same, "the must-not-fire and the storms of this call, judged as live"
    html, console = page(call), Console(width=200, file=io.StringIO())
    console.print(view(call, 200))
    shown = console.file.getvalue()  # type: ignore[attr-defined]  # a StringIO
    for timed in call.trips:
        assert timed.trip.signature in html and timed.trip.signature in shown
    assert all(lane.name in html and lane.name in shown for lane in call.lanes)
    assert html.count("http") == 0, "self-contained"
    for text in (html, *(part.read_text() for part in history.parts)):
        assert not [word for word in ("Ada", "please", "o clock") if word in text], "no words"
