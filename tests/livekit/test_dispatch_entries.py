"""Entrypoints as they are wrapped: left alone, disarmed, sent to another process."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from runguard_otel.adapters.livekit.process.bring_up import Entry
from runguard_otel.claims.registries.memory import MemoryStore
from runguard_otel.core.verdict import Mode
from runguard_otel.testing.jobs import job_proc
from tests.kit.claimed_jobs import QUICK, Context, Process, job, run_job

pytest_plugins = ["tests.kit.claimed_fixtures"]
pytestmark = [pytest.mark.livekit, pytest.mark.usefixtures("livekit_url")]


async def test_a_refused_job_shuts_down_and_its_entrypoint_never_runs(
    rival: Context, store: MemoryStore
) -> None:
    with Process(store, **QUICK) as process:
        context = Context(job("AJ_2"))
        assert await run_job(context) == []
        assert context.reasons == ["runguard: another job serves this room"]
        assert context.callbacks == []
        assert process.recorder.signatures() == [("job_claim:refused", "refused")]
        assert process.recorder.trips[0].evidence[0].detail == "holder_renewed"


async def test_fake_jobs_are_left_alone(process: Process, store: MemoryStore) -> None:
    context = Context(job("mock-job-1"), fake=True)
    assert await run_job(context) == [0]
    assert (store.leases, context.callbacks, process.recorder.events) == ({}, [], [])


async def test_off_touches_nothing(store: MemoryStore) -> None:
    with Process(store, job_dispatch_mode=Mode.OFF) as process:
        await process.request(job("AJ_1")).accept()
        assert await run_job(Context(job("AJ_1"))) == [0]
        assert (store.leases, process.answers) == ({}, ["accepted"])


async def test_uninstrument_also_disarms_entrypoints_that_were_wrapped(
    store: MemoryStore,
) -> None:
    process = Process(store)
    with process:
        made = job_proc(_entrypoint)
    context = Context(job("AJ_1"))
    guarded: Any = made._job_entrypoint_fnc
    await guarded(context)
    assert (store.leases, context.callbacks) == ({}, [])


async def _entrypoint(ctx: Any) -> None:
    """The user's words."""


brought_up: list[dict[str, Any]] = []


def _bring_up(payload: dict[str, Any]) -> None:
    brought_up.append(payload)


def test_an_entry_is_picklable_looks_like_the_original_and_instruments_where_it_lands() -> None:
    known: dict[str, Any] = {"worker": "w"}
    entry = Entry(_entrypoint, _bring_up, lambda: dict(known))
    known["extras"] = {"hub": "address"}  # learned after the pool was built
    landed = pickle.loads(pickle.dumps(entry))
    assert brought_up == [{"worker": "w", "extras": {"hub": "address"}}]
    assert landed.__qualname__ == "_entrypoint"
    assert landed.__doc__ == "The user's words."
    again = pickle.loads(pickle.dumps(landed))
    assert again._entrypoint is _entrypoint
