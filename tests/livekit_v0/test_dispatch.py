"""Two real 0.12 workers and their real job processes: one room is served once."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.kit import workers as crews
from tests.kit.v0_models import HAS_V0
from tests.kit.workers import workers

pytestmark = [
    pytest.mark.livekit,
    pytest.mark.skipif(not HAS_V0, reason="needs livekit-agents 0.12, see docs/livekit-0.12.md"),
]


@pytest.fixture(autouse=True)
def agent_of_0_12(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crews, "AGENT", Path(crews.__file__).with_name("v0_dispatch_agent.py"))


async def test_without_us_two_jobs_of_one_room_both_run(tmp_path: Path) -> None:
    async with workers(tmp_path, instrument="no") as here:
        for worker in here.ids:
            made = await here.dispatcher.dispatch(worker, here.dispatcher.job("room-a"))
            assert made.available
        assert len(await here.entered(2)) == 2


@pytest.mark.parametrize("instrument", ["module", "main"])
async def test_a_room_is_served_once_and_again_after_its_job_was_killed(
    tmp_path: Path, instrument: str
) -> None:
    """Nobody is let in while the holder lives: the duplicate stands by, and ends without a call.

    Under ``main`` the job processes are reached by the pickled entrypoint only: 0.12 spawns them.
    """
    async with workers(tmp_path, instrument=instrument) as here:
        server, (one, two) = here.dispatcher, here.ids
        first = await server.dispatch(one, server.job("room-a"))
        (entered,) = await here.entered(1)
        assert (entered["job"], entered["token"] > 0) == (first.job.id, True)

        assert await here.stood_by_in_vain(await server.dispatch(two, server.job("room-a")))
        elsewhere = await server.dispatch(two, server.job("room-b"))
        assert elsewhere.available
        await here.entered(2)

        os.kill(entered["pid"], signal.SIGKILL)
        assert (await server.dispatch(two, server.job("room-a"))).available
        last = (await here.entered(3))[2]
        assert last["token"] > entered["token"]
