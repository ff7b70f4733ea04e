"""What ``facts/job.py`` says of jobs and workers, asked of those of the installed release."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from livekit import agents, rtc
from livekit.agents.ipc.job_thread_executor import ThreadJobExecutor
from livekit.protocol import agent, models

from runguard_otel.adapters.livekit.facts import job as facts
from runguard_otel.testing.ffi import StageServer
from runguard_otel.testing.jobs import job_context, job_info, job_on_stage
from runguard_otel.testing.stage import ROOM, Stage
from tests.kit.facts import running_job_proc, since
from tests.kit.host import console_mode, make_server

pytestmark = pytest.mark.livekit


@pytest.fixture
def stage() -> Iterator[StageServer]:
    with Stage() as server:
        yield server


async def test_who_is_asked_inside_a_job_and_outside_of_one(stage: StageServer) -> None:
    """Fails for a ``current_job`` that raises outside of a job, as LiveKit's own does up to 1.3."""
    assert facts.current_job() is None
    assert (facts.agent_name(), facts.session_key(), facts.id_in(None)) == ("", "", "")
    async with job_on_stage(stage, agent_name="waiter") as ctx:
        assert facts.current_job() is ctx
        assert (facts.agent_name(), facts.session_key(), facts.id_in(ctx)) == (
            "waiter",
            "AJ_1",
            "AJ_1",
        )
        assert facts.url_of(ctx) == "wss://stage"
        assert facts.url_of(object()) == ""


async def test_a_room_is_deleted_by_its_name(
    stage: StageServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LIVEKIT_URL", "LIVEKIT_API_KEY", "LIVEKIT_API_SECRET"):
        monkeypatch.setenv(name, "wss://stage" if name.endswith("URL") else "x" * 32)
    asked: list[Any] = []

    async def delete(request: Any) -> None:
        asked.append(request)

    async with job_on_stage(stage) as ctx:
        monkeypatch.setattr(ctx.api.room, "delete_room", delete)
        await facts.room_deletion(ctx, "the other room")
        await ctx.api.aclose()
    assert [request.room for request in asked] == ["the other room"]


@pytest.mark.parametrize(
    ("how", "cause", "failed"),
    [("shutdown", "asked", False), ("drop", "room_gone", False), ("raise", "asked", True)],
)
async def test_how_a_job_ends_is_told_by_its_runner(
    how: str, cause: str, failed: bool, stage: StageServer
) -> None:
    """Fails for another name of the future, another reason, or a crash that looks like an end."""
    entered, left = asyncio.Event(), list[str]()

    async def entrypoint(ctx: Any) -> None:
        await ctx.connect()
        entered.set()
        if how == "raise":
            raise RuntimeError("on purpose")
        await asyncio.Event().wait()

    async with running_job_proc(stage, entrypoint) as runner:
        assert facts.job_id(runner) == "AJ_1"
        facts.when_asked_to_end(runner, left.append)
        await entered.wait()
        ctx = facts.context_of(runner)
        assert ctx is not None and facts.id_in(ctx) == "AJ_1"
        assert not facts.crashed(runner)
        if how == "shutdown":
            ctx.shutdown(reason="enough")
        elif how == "drop":
            stage.drop(ROOM)
        ends = how != "raise" or since(1, 4)
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(_gone(left), 5 if ends else 0.1)
        assert left == ([cause] if ends else []), "up to 1.3 a job that failed does not end"
        assert facts.crashed(runner) == (failed and since(1, 4))


async def _gone(left: list[str]) -> None:
    while not left:
        await asyncio.sleep(0.005)


def test_a_runner_without_a_job_has_none() -> None:
    idle = SimpleNamespace()
    assert (facts.job_id(idle), facts.context_of(idle), facts.crashed(idle)) == ("", None, False)
    facts.when_asked_to_end(idle, lambda _: None)


def test_a_session_is_a_class_since_1_0() -> None:
    assert facts.session_type() is getattr(agents, "AgentSession", None)
    assert (facts.session_type() is not None) == since(1, 0)


async def test_what_a_worker_was_told() -> None:
    thread = make_server(agents.JobExecutorType.THREAD)
    process = make_server(agents.JobExecutorType.PROCESS)
    assert [facts.uses_processes(server) for server in (thread, process)] == [False, True]
    assert facts.server_agent_name(process) == ""
    if since(1, 3):

        async def entrypoint(_: Any) -> None: ...

        process.rtc_session(entrypoint, agent_name="waiter")
    else:
        process._opts.agent_name = "waiter"
    assert facts.server_agent_name(process) == "waiter"


async def test_whether_a_worker_runs_under_dev() -> None:
    server = make_server(agents.JobExecutorType.THREAD)
    for told in (False, True):
        if since(1, 3):
            assert facts.in_development(server, {"devmode": told}) == told
        else:
            server._devmode = told
            assert facts.in_development(server, {}) == told


async def test_a_forkserver_is_given_a_module_once_where_the_host_offers_it() -> None:
    server = make_server(agents.JobExecutorType.PROCESS)
    offered = hasattr(server, "_preload_modules")
    for _ in range(2):
        facts.preload(server, "colorsys")
    assert getattr(server, "_preload_modules", []) == (["colorsys"] if offered else [])


def test_what_reloads_a_worker_is_found_by_hand_only(monkeypatch: pytest.MonkeyPatch) -> None:
    found = facts.watch_server()
    assert getattr(found, "__name__", "") == ("" if since(1, 6) else "WatchServer")
    monkeypatch.setattr(multiprocessing.current_process(), "name", "job_proc")
    assert facts.watch_server() is None, "a job process is spared the import"


def test_livekits_spans_go_where_they_are_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    facts.export_spans_to(None)
    provider = object()
    if not since(1, 2):
        facts.export_spans_to(provider)
        return
    heard: list[object] = []
    telemetry = importlib.import_module("livekit.agents.telemetry")
    monkeypatch.setattr(telemetry, "set_tracer_provider", heard.append)
    facts.export_spans_to(provider)
    assert heard == [provider]


def test_the_console_is_known_without_making_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails for one that asks for the instance: it would open audio devices."""
    importlib.import_module("livekit.agents.cli")
    assert not facts.in_console()
    if since(1, 0):  # 0.12 has no console
        console_mode(monkeypatch)
        assert facts.in_console()


async def test_a_fake_job_is_told_from_a_real_one(
    stage: StageServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not facts.is_fake_job(None)
    async with job_on_stage(stage) as ctx:
        assert not facts.is_fake_job(ctx)
        if not since(1, 0):
            return  # 0.12 has none
        if since(1, 3):
            ctx._info.fake_job = True
        else:
            console_mode(monkeypatch)
        assert facts.is_fake_job(ctx)


def test_what_identifies_a_job() -> None:
    job = agent.Job(
        id="AJ_1",
        type=agent.JobType.JT_PUBLISHER,
        agent_name="waiter",
        metadata="m",
        namespace="n",
        room=models.Room(name=ROOM, sid="RM_1"),
        participant=models.ParticipantInfo(identity="alice", sid="PA_1"),
    )
    found = facts.job_facts(job, "wss://here")
    assert (found.host, found.room, found.room_sid) == ("wss://here", ROOM, "RM_1")
    assert (found.job_id, found.job_type, found.agent_name) == ("AJ_1", "JT_PUBLISHER", "waiter")
    assert (found.participant, found.participant_sid) == ("alice", "PA_1")
    assert (found.namespace, found.metadata) == ("n", "m")


async def test_a_worker_knows_the_executor_of_each_job(stage: StageServer) -> None:
    server = make_server(agents.JobExecutorType.THREAD)
    assert facts.api_of(server) is None, "a worker that does not run has none"
    executor = object.__new__(ThreadJobExecutor)
    executor._running_job = job_info(stage, ROOM)
    pool: Any = getattr(server, "_proc_pool", None)
    if pool is None:  # made when it runs
        pool = server._proc_pool = SimpleNamespace(processes=[])
    pool.processes.append(executor)
    assert facts.executor_of(server, "AJ_1") is executor
    assert facts.executor_of(server, "AJ_2") is None
    assert facts.executor_of(server, "AJ_1", other_than=executor) is None
    assert facts.is_alive(executor), "a thread lives with its worker"


def test_a_process_lives_until_it_dies_collected_or_not() -> None:
    """Fails for a look at the pid alone: a zombie still has one."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    executor = SimpleNamespace(pid=child.pid)
    assert facts.is_alive(executor)
    os.kill(child.pid, signal.SIGKILL)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert not facts.is_alive(executor), "dead, not yet collected"
    child.wait()
    assert not facts.is_alive(executor)


async def test_a_job_without_an_activity_speaks_for_no_session(stage: StageServer) -> None:
    """What speaks for one is asked in ``test_facts_turn.py``."""
    assert not facts.in_activity()
    assert not facts.in_session()
    assert facts.session_context(object()) is None
    ctx = job_context(job_info(stage, ROOM), rtc.Room())
    assert facts.id_in(ctx) == "AJ_1"
