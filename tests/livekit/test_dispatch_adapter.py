"""Requests and jobs under claims: accepted, refused, taken over, released."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from livekit.agents.ipc.job_executor import JobStatus
from livekit.protocol import agent

from runguard_otel.adapters.agents_v1 import worker_side
from runguard_otel.adapters.agents_v1.claim_reports import facts_of
from runguard_otel.claims.key import claim_key
from runguard_otel.claims.memory import MemoryRegistry, MemoryStore
from runguard_otel.claims.registry import Holder
from runguard_otel.core.verdict import Mode
from tests.kit.claimed_jobs import QUICK, Context, Process, job, run_job, until
from tests.kit.host import REJECTS_FOR_GOOD, SERVER, job_proc

pytest_plugins = ["tests.kit.claimed_fixtures"]
pytestmark = [pytest.mark.livekit, pytest.mark.usefixtures("livekit_url")]


async def test_the_first_job_is_accepted_and_claimed_for(
    process: Process, store: MemoryStore
) -> None:
    await process.request(job("AJ_1")).accept()
    assert process.answers == ["accepted"]
    assert process.recorder.signatures() == [("job_claim:acquired", "allowed")]
    assert [lease.who.job_id for lease in store.leases.values()] == ["AJ_1"]


async def test_a_duplicate_is_rejected_for_good_with_one_trip(
    rival: Context, process: Process
) -> None:
    await process.request(job("AJ_2")).accept()
    assert process.answers == ["rejected for good" if REJECTS_FOR_GOOD else "rejected"]
    assert process.recorder.signatures() == [("job_claim:refused", "refused")]
    (trip,) = process.recorder.trips
    assert (trip.signature, trip.action, trip.key) == ("job_claim:refused", "refuse_job", "room-a")
    assert "room-a" not in trip.explain()
    assert process.recorder.count("runguard.job.claims", result="refused", backend="sqlite") == 1
    assert process.recorder.count("runguard.jobs.ended", job_outcome="refused") == 1
    assert [v[0] for v in process.recorder.values] == ["runguard.job.claim.duration"]


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
                claim_key(facts_of(job("AJ_1"), "ws://livekit.test")), Holder("AJ_2", "i", "w"), 60
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

    def __init__(self, status: JobStatus, of: Any) -> None:
        self.status = status
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
