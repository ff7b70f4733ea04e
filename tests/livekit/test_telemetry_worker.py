"""A worker opens hub and metrics, and closes them whatever happens."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from livekit.agents import JobContext, JobExecutorType
from livekit.agents.ipc.job_proc_lazy_main import _JobProc

from runguard_otel.adapters.livekit.process import hooks as hub
from runguard_otel.adapters.livekit.services import Services
from runguard_otel.settings import Settings
from runguard_otel.telemetry import export
from runguard_otel.telemetry.build import build
from runguard_otel.telemetry.scrape import ScrapeReader, registry
from tests.kit.host import (
    RUNS_WITHOUT_SERVER,
    console_mode,
    make_server,
)
from tests.kit.recorder import MemoryRecorder

pytestmark = pytest.mark.livekit


needs_a_worker = pytest.mark.skipif(
    not RUNS_WITHOUT_SERVER, reason="this release cannot run a worker without a server"
)


Entrypoint = Callable[[JobContext], Any]


async def test_a_registered_worker_opens_hub_and_metrics_and_closes_them() -> None:
    """Seen from inside `run`; the hub is open before any job process can be started."""
    telemetry = build(Settings.load())
    services = Services(Settings.load(), telemetry.recorder, lifecycle=telemetry)
    (patch,) = [p for p in hub.patches(services) if p.attribute == "run"]
    seen: list[tuple[str | None, str | None]] = []

    async def run() -> str:
        seen.append((telemetry.hub_address, telemetry.metrics_url))
        return "over"

    server = make_server(JobExecutorType.PROCESS)
    assert await patch.wrapper(run, server, (), {}) == "over"
    ((address, url),) = seen
    assert address
    assert url
    assert telemetry.hub_address is None
    assert telemetry.metrics_url is None


async def test_a_worker_that_is_cancelled_at_its_end_still_pushes_its_last_counts() -> None:
    """LiveKit's CLI closes a worker, cancels all that is left, and exits."""
    telemetry = build(Settings.load(metrics_port=0))
    services = Services(Settings.load(), telemetry.recorder, lifecycle=telemetry)
    (patch,) = [p for p in hub.patches(services) if p.attribute == "run"]
    stopping, let_go, stopped = asyncio.Event(), threading.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def stop_worker(timeout: float = 2.0) -> None:
        loop.call_soon_threadsafe(stopping.set)
        let_go.wait(timeout)
        stopped.set()

    async def run() -> None:
        telemetry.stop_worker = stop_worker  # type: ignore[method-assign]  # slow, as a push may be

    running = asyncio.ensure_future(patch.wrapper(run, make_server(JobExecutorType.THREAD), (), {}))
    await stopping.wait()
    mine = asyncio.current_task()
    for task in asyncio.all_tasks() - {mine}:
        task.cancel()
    await asyncio.sleep(0.05)
    assert not running.done()
    let_go.set()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert stopped.is_set()


@pytest.mark.parametrize(
    ("arguments", "expected"), [({}, [1.0, 0.0]), ({"devmode": True}, [0.0, 0.0])]
)
async def test_a_worker_is_missed_until_it_is_asked_to_end_and_never_in_development(
    arguments: dict[str, Any], expected: list[float]
) -> None:
    """Without the row of ``drain`` it is missed to the last, and a deployment wakes someone."""
    reader = ScrapeReader()
    telemetry = build(Settings.load(), meter_provider=export.meter_provider([reader]))
    services = Services(Settings.load(), telemetry.recorder, lifecycle=telemetry)
    rows = {p.attribute: p for p in hub.patches(services)}
    server = make_server(JobExecutorType.PROCESS)
    if hasattr(server, "_devmode"):  # before 1.3 the worker itself knows, and this one was told so
        server._devmode = bool(arguments)
    seen = []

    def gauge(name: str) -> float | None:
        return registry(reader.data).get_sample_value(name, {"service_name": "livekit-agents"})

    async def run(**_: object) -> None:
        seen.append(gauge("runguard_worker_expected"))
        rows["drain"].wrapper(server)
        seen.append(gauge("runguard_worker_expected"))

    before = time.time()
    await rows["run"].wrapper(run, server, (), arguments)
    assert seen == expected
    began = gauge("runguard_worker_start_seconds")
    assert began is not None
    assert before <= began <= time.time()


async def test_console_mode_opens_neither(monkeypatch: pytest.MonkeyPatch) -> None:
    console_mode(monkeypatch)
    telemetry = build(Settings.load())
    services = Services(Settings.load(), telemetry.recorder, lifecycle=telemetry)
    (patch,) = [p for p in hub.patches(services) if p.attribute == "run"]
    seen: list[object] = []

    async def run(**_: object) -> None:
        seen.extend([telemetry.hub_address, telemetry.metrics_url])

    server = make_server(JobExecutorType.THREAD)
    await patch.wrapper(run, server, (), {"devmode": True, "unregistered": True})
    assert seen == [None, None]


@pytest.mark.parametrize("broken", ["start_worker", "stop_worker"])
async def test_a_failing_lifecycle_leaves_the_worker_alone(broken: str) -> None:
    class Failing:
        hub_address = None
        destinations = ()

        def __getattr__(self, name: str) -> Callable[..., None]:
            def call(*_: object, **__: object) -> None:
                if name == broken:
                    raise RuntimeError(name)

            return call

    recorder = MemoryRecorder(tolerant=True)
    services = Services(Settings.load(), recorder, lifecycle=Failing())  # type: ignore[arg-type]  # made to fail
    (patch,) = [p for p in hub.patches(services) if p.attribute == "run"]

    async def run() -> str:
        return "over"

    server = make_server(JobExecutorType.PROCESS)
    assert await patch.wrapper(run, server, (), {}) == "over"
    assert len(recorder.errors) == 1


@pytest.mark.parametrize("error", [RuntimeError("host"), asyncio.CancelledError()])
async def test_what_the_host_raises_passes_unchanged(error: BaseException) -> None:
    telemetry = build(Settings.load(metrics_port=0))
    services = Services(Settings.load(), telemetry.recorder, lifecycle=telemetry)
    for patch in hub.patches(services):
        if patch.shape is not None:
            continue  # the shapes have this test of their own

        async def raising() -> None:
            raise error

        worker = make_server(JobExecutorType.PROCESS)
        instance = object.__new__(_JobProc) if patch.owner is _JobProc else worker
        with pytest.raises(type(error)) as caught:
            await patch.wrapper(raising, instance, (), {})
        assert caught.value is error
    assert telemetry.snapshot()["metrics"]["runguard.jobs.ended"][0]["attributes"] == {
        "job_outcome": "crashed"
    }
