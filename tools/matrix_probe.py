"""What the guards find in the installed livekit-agents, as JSON; run once per host version.

Patches: what became of each. Misfires: the table of ``tests/livekit/test_speech_paths.py``: what
the language model is asked by each path, without us and with us.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


def patches() -> list[dict[str, str]]:
    """Guard, name and state of every patch."""
    import runguard_otel

    try:
        reports = runguard_otel.instrument().patches
        return [{"guard": str(r.guard), "name": r.name, "state": r.state} for r in reports]
    finally:
        runguard_otel.uninstrument()


async def misfires() -> list[dict[str, Any]]:
    """What each path costs, before and after."""
    from tests.kit.speech import Guarded, call
    from tests.livekit.test_speech_paths import ROWS

    async def asked(row: Any) -> list[str]:
        async with call(turn_detection=row.mode) as running:
            await row.storm(running)
            return list(running.asked)

    found = []
    for row in ROWS:
        before = await asked(row)
        with Guarded():
            after = await asked(row)
        found.append(
            {"path": row.storm.__name__, "mode": row.mode, "before": before, "after": after}
        )
    return found


def notes() -> dict[str, str]:
    """What a guard does differently here, although all its hooks are there."""
    from tests.kit.host import REJECTS_FOR_GOOD
    from tests.kit.speech import HAS_PREFLIGHT

    found = {}
    if not REJECTS_FOR_GOOD:
        found["job_dispatch"] = "a refused job is offered to the other workers, which refuse too"
    if not HAS_PREFLIGHT:
        found["vad_misfire"] = "no preemptive answers to stop"
    return found


def main() -> None:
    """Print it."""
    from livekit import agents

    logging.disable(logging.CRITICAL)
    report = {
        "version": agents.__version__,
        "patches": patches(),
        "notes": notes(),
        "misfires": asyncio.run(misfires()),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
