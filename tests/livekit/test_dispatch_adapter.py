"""Requests and jobs under claims: accepted, refused, taken over, released."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest
from livekit.agents.ipc.job_executor import JobStatus
from livekit.protocol import agent

from runguard_otel.adapters.livekit.dispatch import worker as worker_side
from runguard_otel.adapters.livekit.facts.job import job_facts
from runguard_otel.adapters.livekit.services import name_of_this_process
from runguard_otel.claims.key import claim_key
from runguard_otel.claims.registries.memory import MemoryRegistry, MemoryStore
from runguard_otel.claims.registry import Holder
from runguard_otel.core.verdict import Mode
from runguard_otel.testing.jobs import job_proc
from tests.kit.claimed_jobs import QUICK, Context, Process, job, run_job, until
from tests.kit.host import SERVER

pytest_plugins = ["tests.kit.claimed_fixtures"]
pytestmark = [pytest.mark.livekit, pytest.mark.usefixtures("livekit_url")]


async def test_the_first_job_is_accepted_and_claimed_for(
    process: Process, store: MemoryStore
) -> None:
    await process.request(job("AJ_1")).accept()
    assert process.answers == ["accepted"]
    assert process.recorder.signatures() == [("job_claim:acquired", "allowed")]
    assert [lease.who.job_id for lease in store.leases.values()] == ["AJ_1"]


async def test_a_duplicate_of_another_workers_job_is_accepted_and_left_to_its_process(
    rival: Context, process: Process
) -> None:
    """What the registry knows of a holder is old: it may be the room's last caller who left."""
    await process.request(job("AJ_2")).accept()
    assert process.answers == ["accepted"]
    assert process.recorder.signatures() == []
    assert process.recorder.trips == []


async def test_a_holder_is_named_so_that_its_process_can_be_found(
    process: Process, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At three in the morning. Mutant: a random name."""
    monkeypatch.setattr("socket.gethostname", lambda: "agents-7.example")
    process.services.worker = name_of_this_process()
    await process.request(job("AJ_1")).accept()
    (lease,) = store.leases.values()
    assert lease.who.worker.startswith(f"agents-7.example-{os.getpid()}-")
    assert lease.who.worker != name_of_this_process()


async def test_another_agent_name_is_none_of_our_business(rival: Context, process: Process) -> None:
    await process.request(job("AJ_2", agent_name="translator")).accept()
    assert process.answers == ["accepted"]


async def test_a_room_opened_anew_under_its_old_name_is_another_room(
    rival: Context, process: Process
) -> None:
    """Its last job may wind down for minutes: must not keep the next call without an agent."""
    await process.request(job("AJ_2", room_sid="RM_2")).accept()
    assert process.answers == ["accepted"]


@pytest.mark.parametrize("error", [RuntimeError("no process"), asyncio.CancelledError()])
async def test_an_accept_that_fails_releases_and_passes_the_error_unchanged(
    process: Process, store: MemoryStore, error: BaseException
) -> None:
    with pytest.raises(type(error)) as caught:
        await process.request(job("AJ_1"), fails=error).accept()
    if isinstance(error, RuntimeError):
        assert caught.value is error
    for _ in range(10):
        await asyncio.sleep(0)
    assert [lease.held for lease in store.leases.values()] == [False]


async def test_an_unreachable_registry_accepts_and_says_so(process: Process) -> None:
    process.down = True
    await process.request(job("AJ_1")).accept()
    assert process.answers == ["accepted"]
    assert process.recorder.signatures() == [("job_claim:unverified", "allowed")]
    assert process.recorder.trips == []


async def test_fail_closed_rejects_but_lets_another_worker_try(store: MemoryStore) -> None:
    with Process(store, claims_unreachable="closed") as process:
        process.down = True
        await process.request(job("AJ_1")).accept()
        assert process.answers == ["rejected"]
        assert process.recorder.trips == []  # an outage is not a duplicate


async def test_an_error_of_ours_leaves_the_host_as_it_was(store: MemoryStore) -> None:
    with Process(store) as process:
        process.recorder.tolerant = True

        async def broken(*_: Any) -> Any:
            raise ValueError("a bug")

        process.services.claims.claim_for_worker = broken  # type: ignore[union-attr,method-assign]
        process.services.claims.claim_for_job = broken  # type: ignore[union-attr,method-assign]
        await process.request(job("AJ_1")).accept()
        assert process.answers == ["accepted"]
        assert await run_job(Context(job("AJ_1"))) == [0]
        assert [where for where, _ in process.recorder.errors] == [
            "JobRequest.accept",
            "_JobProc.entrypoint",
        ]


async def test_the_job_takes_over_its_workers_claim_and_releases_it(
    process: Process, store: MemoryStore
) -> None:
    await process.request(job("AJ_1")).accept()
    (before,) = store.leases.values()
    context = Context(job("AJ_1"))
    (token,) = await run_job(context)
    assert token > before.token
    assert process.recorder.signatures()[-1] == ("job_claim:handed_off", "allowed")
    await context.end()
    assert [lease.held for lease in store.leases.values()] == [False]
    assert process.recorder.signatures()[-1] == ("job_claim:released", "allowed")


async def test_a_healthy_job_loses_nothing_in_its_whole_life(store: MemoryStore) -> None:
    """``lost`` is read as a lost claim. Mutant: the worker gives back what its job has."""
    with Process(store, claims_ttl_seconds=2.0, claims_heartbeat_seconds=0.3) as process:
        await process.request(job("AJ_1")).accept()
        told, context = Told(store), Context(job("AJ_1"))
        await told.server._update_job_status(Died(JobStatus.RUNNING, job("AJ_1")))
        await run_job(context)
        await until(lambda: process.calls()["renew", "renewed"] >= 3)
        await context.end()
        await told.server._update_job_status(Died(JobStatus.SUCCESS, job("AJ_1")))
        renewed = process.calls()["renew", "renewed"]
    assert process.calls() == {
        ("acquire", "acquired"): 1,
        ("acquire", "handed_off"): 1,
        ("renew", "renewed"): renewed,
        ("release", "released"): 1,
    }
    claims = {
        dict(labels)["result"]: count
        for (name, labels), count in process.recorder.counts.items()
        if name == "runguard.job.claims"
    }
    assert claims == {"acquired": 1, "handed_off": 1, "renewed": renewed, "released": 1}


@pytest.mark.parametrize("connected", [False, True])
async def test_a_job_that_fails_before_it_is_in_its_room_keeps_nobody_out_of_it(
    connected: bool, process: Process, store: MemoryStore
) -> None:
    """Up to 1.3 such a job never ends; one that is in the room may still serve it."""

    async def entrypoint(ctx: Any) -> None:
        raise LookupError("a defect of the application")

    context = Context(job("AJ_1"))
    context.room = SimpleNamespace(isconnected=lambda: connected)  # type: ignore[attr-defined]
    guarded: Any = job_proc(entrypoint)._job_entrypoint_fnc
    with pytest.raises(LookupError, match="a defect of the application"):
        await asyncio.create_task(guarded(context))
    assert [lease.held for lease in store.leases.values()] == [connected]
    assert context.reasons == [], "whether it ends is up to the host"
    await context.end()
    assert [kind for kind, _ in process.recorder.signatures()] == [
        "job_claim:acquired",
        "job_claim:released",
    ]


async def test_observe_reports_the_same_and_keeps_nobody_waiting(
    rival: Context, store: MemoryStore
) -> None:
    with Process(store, mode=Mode.OBSERVE, **QUICK) as process:
        await process.request(job("AJ_2")).accept()
        context = Context(job("AJ_2"))
        assert await run_job(context) == [0]
        assert process.recorder.events == []  # it ran before the verdict on it, which comes later:
        await until(lambda: process.recorder.trips)
        assert process.recorder.signatures() == [("job_claim:refused", "observed")]
        assert process.recorder.trips[0].action == "none"
        assert (process.answers, context.reasons) == (["accepted"], [])
        await context.end()


async def test_proof_of_another_holder_ends_the_job_in_enforce_only(store: MemoryStore) -> None:
    for mode, reasons in (
        (Mode.ENFORCE, ["runguard: claim lost (superseded)"]),
        (Mode.OBSERVE, []),
    ):
        store.leases.clear()
        with Process(store, mode=mode, **QUICK) as process:
            context = Context(job("AJ_1"))
            await run_job(context)
            await until(lambda: process.recorder.signatures())
            store.leases.clear()  # the registry lost its data, and a rival was quicker
            await MemoryRegistry(store).acquire(
                claim_key(job_facts(job("AJ_1"), "ws://livekit.test")), Holder("AJ_2", "i", "w"), 60
            )
            await until(lambda: len(process.recorder.signatures()) > 1)
            assert process.recorder.signatures()[-1][0] == "job_claim:lost"
            assert context.reasons == reasons
            await context.end()


@pytest.mark.parametrize("status", [JobStatus.FAILED, JobStatus.SUCCESS])
async def test_the_server_hears_of_a_jobs_end_after_its_claim_is_free(
    status: JobStatus, process: Process, store: MemoryStore
) -> None:
    """It starts a failed job anew at once; a lease that is fresh would turn that one away."""
    await process.request(job("AJ_1")).accept()
    told = Told(store)
    await told.server._update_job_status(Died(JobStatus.RUNNING, job("AJ_1")))
    await told.server._update_job_status(Died(status, job("AJ_1")))
    assert told.held == [(JobStatus.RUNNING, True), (status, False)]


async def test_a_job_that_already_runs_in_another_process_keeps_its_claim(
    process: Process, store: MemoryStore
) -> None:
    await process.request(job("AJ_1")).accept()
    told = Told(store, Died(JobStatus.RUNNING, job("AJ_1")))
    await told.server._update_job_status(Died(JobStatus.FAILED, job("AJ_1")))
    assert told.held == [(JobStatus.FAILED, True)]


async def test_a_room_whose_job_was_killed_a_moment_ago_is_free_for_the_next_one(
    process: Process, store: MemoryStore
) -> None:
    """LiveKit may not know of the death yet. Mutant: leave it to the job to wait for that."""
    killed = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    executor = Died(JobStatus.RUNNING, job("AJ_1"), killed.pid)
    await process.request(job("AJ_1")).accept()
    await Told(store, executor).server._update_job_status(executor)
    await process.request(job("AJ_2")).accept()
    assert [lease.who.job_id for lease in store.leases.values()] == ["AJ_1"], "it lives"
    killed.kill()
    killed.wait()
    await process.request(job("AJ_3")).accept()
    assert [lease.who.job_id for lease in store.leases.values()] == ["AJ_3"]
    assert process.answers == ["accepted"] * 3


async def test_a_claim_that_cannot_be_given_back_delays_the_report_for_a_while_only(
    process: Process, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_side, "RELEASE_SECONDS", 0.05)

    async def never(_: Any) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(process.services.claims, "abandon", never)
    told = Told(store)
    report = told.server._update_job_status(Died(JobStatus.FAILED, job("AJ_1")))
    await asyncio.wait_for(report, 10)
    assert told.held == [(JobStatus.FAILED, False)]


class Died:
    """What a worker reads of an executor."""

    def __init__(self, status: JobStatus, of: Any, pid: int | None = None) -> None:
        self.status, self.pid = status, pid
        self.running_job = SimpleNamespace(job=of, url="ws://livekit.test")


class Told:
    """LiveKit's own worker, not running, and whether a claim was held at each of its reports."""

    def __init__(self, store: MemoryStore, *running: Died) -> None:
        self.held: list[tuple[JobStatus, bool]] = []
        self.server: Any = object.__new__(SERVER)
        self.server._proc_pool = SimpleNamespace(processes=list(running))

        async def queue(message: Any) -> None:
            status = JobStatus[agent.JobStatus.Name(message.update_job.status).removeprefix("JS_")]
            self.held.append((status, any(lease.held for lease in store.leases.values())))

        self.server._queue_msg = queue
