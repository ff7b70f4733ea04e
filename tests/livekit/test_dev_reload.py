"""``dev`` up to 1.4, which starts the worker in a process of its own and again at each change."""

from __future__ import annotations

import importlib
import shutil
import sys
from pathlib import Path

import pytest

from runguard_otel.testing.dispatcher import Dispatcher
from tests.kit.executors import AGENT, GUARDS, running

pytestmark = [pytest.mark.livekit]

reloads = pytest.mark.skipif(
    not hasattr(importlib.import_module("livekit.agents.cli.watcher"), "WatchServer"),
    reason="since 1.6 `lk agent dev` starts workers, see tests/chain/test_dispatch_reload.py",
)


@reloads
async def test_the_worker_is_guarded_after_each_change_and_keeps_its_room(tmp_path: Path) -> None:
    """Although ``instrument()`` stands under ``__main__``, which that process never is."""
    agent = tmp_path / "agent" / "agent.py"
    agent.parent.mkdir()
    shutil.copy(AGENT, agent)
    async with (
        Dispatcher() as server,
        running(
            tmp_path,
            sys.executable,
            str(agent),
            "dev",
            **server.environment,
            RG_INSTRUMENT="main",
            RG_DO="stay",
        ) as run,
    ):
        (worker,) = await server.wait_workers(1)
        assert (await server.dispatch(worker, server.job("room-a"))).available
        before = await run.step("job")
        assert before["guards"] == GUARDS
        agent.write_text(f"{agent.read_text(encoding='utf-8')}\n# changed\n", encoding="utf-8")
        after = await run.step("job", 2)
        assert after["guards"] == GUARDS
        assert after["token"] > before["token"] > 0
        (again,) = await server.wait(lambda: [w for w in server.workers if w != worker])
        duplicate = await server.dispatch(again, server.job("room-a"))
        await server.wait_ended(duplicate.job.id)
        assert len(run.steps("job")) == 2  # it stood by until its holder was seen to be alive
