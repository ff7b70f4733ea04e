"""Two real workers, real job processes: one room and agent name is served once."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

import pytest
from livekit.protocol import agent

from tests.kit.workers import workers

pytestmark = [pytest.mark.chain]

RUNNING = agent.JobStatus.JS_RUNNING
SUCCESS = agent.JobStatus.JS_SUCCESS
FAILED = agent.JobStatus.JS_FAILED


async def test_without_us_two_jobs_of_one_room_both_run(tmp_path: Path) -> None:
    async with workers(tmp_path, instrument="no") as here:
        for worker in here.ids:
            made = await here.dispatcher.dispatch(worker, here.dispatcher.job("room-a"))
            assert made.available
        assert len(await here.entered(2)) == 2


async def test_a_room_is_served_once_whoever_is_asked_and_whatever_dies(tmp_path: Path) -> None:
    """Nobody but the holder while it lives, the next one when it was killed, others untouched."""
    async with workers(tmp_path) as here:
        server, (one, two) = here.dispatcher, here.ids

        first = await server.dispatch(one, server.job("room-a"))
        (entered,) = await here.entered(1)
        assert (entered["job"], entered["token"] > 0) == (first.job.id, True)

        duplicate = await server.dispatch(two, server.job("room-a"))
        assert duplicate.seconds < 2  # a server waits about three
        assert await here.stood_by_in_vain(duplicate)
        assert "it was seen to renew its claim" in here.log()

        other_name = await server.dispatch(two, server.job("room-a", agent_name="translator"))
        other_room = await server.dispatch(two, server.job("room-b"))
        assert other_name.available and other_room.available
        await here.entered(3)

        # The same job comes back on the other worker, as after a migration: it re-enters at once.
        again = await server.dispatch(two, server.job("room-a", job_id=first.job.id), resuming=True)
        assert again.available
        same = (await here.entered(4))[3]
        assert same["job"] == first.job.id
        assert same["token"] > entered["token"]  # a hand-off: the older instance is fenced off
        assert await server.wait_ended(first.job.id) == SUCCESS  # and has ended:
        (left,) = here.steps("left")
        assert left == {
            **left,
            "pid": entered["pid"],
            "reason": "runguard: claim lost (handed_off)",
        }

        # The holder's job process is killed; its worker releases the claim at once.
        os.kill(same["pid"], signal.SIGKILL)
        failed = [m.body.status for m in server.messages if m.kind == "update_job"]
        await server.wait(
            lambda: (
                FAILED
                in [
                    m.body.status
                    for m in server.messages
                    if m.kind == "update_job" and m.body.job_id == first.job.id
                ]
            )
        )
        assert FAILED not in failed
        heir = await server.dispatch(one, server.job("room-a"))
        assert heir.available
        taken = (await here.entered(5))[4]
        assert (taken["job"], taken["token"] > same["token"]) == (heir.job.id, True)

        # No job of ours ever tried to connect before it had its claim, and none lingers.
        here.finish()
        for job in (other_name, other_room, heir):
            assert await server.wait_ended(job.job.id) == SUCCESS
        assert len(here.steps()) == 5


async def test_a_released_room_is_free_at_once(tmp_path: Path) -> None:
    async with workers(tmp_path, count=1) as here:
        server, (one,) = here.dispatcher, here.ids
        first = await server.dispatch(one, server.job("room-a"))
        await here.entered(1)
        here.finish()
        assert await server.wait_ended(first.job.id) == SUCCESS
        (tmp_path / "stop").unlink()
        second = await server.dispatch(one, server.job("room-a"))
        assert second.available
        await here.entered(2)


@pytest.mark.parametrize(
    "environment",
    [{"RG_MP": "forkserver"}, {"RG_MP": "spawn"}, {"RG_EXECUTOR": "thread"}],
    ids=["forkserver", "spawn", "thread"],
)
async def test_instrument_under_main_reaches_the_jobs(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    """The job's own claim proves it: it has a token only if the job process is instrumented."""
    async with workers(tmp_path, 1, instrument="main", **environment) as here:
        server, (one,) = here.dispatcher, here.ids
        await server.dispatch(one, server.job("room-a"))
        (entered,) = await here.entered(1)
        assert entered["token"] > 0
        assert await here.stood_by_in_vain(await server.dispatch(one, server.job("room-a")))


async def test_the_worker_accepts_and_the_job_finds_out(tmp_path: Path) -> None:
    """A holder that was only paused keeps its room; one that died with its worker loses it.

    Then the job that stands by enters by itself, within a second of the lease's end.
    """
    async with workers(
        tmp_path, RUNGUARD_CLAIMS_TTL_SECONDS="6", RUNGUARD_CLAIMS_HEARTBEAT_SECONDS="2"
    ) as here:
        server, (one, two) = here.dispatcher, here.ids
        first = await server.dispatch(one, server.job("room-a"))
        (entered,) = await here.entered(1)

        os.kill(entered["pid"], signal.SIGSTOP)  # a renewal is missed: the lease looks stale
        second = await server.dispatch(two, server.job("room-a"))
        os.kill(entered["pid"], signal.SIGCONT)
        assert await here.stood_by_in_vain(second)
        assert [step["job"] for step in here.steps()] == [first.job.id]
        assert server.status(first.job.id) == RUNNING
        assert not [m for m in server.messages if m.kind == "http" and "/rtc" in m.body]

        here.process_of(one).kill()  # nobody is left to release the claim
        with contextlib.suppress(ProcessLookupError):
            os.kill(entered["pid"], signal.SIGKILL)
        heir = await server.dispatch(two, server.job("room-a"))
        taken = (await here.entered(2))[1]
        assert taken["job"] == heir.job.id
        assert taken["token"] > entered["token"]
