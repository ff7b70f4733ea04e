"""Room and track guards inside real jobs: the worker's own job runner, jobs as threads."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from livekit import agents, rtc
from livekit.protocol import models

from runguard_otel.adapters.livekit.reconnect import hooks as reconnect
from runguard_otel.adapters.livekit.services import Services
from runguard_otel.adapters.livekit.subscription import hooks as subscription
from runguard_otel.adapters.patching import PatchSet
from runguard_otel.errors import ReconnectLoopError
from runguard_otel.settings import Settings
from runguard_otel.testing.ffi import StageServer
from runguard_otel.testing.models import ScriptedLLM, ScriptedSTT
from tests.kit.host import RUNS_WITHOUT_SERVER, close_server, make_server, until
from tests.kit.recorder import MemoryRecorder

pytestmark = [
    pytest.mark.livekit,
    pytest.mark.skipif(
        not RUNS_WITHOUT_SERVER,
        reason="this release cannot run a worker without a server",
    ),
]


class Worker:
    """A guarded worker on stage."""

    def __init__(self, stage: StageServer) -> None:
        self.stage = stage
        self.services = Services(Settings.load(), MemoryRecorder())

    @property
    def recorder(self) -> MemoryRecorder:
        assert isinstance(self.services.recorder, MemoryRecorder)
        return self.services.recorder

    async def run(self, entrypoint: Callable[[Any], Any], *, fake: bool = False) -> None:
        """One job from start to end."""
        ended: list[bool] = []

        async def watched(ctx: Any) -> None:
            async def note(_: str) -> None:
                ended.append(True)

            ctx.add_shutdown_callback(note)
            await entrypoint(ctx)

        server = make_server(
            agents.JobExecutorType.THREAD,
            num_idle_processes=1,
            port=0,
            ws_url="ws://stage",
            api_key=self.stage.KEY,
            api_secret=self.stage.SECRET,
        )
        server.rtc_session(watched, agent_name="support")
        running = asyncio.create_task(server.run(devmode=True, unregistered=True))
        await until(lambda: bool(getattr(server, "_proc_pool", None)))
        await until(lambda: bool(server._proc_pool.processes))
        await server.simulate_job(
            "lobby",
            fake_job=fake,
            agent_identity="agent",
            room_info=models.Room(sid="RM_lobby", name="lobby"),
        )
        await until(lambda: bool(ended))
        await close_server(server, running)


@pytest.fixture
async def worker() -> AsyncIterator[Worker]:
    with StageServer() as stage:
        made = Worker(stage)
        patches = PatchSet(
            [*reconnect.patches(made.services), *subscription.patches(made.services)]
        )
        patches.install()
        yield made
        patches.undo()
        made.services.close()


async def test_a_job_that_retries_its_connect_in_a_loop_is_refused_and_ends(worker: Worker) -> None:
    """Stock, this job would never end: it neither connects nor shuts down."""
    errors: list[rtc.ConnectError] = []
    jobs: list[str] = []
    worker.stage.refuse_connects(*["no route"] * 10)

    async def entrypoint(ctx: Any) -> None:
        jobs.append(ctx.job.id)
        for _ in range(10):
            try:
                await ctx.connect()
            except rtc.ConnectError as error:
                errors.append(error)

    await worker.run(entrypoint)
    assert len(worker.stage.connects) == 3
    assert [isinstance(error, ReconnectLoopError) for error in errors] == [False] * 3 + [True] * 7
    (trip,) = worker.recorder.trips
    assert (trip.action, trip.subject.room) == ("shutdown_job", "lobby")
    assert [trip.subject.job_id] == jobs


async def test_the_end_of_a_job_closes_the_stream_it_left_open(worker: Worker) -> None:
    model: list[ScriptedSTT] = []
    worker.stage.join("lobby", "alice")

    async def entrypoint(ctx: Any) -> None:
        model.append(ScriptedSTT())
        ctx.room.on("track_subscribed", lambda *_: model[0].stream())
        await ctx.connect()
        worker.stage.unpublish(worker.stage.publish("lobby", "alice"))
        worker.stage.publish("lobby", "alice")
        while len(worker.recorder.events) < 2:
            await asyncio.sleep(0.01)
        ctx.shutdown("done")

    await worker.run(entrypoint)
    assert [str(e.outcome) for e in worker.recorder.events] == ["allowed", "reused"]
    (stream,) = model[0].streams
    assert stream._task.done()


async def test_must_not_fire_fake_jobs_connect_as_often_as_they_like(worker: Worker) -> None:
    connected: list[bool] = []

    async def entrypoint(ctx: Any) -> None:
        for _ in range(6):
            await ctx.room.connect("ws://x", "y")
            own = rtc.Room()
            await own.connect("ws://stage", worker.stage.token("lobby", "agent"))
            connected.append(own.isconnected())
        ctx.shutdown("done")

    await worker.run(entrypoint, fake=True)
    assert connected == [True] * 6
    assert worker.recorder.events == []


async def test_must_not_fire_a_warm_transfer_dials_five_busy_colleagues(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LiveKit's own task: a room of its own per try, same name and identity, left when it fails.

    Mutant: an own end counts as any other (the fourth colleague is never dialled).
    """
    workflows = pytest.importorskip("livekit.agents.beta.workflows")
    if "disconnect()" not in inspect.getsource(workflows.WarmTransferTask):
        pytest.skip(
            "up to 1.7 a try that fails leaves its connection open, and the next throws it out"
        )
    from livekit.api.sip_service import SipService

    monkeypatch.setenv("LIVEKIT_API_KEY", worker.stage.KEY)
    monkeypatch.setenv("LIVEKIT_API_SECRET", worker.stage.SECRET)
    dialled: list[str] = []

    async def busy(_: SipService, request: Any, **__: Any) -> None:
        dialled.append(request.sip_call_to)
        raise RuntimeError("486 busy here")

    monkeypatch.setattr(SipService, "create_sip_participant", busy)
    numbers = [f"+1555010{n}" for n in range(5)]

    class Front(agents.Agent):
        async def on_enter(self) -> None:
            for number in numbers:
                with contextlib.suppress(agents.ToolError):
                    await workflows.WarmTransferTask(
                        sip_call_to=number, sip_trunk_id="ST_out", hold_audio=None
                    )
            agents.get_job_context().shutdown("no colleague was free")

    async def entrypoint(ctx: Any) -> None:
        await ctx.connect()
        await agents.AgentSession(llm=ScriptedLLM()).start(Front(instructions="front desk"))

    await worker.run(entrypoint)
    assert dialled == numbers
    assert worker.recorder.trips == []
    assert len(worker.stage.connects) == 6
