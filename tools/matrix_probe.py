"""What the guards find in the installed livekit-agents, as JSON; run once per host version.

Patches: what became of each. Misfires: what the language model is asked in each call of the misfire
tables in ``tests``, before ``instrument()`` and after it. Private names: those we use and it has.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tools import private_names

Call = Callable[[], Awaitable[list[str]]]


def patches() -> list[dict[str, str]]:
    """Guard, name and state of every patch."""
    import runguard_otel

    try:
        reports = runguard_otel.instrument().patches
        return [{"guard": str(r.guard), "name": r.name, "state": r.state} for r in reports]
    finally:
        runguard_otel.uninstrument()


async def misfires(rows: list[tuple[str, str, Call]]) -> list[dict[str, Any]]:
    """What each call costs, before and after."""
    import runguard_otel

    found = []
    for path, mode, call in rows:
        before = await call()
        runguard_otel.instrument(claims_url="memory://")
        try:
            after = await call()
        finally:
            runguard_otel.uninstrument()
        found.append({"path": path, "mode": mode, "before": before, "after": after})
    return found


def sessions() -> tuple[list[tuple[str, str, Call]], dict[str, str]]:
    """1.x: the calls, and what a guard does differently although all its hooks are there."""
    from runguard_otel.testing.calls import call as begin
    from tests.kit import speech
    from tests.livekit import test_speech_paths as paths
    from tests.livekit import test_speech_table as table

    def whole(row: paths.Row) -> Call:
        async def call() -> list[str]:
            async with begin(turn_detection=row.mode) as running:
                await row.storm(running)
                return list(running.asked)

        return call

    rows = [(row.storm.__name__, row.mode, whole(row)) for row in paths.ROWS]
    rows += [(scene.storm.__name__, scene.mode, scene.storm) for scene in table.SCENES]
    early = {} if speech.HAS_PREFLIGHT else {"vad_misfire": "no preemptive answers to stop"}
    return rows, early


def agents() -> tuple[list[tuple[str, str, Call]], dict[str, str]]:
    """The same for 0.12."""
    from tests.livekit_v0 import test_misfire_table as table

    rows = [(scene.storm.__name__, scene.mode, scene.storm) for scene in table.SCENES]
    return rows, {
        "vad_misfire": "a `MultimodalAgent` is observed, see [0.12](livekit-0.12.md)",
        "track_subscribe": "a `MultimodalAgent` keeps its one session anyway",
    }


def dispatch_notes() -> dict[str, str]:
    """What the job guard does differently here."""
    from tests.kit.host import ENDS_FAILED_JOBS, REJECTS_FOR_GOOD

    told = []
    if not REJECTS_FOR_GOOD:
        told.append("a refused job is offered to the other workers, which refuse too")
    if not ENDS_FAILED_JOBS:
        told.append("a job that fails does not end, but gives its claim back")
    return {"job_dispatch": "; ".join(told)} if told else {}


def defects() -> list[str]:
    """What the release itself does wrong, which our tests step around."""
    from tests.kit.host import ENDS_FAILED_JOBS, MAY_HANG_AT_ITS_END

    found = []
    if not ENDS_FAILED_JOBS:
        found.append("a job whose entrypoint raises never ends")
    if MAY_HANG_AT_ITS_END:
        found.append("a worker with the thread executor may hang when it closes")
    return found


def main() -> None:
    """Write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    file = parser.parse_args().file
    os.environ["OTEL_METRICS_EXPORTER"] = os.environ["OTEL_TRACES_EXPORTER"] = "none"
    from livekit import agents as host

    logging.disable(logging.CRITICAL)
    rows, notes = sessions() if hasattr(host, "AgentSession") else agents()
    report = {
        "version": host.__version__,
        "patches": patches(),
        "notes": notes | dispatch_notes(),
        "defects": defects(),
        "private": private_names.present(private_names.names()),
        "misfires": asyncio.run(misfires(rows)),
    }
    file.write_text(json.dumps(report, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
