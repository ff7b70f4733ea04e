"""What a job counts and exports from its start to its end, in the real job runner."""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from livekit.agents import JobContext, JobExecutorType
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from runguard_otel.adapters.livekit.process import hooks, lifetime
from runguard_otel.adapters.livekit.services import Services
from runguard_otel.adapters.patching import PatchSet
from runguard_otel.core.verdict import Outcome, Subject
from runguard_otel.settings import Settings
from runguard_otel.telemetry.build import Telemetry, build
from tests.kit.host import (
    ENDS_FAILED_JOBS,
    RUNS_WITHOUT_SERVER,
    close_server,
    make_server,
    until,
)

pytestmark = pytest.mark.livekit


needs_a_worker = pytest.mark.skipif(
    not RUNS_WITHOUT_SERVER, reason="this release cannot run a worker without a server"
)


Entrypoint = Callable[[JobContext], Any]


class Stage:
    """A patched AgentServer that runs one entrypoint as a job."""

    def __init__(self, telemetry: Telemetry) -> None:
        self.telemetry = telemetry
        self.patches = PatchSet(
            hooks.patches(Services(Settings.load(), telemetry.recorder, lifecycle=telemetry))
        )
        self.patches.install()

    async def run(self, entrypoint: Entrypoint, *, seconds: float = 10.0) -> None:
        """Start a worker, run one fake job to its end, stop the worker."""
        server = make_server(JobExecutorType.THREAD, num_idle_processes=1, port=0)
        server.rtc_session(entrypoint, agent_name="support")
        running = asyncio.create_task(server.run(devmode=True, unregistered=True))
        await until(lambda: bool(getattr(server, "_proc_pool", None)))
        await until(lambda: bool(server._proc_pool.processes))
        await server.simulate_job("room-1", fake_job=True)
        await until(lambda: self._ended() == 1, seconds)
        await close_server(server, running)

    def _ended(self) -> float:
        return self.count("runguard.jobs.ended")

    def count(self, metric: str) -> float:
        rows = self.telemetry.snapshot()["metrics"].get(metric, [])
        return float(sum(row["value"] for row in rows))

    def outcomes(self) -> dict[str, float]:
        rows = self.telemetry.snapshot()["metrics"].get("runguard.jobs.ended", [])
        return {row["attributes"]["job_outcome"]: row["value"] for row in rows}


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    if not RUNS_WITHOUT_SERVER:
        pytest.skip("this release cannot run a worker without a server")
    made = Stage(build(Settings.load(metrics_port=0)))
    yield made
    made.patches.undo()
    made.telemetry.shutdown()


async def test_a_job_is_counted_from_start_to_clean_end(stage: Stage) -> None:
    during: list[float] = []

    async def entrypoint(ctx: JobContext) -> None:
        during.append(stage.count("runguard.jobs"))
        ctx.shutdown("done")

    await stage.run(entrypoint)
    assert during == [1]
    assert stage.count("runguard.jobs") == 0
    assert stage.outcomes() == {"clean": 1}


@pytest.mark.skipif(
    not ENDS_FAILED_JOBS, reason="a job of this release whose entrypoint raises never ends"
)
async def test_an_entrypoint_that_raises_is_a_crashed_job(stage: Stage) -> None:
    async def entrypoint(ctx: JobContext) -> None:
        raise RuntimeError("a defect of the application")

    await stage.run(entrypoint)
    assert stage.outcomes() == {"crashed": 1}


async def test_a_job_whose_claim_was_refused_is_counted_as_refused(stage: Stage) -> None:
    async def entrypoint(ctx: JobContext) -> None:
        subject = Subject(room="room-1", job_id=ctx.job.id)
        stage.telemetry.recorder.event("job_claim:refused", Outcome.REFUSED, subject)
        ctx.shutdown("duplicate")

    await stage.run(entrypoint)
    assert stage.outcomes() == {"refused": 1}


@needs_a_worker
async def test_spans_are_out_when_the_job_is_over() -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=3_600_000))
    stage = Stage(build(Settings.load(metrics_port=0), tracer_provider=provider))

    async def entrypoint(ctx: JobContext) -> None:
        stage.telemetry.recorder.event("room_reconnect", Outcome.ALLOWED, Subject(room="room-1"))
        ctx.shutdown("done")

    await stage.run(entrypoint)
    await until(lambda: bool(exporter.get_finished_spans()))
    names = [s.name for s in exporter.get_finished_spans()]
    assert names == ["runguard.room_reconnect", "runguard.job"]
    stage.patches.undo()
    stage.telemetry.shutdown()
    # somebody else's provider is still alive after us
    provider.get_tracer("mine").start_span("later").end()
    provider.force_flush()
    assert exporter.get_finished_spans()[-1].name == "later"
    provider.shutdown()


@needs_a_worker
async def test_a_provider_that_hangs_delays_the_end_of_a_job_by_its_bound_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    let_go = threading.Event()

    class Hanging(TracerProvider):
        def force_flush(self, timeout_millis: int = 30_000) -> bool:
            return let_go.wait(30)

    monkeypatch.setattr(lifetime, "FLUSH_SECONDS", 0.3)
    stage = Stage(build(Settings.load(metrics_port=0), tracer_provider=Hanging()))
    ended: list[float] = []

    async def entrypoint(ctx: JobContext) -> None:
        ctx.shutdown("done")
        ended.append(time.monotonic())

    try:
        await stage.run(entrypoint, seconds=5)
        assert time.monotonic() - ended[0] < 4
    finally:
        let_go.set()
        stage.patches.undo()


@needs_a_worker
async def test_livekits_own_spans_are_exported_when_asked_and_nobody_has_a_provider(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from livekit.agents import telemetry as livekit_telemetry

    exporter = InMemorySpanExporter()
    own = TracerProvider()
    own.add_span_processor(BatchSpanProcessor(exporter))
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "otlp")
    monkeypatch.setattr("runguard_otel.telemetry.export.tracer_provider", lambda: own)
    before = livekit_telemetry.tracer._tracer_provider
    stage = Stage(build(Settings.load(metrics_port=0, export_livekit_spans=True)))

    async def entrypoint(ctx: JobContext) -> None:
        stage.telemetry.recorder.event("room_reconnect", Outcome.ALLOWED, Subject(room="room-1"))
        ctx.shutdown("done")

    try:
        await stage.run(entrypoint)
        await until(lambda: len(exporter.get_finished_spans()) > 1)
    finally:
        livekit_telemetry.tracer.set_provider(before)
        stage.patches.undo()
        stage.telemetry.shutdown()
    spans = {s.name: s for s in exporter.get_finished_spans()}
    assert {"job_entrypoint", "runguard.room_reconnect"} <= set(spans)
    parent = spans["runguard.room_reconnect"].parent
    job = spans["job_entrypoint"].context
    assert parent is not None
    assert job is not None
    assert parent.span_id == job.span_id
    assert isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)


def test_livekits_own_redaction_strips_our_names_and_leaves_the_hash() -> None:
    """Through a provider LiveKit was told to redact, whatever the environment says."""
    livekit_telemetry = pytest.importorskip("livekit.agents.telemetry")
    if "allow_pii" not in inspect.signature(livekit_telemetry.set_tracer_provider).parameters:
        pytest.skip("this release redacts nothing")
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    before = livekit_telemetry.tracer._tracer_provider
    livekit_telemetry.set_tracer_provider(provider, allow_pii=False)
    try:
        telemetry = build(Settings.load())
        subject = Subject(room="Room-Anna", participant="anna@example.org")
        telemetry.recorder.event("room_reconnect", Outcome.ALLOWED, subject)
    finally:
        livekit_telemetry.tracer.set_provider(before)
    (span,) = exporter.get_finished_spans()
    assert (span.attributes or {})["runguard.room.hash"]
    assert "anna" not in span.to_json().lower()
