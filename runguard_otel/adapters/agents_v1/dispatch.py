"""Every place we touch for ``job_dispatch``: one job per room and agent."""

from __future__ import annotations

import importlib
import multiprocessing

from runguard_otel.adapters.agents_v1 import served
from runguard_otel.adapters.agents_v1.job_side import JobSide
from runguard_otel.adapters.agents_v1.services import Services
from runguard_otel.adapters.agents_v1.worker_side import WorkerSide
from runguard_otel.adapters.patching import Patch

__all__ = ["patches"]


def patches(services: Services) -> list[Patch]:
    """Three patches in the worker, five in the process that runs the job, one for old ``dev``."""
    from livekit import agents
    from livekit.agents import JobContext, JobRequest
    from livekit.agents.ipc.job_proc_lazy_main import _JobProc
    from livekit.agents.ipc.proc_pool import ProcPool

    worker, job, guard = WorkerSide(services), JobSide(services), "job_dispatch"
    if services.claims is not None:
        services.on_close.append(services.claims.close)
    table = [
        Patch(
            JobRequest,
            "accept",
            worker.accept,
            guard,
            "Refuses a proven duplicate before a process is spent on it.",
        ),
        Patch(
            ProcPool,
            "__init__",
            worker.build_pool,
            guard,
            "Instruments job processes.",
        ),
        Patch(
            getattr(agents, "AgentServer", None) or agents.Worker,  # its name up to 1.2
            "_update_job_status",
            worker.report,
            guard,
            "Releases a dead job's claim before the server hears of the death.",
        ),
        Patch(
            _JobProc,
            "__init__",
            job.build,
            guard,
            "Claims the room, with proof, before the user's entrypoint runs.",
        ),
        Patch(
            _JobProc,
            "entrypoint",
            job.idle,
            guard,
            "Connects to the claim registry while the process waits for a job.",
        ),
        Patch(
            JobContext,
            "connect",
            job.connect,
            guard,
            "Publishes the fencing token, and leaves when the same agent shows a higher one.",
        ),
    ]
    table += served.patches(services, job, guard)
    watch_server = _watch_server()
    if watch_server is not None:
        why = "Instruments the worker that `dev` starts in a process of its own."
        table.append(Patch(watch_server, "__init__", worker.watch, guard, why))
    return table


def _watch_server() -> type | None:
    """What reloads the worker in ``dev``, up to 1.4; later ``lk agent dev`` starts it anew.

    Only a process that was started by hand has one, and job processes are spared the import.
    """
    if multiprocessing.parent_process() is not None:
        return None
    try:
        watcher = importlib.import_module("livekit.agents.cli.watcher")
    except ImportError:
        return None
    return getattr(watcher, "WatchServer", None)
