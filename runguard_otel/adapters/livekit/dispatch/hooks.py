"""Every place we touch for ``job_dispatch``: one job per room and agent."""

from __future__ import annotations

from runguard_otel.adapters.hooks import Hooks
from runguard_otel.adapters.livekit.dispatch.job import JobSide
from runguard_otel.adapters.livekit.dispatch.reports import GUARD
from runguard_otel.adapters.livekit.dispatch.worker import WorkerSide
from runguard_otel.adapters.livekit.services import Services
from runguard_otel.adapters.patching import Patch

__all__ = ["patches"]


def patches(services: Services) -> list[Patch]:
    """The rows of a worker, of the process that runs a job, and of the job's sessions."""
    if services.claims is not None:
        services.on_close.append(services.claims.close)
    hooks = Hooks(services.recorder, GUARD)
    worker, job = WorkerSide(services), JobSide(services)
    rows = [
        hooks.around(
            "livekit.agents.job:JobRequest",
            "accept",
            worker.accept,
            why="Refuses a proven duplicate before a process is spent on it.",
        ),
        hooks.after(
            "livekit.agents.ipc.proc_pool:ProcPool",
            "__init__",
            worker.load,
            why="Imports what the claim registry needs before the first job.",
        ),
        hooks.before(
            "livekit.agents.worker:AgentServer|Worker",
            "_update_job_status",
            worker.give_back,
            why="Releases a dead job's claim before the server hears of the death.",
        ),
        hooks.gate(
            "livekit.agents.ipc.job_proc_lazy_main:_JobProc",
            "__init__",
            job.build,
            why="Claims the room, with proof, before the user's entrypoint runs.",
        ),
        hooks.around(
            "livekit.agents.ipc.job_proc_lazy_main:_JobProc",
            "entrypoint",
            job.idle,
            why="Connects to the claim registry while the process waits for a job.",
        ),
        hooks.before(
            "livekit.agents.ipc.job_proc_lazy_main:_JobProc",
            "_run_job_task",
            job.begins,
            why="A job that is asked to end lets the next one have the room.",
        ),
        hooks.after(
            "livekit.agents.job:JobContext",
            "connect",
            job.connected,
            why="Publishes the fencing token, and leaves when the same agent shows a higher one.",
        ),
    ]
    return rows + _of_sessions(hooks, job)


def _of_sessions(hooks: Hooks, job: JobSide) -> list[Patch]:
    """None in 0.12, which has agents instead: there a claim ends when its job is asked to."""
    try:
        from livekit.agents.voice import AgentSession
    except ImportError:
        return []
    return [
        hooks.before(
            AgentSession, "start", job.session_starts, why="A job with a session serves its room."
        ),
        hooks.before(
            AgentSession,
            "_aclose_impl",
            job.session_closes,
            why="A job whose last session closes lets the next one have the room.",
        ),
        hooks.after(
            "livekit.agents.voice.room_io.room_io:RoomIO",
            "set_participant",
            job.linked,
            why="Shows in the room whom the agent serves.",
        ),
        hooks.gate(
            "livekit.agents.voice.agent_activity:AgentActivity",
            "on_end_of_turn",
            job.turn_ends,
            when=job.silenced,
            why="A session that still closes leaves the answer to the next agent.",
        ),
    ]
