"""The dispatch patches on LiveKit's own classes, in this process, with claims in memory."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from livekit.agents import JobContext, JobRequest
from livekit.protocol import agent, models

from runguard_otel.adapters.livekit.dispatch import hooks as dispatch
from runguard_otel.adapters.livekit.services import Services
from runguard_otel.adapters.patching import PatchSet
from runguard_otel.claims.current import current_claim
from runguard_otel.claims.registries.memory import MemoryRegistry, MemoryStore
from runguard_otel.claims.registry import RegistryUnavailable
from runguard_otel.claims.service import ClaimService
from runguard_otel.settings import Settings
from runguard_otel.testing.jobs import job_proc
from tests.kit.recorder import MemoryRecorder

QUICK = {"claims_ttl_seconds": 2.0, "claims_heartbeat_seconds": 0.5}


class Process:
    """Patched LiveKit classes over claims in memory; one per simulated process."""

    def __init__(self, store: MemoryStore, **settings: Any) -> None:
        self.down = False
        self.recorder = MemoryRecorder()
        self.services = Services(Settings.load(**settings), self.recorder)
        self.registry = Switchable(store, self)
        self.services.claims = ClaimService(
            self.services.settings, lambda: self.services.worker, lambda *_: self.registry
        )
        self.table = dispatch.patches(self.services)
        self.patches = PatchSet(self.table)
        self.answers: list[str] = []

    def __enter__(self) -> Process:
        self.patches.install()
        return self

    def __exit__(self, *_: object) -> None:
        self.patches.undo()
        self.services.close()

    def calls(self) -> Counter[tuple[str, str]]:
        """How often each operation of the registry ended how."""
        return Counter(
            (labels["operation"], labels["result"])
            for name, _, labels in self.recorder.values
            if name == "runguard.job.claim.duration"
        )

    async def connect(self, connected: Any, context: Any) -> None:
        """`JobContext.connect` as patched, around a stand-in for what LiveKit does."""
        (patch,) = (p for p in self.table if p.owner is JobContext)

        async def host(_: Any) -> None:
            await connected()

        assert patch.shape is not None
        await patch.shape(host, patch.wrapper, [True])(context)

    def request(self, job: agent.Job, fails: BaseException | None = None) -> JobRequest:
        async def on_reject(terminate: bool | None = None) -> None:
            self.answers.append("rejected" + (" for good" if terminate else ""))

        async def on_accept(arguments: Any) -> None:
            if fails is not None:
                raise fails
            self.answers.append("accepted")

        return JobRequest(job=job, on_reject=on_reject, on_accept=on_accept)


class Switchable(MemoryRegistry):
    def __init__(self, store: MemoryStore, process: Process) -> None:
        super().__init__(store)
        self._process = process

    async def acquire(self, *args: Any, **kwargs: Any) -> Any:
        if self._process.down:
            raise RegistryUnavailable("down")
        return await super().acquire(*args, **kwargs)


class Context:
    """What the claim needs of a JobContext."""

    def __init__(self, job: agent.Job, fake: bool = False) -> None:
        self.job = job
        self._info = SimpleNamespace(fake_job=fake, url="ws://livekit.test")
        self.callbacks: list[Any] = []
        self.reasons: list[str] = []

    def add_shutdown_callback(self, callback: Any) -> None:
        assert callback.__code__.co_argcount == 1  # LiveKit reads it
        self.callbacks.append(callback)

    def shutdown(self, reason: str = "") -> None:
        self.reasons.append(reason)

    async def end(self) -> None:
        for callback in self.callbacks:
            await callback("over")


def job(
    job_id: str, room: str = "room-a", agent_name: str = "", room_sid: str = "RM_1"
) -> agent.Job:
    return agent.Job(id=job_id, agent_name=agent_name, room=models.Room(name=room, sid=room_sid))


async def run_job(context: Context) -> list[int]:
    """Run an entrypoint as `_JobProc` would; the tokens it saw, empty if it never ran."""
    ran: list[int] = []

    async def entrypoint(ctx: Any) -> None:
        claim = current_claim()
        ran.append(claim.token if claim is not None else 0)

    made = job_proc(entrypoint)
    guarded: Any = made._job_entrypoint_fnc
    await asyncio.create_task(guarded(context))  # LiveKit runs it in a task of its own, too
    return ran


async def until(reached: Callable[[], object], seconds: float = 60) -> None:
    end = asyncio.get_running_loop().time() + seconds
    while not reached():
        assert asyncio.get_running_loop().time() < end
        await asyncio.sleep(0.02)
