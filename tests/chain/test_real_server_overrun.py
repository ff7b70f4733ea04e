"""Agents that nobody talks to any more, on a real LiveKit server: seen, priced and ended."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

import pytest
from livekit import api, rtc

from tests.kit.callers import NOBODY, Caller, Side, dispatch, side
from tests.kit.livekit_server import (
    needs_server,
    new_room,
    participants,
    server_api,
    token,
    until,
    url,
)
from tests.kit.ports import free_port
from tests.kit.scrape import scrape, total
from tests.kit.workers import runs

pytestmark = [pytest.mark.chain, needs_server]

LONE = Path(__file__).parents[1] / "kit" / "lone_caller.py"
UNMET, LEFT, PRICE = 8.0, 4.0, 0.5
SILENT, CLOSE = 6.0, 5.0
DRAINED = 20
GONE_WITHIN = 10.0
TOLD_WITHIN = 40.0
"""A server says that a caller's process is gone when it has not heard of it for 20 s."""
PRICES = f"""
[[price]]
component = "stt"
provider = "unknown"
model = "unknown"
rates = {{ open_seconds = "{PRICE}" }}
source = "this test"
date = 2026-11-28
"""


async def nobody_comes(here: Side, client: api.LiveKitAPI, room: str) -> str:
    """A dispatch without a caller; alone from when the agent has connected."""
    await dispatch(client, here.name, room)
    return "serving"


async def she_hangs_up(here: Side, client: api.LiveKitAPI, room: str) -> str:
    """A call that ends as calls do, and an agent that stays."""
    caller = Caller(room)
    await caller.join(microphone=True)
    at = await dispatch(client, here.name, room)
    await here.reaches(room, at, 30)
    await caller.leave()
    return "alone"


async def her_process_is_killed(here: Side, client: api.LiveKitAPI, room: str) -> str:
    """No goodbye: the server has to miss her, and LiveKit closes no session for that."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(LONE),
        url(),
        token(room, "caller"),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    await process.stdout.readline()
    at = await dispatch(client, here.name, room)
    await here.reaches(room, at, 30)
    process.kill()
    await process.wait()
    return "alone"


async def test_an_agent_alone_is_seen_priced_and_ended(tmp_path: Path) -> None:
    """Three calls at once; fails if an agent waits for a room or a session to end by itself."""
    port = free_port()
    (tmp_path / "prices.toml").write_text(PRICES, encoding="utf-8")
    calls = {new_room(): call for call in (nobody_comes, she_hangs_up, her_process_is_killed)}
    async with (
        side(
            tmp_path,
            "module",
            RUNGUARD_METRICS_PORT=str(port),
            RUNGUARD_PRICES=str(tmp_path / "prices.toml"),
            RUNGUARD_SESSION_OVERRUN_MODE="enforce",
            RUNGUARD_SESSION_OVERRUN_UNMET_SECONDS=f"{UNMET:g}",
            RUNGUARD_SESSION_OVERRUN_LEFT_SECONDS=f"{LEFT:g}",
        ) as here,
        server_api() as client,
    ):
        begun = await asyncio.gather(*(call(here, client, room) for room, call in calls.items()))
        await asyncio.gather(
            *(
                is_ended(here, client, room, beginning)
                for room, beginning in zip(calls, begun, strict=True)
            )
        )
        while total(samples := await scrape(port), "runguard_jobs_ended_total") < len(calls):
            await asyncio.sleep(0.2)
        assert await here.crew.holders() == []
    assert total(samples, "runguard_jobs_ended_total", job_outcome="alone") == len(calls)
    open_now = ("runguard_jobs", "runguard_jobs_alone", "runguard_stt_streams")
    assert [total(samples, name) for name in open_now] == [0, 0, 0]
    listened = [step["seconds"] for step in here.crew.steps("listened")]
    priced = total(samples, "runguard_cost_estimated_total", component="stt") / PRICE
    assert len(listened) == len(calls)
    assert abs(priced - sum(listened)) <= len(calls)  # a second each


async def is_ended(here: Side, client: api.LiveKitAPI, room: str, beginning: str) -> None:
    """The trip comes at its threshold, and ten seconds later nothing is left."""
    await until(lambda: bool(here.steps(room, "trip")), TOLD_WITHIN, f"{room} trips")
    (trip,), began = here.steps(room, "trip"), here.steps(room, beginning)[-1]
    limit = UNMET if beginning == "serving" else LEFT
    assert trip["signature"] == "session_overrun:agent_alone"
    assert abs(trip["at"] - began["at"] - limit) <= 1

    async def gone() -> bool:
        people = await participants(client, room)
        return not runs(began["pid"]) and not [p for p in people if p.identity.startswith("agent")]

    await until(gone, GONE_WITHIN - (time.time() - trip["at"]), f"the agent of {room} is gone")


async def test_dialling_and_a_transfer_take_their_time(tmp_path: Path) -> None:
    """A callee who picks up before the limit, and a colleague who takes over before it.

    Fails if a caller of before, or the time before she came, is counted against the next one.
    """
    room = new_room()
    async with (
        side(
            tmp_path,
            "module",
            RUNGUARD_SESSION_OVERRUN_MODE="enforce",
            RUNGUARD_SESSION_OVERRUN_UNMET_SECONDS=f"{UNMET:g}",
            RUNGUARD_SESSION_OVERRUN_LEFT_SECONDS=f"{UNMET:g}",
        ) as here,
        server_api() as client,
    ):
        at = await dispatch(client, here.name, room)
        await here.reaches(room, at, 30)
        await asyncio.sleep(UNMET / 2)
        callee, colleague = Caller(room, "callee"), Caller(room, "colleague")
        await callee.join(microphone=False)
        await asyncio.sleep(UNMET)
        await callee.leave()
        await asyncio.sleep(UNMET / 2)
        await colleague.join(microphone=True)
        await asyncio.sleep(UNMET)
        assert here.steps(room, "trip") == []
        assert runs(here.steps(room, "serving")[0]["pid"])
        await colleague.leave()


async def a_hold(here: Side, client: api.LiveKitAPI, room: str) -> None:
    """A caller who mutes herself, comes back and is heard."""
    caller = await on_the_line(here, client, room)
    caller.hold(True)
    await asyncio.sleep(2 * SILENT)
    caller.hold(False)
    await caller.sound()
    await here.reaches(room, caller.sounds[-1], SILENT, ("answered",))
    assert here.steps(room, "trip") == []
    await caller.leave()


async def by_design(here: Side, client: api.LiveKitAPI, room: str) -> None:
    """An agent that would answer nobody, and a caller whose open microphone hears nothing."""
    caller = await on_the_line(here, client, room)
    await asyncio.sleep(2 * SILENT)
    assert here.steps(room, "trip") == []
    await caller.leave()


async def an_avatar(here: Side, client: api.LiveKitAPI, room: str) -> None:
    """It speaks for the agent while the caller talks; when she has left it is no company."""
    avatar = rtc.Room()
    await avatar.connect(url(), token(room, "avatar", on_behalf_of="agent"))
    caller = await on_the_line(here, client, room)
    for _ in range(4):
        await caller.sound()
        await asyncio.sleep(SILENT / 2)
    assert here.steps(room, "trip") == []
    await caller.leave()
    await until(lambda: bool(here.steps(room, "trip")), LEFT + 5, "alone with the avatar")
    assert here.steps(room, "trip")[0]["signature"] == "session_overrun:agent_alone"
    await avatar.disconnect()


async def says_nothing(here: Side, client: api.LiveKitAPI, room: str) -> None:
    """What the others are told from: a caller who could be heard and would be answered."""
    caller = await on_the_line(here, client, room)
    await until(lambda: bool(here.steps(room, "trip")), 2 * SILENT, "silence trips")
    (trip,), greeted = here.steps(room, "trip"), here.steps(room, "greeted")[0]
    assert trip["signature"] == "session_overrun:silent_caller"
    assert trip["at"] - greeted["at"] <= SILENT + 1
    await caller.leave()


async def on_the_line(
    here: Side, client: api.LiveKitAPI, room: str, *, microphone: bool = True
) -> Caller:
    """A caller with an open microphone, or with none, and the agent of her room."""
    caller = Caller(room, "caller")
    await caller.join(microphone=microphone)
    at = await dispatch(client, here.name, room)
    assert await here.reaches(room, at, 30) < NOBODY
    return caller


async def test_a_hold_a_scribe_a_recorder_and_an_avatar_are_silent_by_design(
    tmp_path: Path,
) -> None:
    """Fails if a muted microphone, or an agent that would not answer, is taken for silence."""
    calls = {"hold": a_hold, "scribe": by_design, "recorder": by_design}
    calls |= {"avatar": an_avatar, "control": says_nothing}
    async with (
        side(
            tmp_path,
            "module",
            RUNGUARD_SESSION_OVERRUN_MODE="enforce",
            RUNGUARD_SESSION_OVERRUN_SILENT_SECONDS=f"{SILENT:g}",
            RUNGUARD_SESSION_OVERRUN_LEFT_SECONDS=f"{LEFT:g}",
        ) as here,
        server_api() as client,
    ):
        await asyncio.gather(*(call(here, client, new_room(kind)) for kind, call in calls.items()))


async def test_a_drain_of_twenty_jobs_ends_none_of_them(tmp_path: Path) -> None:
    """A worker is told to stop and lets its calls talk on for longer than an end may take.

    Fails if a drain counts as the end of its jobs, or a job that its callers end as one that hung.
    """
    rooms = [new_room("drain") for _ in range(DRAINED)]
    port = free_port()
    async with (
        side(
            tmp_path,
            "module",
            RG_DRAIN="60",
            RUNGUARD_METRICS_PORT=str(port),
            RUNGUARD_SESSION_OVERRUN_MODE="enforce",
            RUNGUARD_SESSION_OVERRUN_CLOSE_SECONDS=f"{CLOSE:g}",
            RUNGUARD_SESSION_OVERRUN_LEFT_SECONDS="60",
        ) as here,
        server_api() as client,
    ):
        callers = [await on_the_line(here, client, room, microphone=False) for room in rooms]
        (worker,) = here.crew.processes
        worker.terminate()
        await asyncio.sleep(2 * CLOSE)
        pids = [here.steps(room, "serving")[0]["pid"] for room in rooms]
        assert all(map(runs, pids)) and worker.returncode is None
        *others, last = callers  # the worker goes with its last job
        for caller in others:
            await caller.leave()
        while len(others) > total(samples := await scrape(port), "runguard_jobs_ended_total"):
            await asyncio.sleep(0.1)
        assert total(samples, "runguard_jobs_ended_total", job_outcome="clean") == len(others)
        await last.leave()
        assert [step for room in rooms for step in here.steps(room, "trip")] == []
        assert await worker.wait() == 0
