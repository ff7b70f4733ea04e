"""Every place we touch so that instrumentation reaches job processes, and telemetry their end."""

from __future__ import annotations

from runguard_otel.adapters.hooks import Hooks
from runguard_otel.adapters.livekit.facts.job import watch_server
from runguard_otel.adapters.livekit.process.bring_up import BringUp
from runguard_otel.adapters.livekit.process.lifetime import Lifetime
from runguard_otel.adapters.livekit.services import Services
from runguard_otel.adapters.patching import Patch

__all__ = ["patches"]


def patches(services: Services) -> list[Patch]:
    """Three rows give telemetry its life, one or two reach the processes that run jobs."""
    lifetime, bring_up = Lifetime(services), BringUp(services)
    telemetry = Hooks(services.recorder, "telemetry")
    processes = Hooks(services.recorder, "job_processes")
    rows = [
        telemetry.around(
            "livekit.agents.ipc.job_proc_lazy_main:_JobProc",
            "_run_job_task",
            lifetime.run_job,
            why="Counts the job and flushes spans at its end, for at most 2 s and off the event "
            "loop.",
        ),
        telemetry.around(
            "livekit.agents.worker:AgentServer|Worker",
            "run",
            lifetime.run_worker,
            why="Opens the telemetry hub and /metrics when a worker really runs, closes them "
            "after.",
        ),
        telemetry.before(
            "livekit.agents.worker:AgentServer|Worker",
            "drain",
            lifetime.worker_drains,
            why="Tells telemetry that the worker's end is wanted, so that no alert fires for it.",
        ),
        processes.gate(
            "livekit.agents.ipc.proc_pool:ProcPool",
            "__init__",
            bring_up.pool,
            why="Instruments job processes where instrument() stands under `if __name__`.",
        ),
    ]
    watcher = watch_server()
    if watcher is not None:
        why = "Instruments the worker that `dev` starts in a process of its own."
        rows.append(processes.gate(watcher, "__init__", bring_up.watcher, why=why))
    return rows
