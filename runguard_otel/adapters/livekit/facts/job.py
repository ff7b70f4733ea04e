"""What LiveKit is about jobs: which one is this, is it real, which span is its parent?

Private attributes of LiveKit are read with ``getattr`` and a fallback: they differ between minor
releases, and telemetry without a parent is better than no telemetry.
"""

from __future__ import annotations

import importlib
import inspect
import multiprocessing
import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider

from runguard_otel.core.ports import JobFacts

__all__ = [
    "agent_name",
    "api_of",
    "context_of",
    "crashed",
    "current_job",
    "executor_of",
    "export_spans_to",
    "id_in",
    "in_activity",
    "in_console",
    "in_development",
    "in_session",
    "is_alive",
    "is_fake_job",
    "job_facts",
    "job_id",
    "preload",
    "room_deletion",
    "server_agent_name",
    "session_context",
    "session_key",
    "session_type",
    "url_of",
    "uses_processes",
    "watch_server",
    "when_asked_to_end",
]


_ask: Callable[[], Any | None] | None = None
"""How this release is asked for the running job: found out once, for it is asked all the time."""


def current_job() -> Any | None:
    """The running ``JobContext``, or ``None`` outside a job (scripts, the worker process).

    Where nobody has imported ``livekit.agents`` no job runs. Read in 0.12 to 1.8.
    """
    global _ask
    if _ask is None:
        _ask = _asking(sys.modules.get("livekit.agents.job"))
    return None if _ask is None else _ask()


def _asking(module: Any) -> Callable[[], Any | None] | None:
    if module is None:
        return None
    # 0.12 has another name for it
    found: Any = getattr(module, "get_job_context", None) or module.get_current_job_context
    if "required" in inspect.signature(found).parameters:
        return partial(found, required=False)

    def ask() -> Any | None:  # before 1.4 there is no `required`
        try:
            return found()
        except RuntimeError:
            return None

    return ask


def agent_name() -> str:
    """LiveKit's agent name of the running job; ``""`` when unnamed or outside a job.

    Read in 0.12 to 1.8.
    """
    job = current_job()
    return str(getattr(getattr(job, "job", None), "agent_name", "") or "")


def session_key() -> str:
    """The id of the running job, to whose bill the calling code adds; ``""`` outside of one.

    Read in 0.12 to 1.8.
    """
    return id_in(current_job())


def id_in(ctx: Any | None) -> str:
    """The id of the job of a ``JobContext``; ``""`` outside of one (0.12 to 1.8)."""
    return str(getattr(getattr(ctx, "job", None), "id", "") or "")


def room_deletion(ctx: Any, name: str) -> Awaitable[Any]:
    """A request of a ``JobContext`` that deletes a room.

    Its own ``delete_room`` is not there in 0.12, and takes no name in 1.0. Read in 0.12 to 1.8.
    """
    from livekit import api

    request: Awaitable[Any] = ctx.api.room.delete_room(api.DeleteRoomRequest(room=name))
    return request


def job_id(job_proc: Any) -> str:
    """The id of the job that a ``_JobProc`` runs (0.12 to 1.8); ``""`` before it has one."""
    job = getattr(getattr(job_proc, "_job_ctx", None), "job", None)
    return str(getattr(job, "id", "") or "")


def crashed(job_proc: Any) -> bool:
    """Whether the entrypoint of a job that is over has raised.

    LiveKit swallows that; since 1.4 it shows in the reason of the shutdown. Up to 1.3 such a job
    does not end by itself, and nothing tells. Read in 0.12 to 1.8.
    """
    future = getattr(job_proc, "_shutdown_fut", None)
    if future is None or not future.done() or future.cancelled() or future.exception():
        return False
    return bool(getattr(future.result(), "reason", "") == "job crashed")


def when_asked_to_end(job_proc: Any, callback: Callable[[str], None]) -> None:
    """Call ``callback(cause)`` when a job is to end: asked by anybody, or its room is gone.

    All of it meets in one future of the ``_JobProc`` (0.12 to 1.8).
    """
    future = getattr(job_proc, "_shutdown_fut", None)
    if future is None:
        return

    def asked(done: Any) -> None:
        told = not done.cancelled() and done.exception() is None
        reason = getattr(done.result(), "reason", "") if told else ""
        callback("room_gone" if reason == "room disconnected" else "asked")

    future.add_done_callback(asked)


def session_type() -> type | None:
    """``AgentSession``, or ``None`` in 0.12, which has none (0.12 to 1.8)."""
    try:
        from livekit.agents import AgentSession
    except ImportError:
        return None
    return AgentSession


def server_agent_name(server: Any) -> str:
    """The agent name a worker registers with; before 1.3 it is one of its options (0.12 to 1.8)."""
    options = getattr(server, "_opts", None)
    name = getattr(server, "_agent_name", None) or getattr(options, "agent_name", None)
    return str(name or "")


def in_development(server: Any, arguments: Mapping[str, Any]) -> bool:
    """Whether a worker runs under ``dev``; since 1.3 an argument of ``run`` says so.

    Read in 0.12 to 1.8.

    Args:
        server: An ``AgentServer`` or ``Worker``.
        arguments: What ``run`` was called with by name.
    """
    return bool(arguments.get("devmode", getattr(server, "_devmode", False)))


def uses_processes(server: Any) -> bool:
    """Whether a worker runs its jobs in processes; before 1.3 that is one of its options.

    Read in 0.12 to 1.8.
    """
    options = getattr(server, "_opts", None)
    executor = getattr(server, "_job_executor_type", None) or getattr(
        options, "job_executor_type", None
    )
    return getattr(executor, "name", "PROCESS") != "THREAD"


def preload(server: Any, module: str) -> None:
    """Have the forkserver import a module; does nothing where the host does not offer it.

    ``AgentServer(preload_modules=...)`` is in 1.8.9, read when the worker starts to run, and not in
    1.4.6, whose forkserver imports the packages of registered plugins only. Read in 0.12 to 1.8.
    """
    wanted = getattr(server, "_preload_modules", None)
    if isinstance(wanted, list) and module not in wanted:
        wanted.append(module)


def watch_server() -> type | None:
    """What reloads the worker in ``dev``, up to 1.5; later ``lk agent dev`` starts it anew.

    Only a process that was started by hand has one, and job processes are spared the import.
    Read in 0.12 to 1.8.
    """
    # A job's process runs the agent's module before it knows its parent; it has its name by then.
    if multiprocessing.current_process().name != "MainProcess":
        return None
    try:
        watcher = importlib.import_module("livekit.agents.cli.watcher")
    except ImportError:
        return None
    return getattr(watcher, "WatchServer", None)


def export_spans_to(provider: object | None) -> None:
    """Send LiveKit's own spans there; before 1.2 it has none.

    Read in 0.12 to 1.8.

    Args:
        provider: A ``TracerProvider``, or ``None`` to leave things as they are.
    """
    if provider is None:
        return
    try:
        from livekit.agents import telemetry
    except ImportError:
        return
    telemetry.set_tracer_provider(cast("TracerProvider", provider))


def session_context(session: Any) -> object | None:
    """The span context that children of ``agent_session`` use (1.2 and newer), else ``None``.

    Read in 0.12 to 1.8.
    """
    context: object | None = getattr(session, "_root_span_context", None)
    return context


def in_activity() -> bool:
    """Whether the code that runs speaks for a session: its nodes, its tools, its replies.

    Since 1.0 LiveKit keeps the activity in a context variable; ``False`` where it does not.
    Read in 0.12 to 1.8.
    """
    activity: Any = sys.modules.get("livekit.agents.voice.agent_activity")
    speaking = getattr(activity, "_AgentActivityContextVar", None)
    return speaking is not None and speaking.get(None) is not None


def in_session() -> bool:
    """Whether the code that runs opens a stream for a session.

    Newer releases say so in a context variable; in older ones, and for nodes that users override,
    the session's own frames are on the stack, because it drives the node. Read in 0.12 to 1.8.
    """
    recognition: Any = sys.modules.get("livekit.agents.voice.audio_recognition")
    pipeline = getattr(recognition, "_STTPipelineContextVar", None)
    if pipeline is not None and pipeline.get(None) is not None:
        return True
    frame: FrameType | None = sys._getframe(1)
    for _ in range(100):
        if frame is None:
            return False
        if str(frame.f_globals.get("__name__", "")).startswith("livekit.agents.voice."):
            return True
        frame = frame.f_back
    return False


def in_console() -> bool:
    """Whether this process was started as ``console``, by the agent's own CLI or by ``lk agent``.

    Up to 1.2 the CLI leaves its arguments behind, later there is one console object. It is only
    looked at: asking for the instance would make one, and open audio devices. Read in 0.12 to 1.8.
    """
    cli: Any = sys.modules.get("livekit.agents.cli")
    arguments = getattr(getattr(cli, "cli", None), "CLI_ARGUMENTS", None)
    if arguments is not None:
        return bool(getattr(arguments, "console", False))
    console = getattr(getattr(cli, "AgentsConsole", None), "_instance", None)
    return bool(getattr(console, "enabled", False))


def is_fake_job(ctx: Any | None) -> bool:
    """Whether ``ctx`` is the context of a fake job.

    Before 1.3 a job does not know; the mock room that the console gives it does.
    Read in 0.12 to 1.8.
    """
    if ctx is None:
        return False
    asked = getattr(ctx, "is_fake_job", None)
    if asked is not None:
        return asked() is True
    return getattr(getattr(ctx, "_info", None), "fake_job", False) is True or in_console()


def job_facts(job: Any, host: str) -> JobFacts:
    """What identifies a job for its claim.

    Read in 0.12 to 1.8.

    Args:
        job: LiveKit's protobuf ``Job``.
        host: The worker's ``LIVEKIT_URL``. Not the URL of the assignment: a server may assign one
            room's jobs by different regional URLs.
    """
    from livekit.protocol import agent

    return JobFacts(
        host=host,
        room=str(job.room.name),
        agent_name=str(job.agent_name),
        job_type=str(agent.JobType.Name(job.type)),
        participant=str(job.participant.identity),
        participant_sid=str(job.participant.sid),
        job_id=str(job.id),
        namespace=str(job.namespace),
        room_sid=str(job.room.sid),
        metadata=str(job.metadata),
    )


def url_of(ctx: Any) -> str:
    """The server's URL in the assignment of a ``JobContext``; ``""`` if it is not to be found.

    Read in 0.12 to 1.8.
    """
    return str(getattr(getattr(ctx, "_info", None), "url", ""))


def context_of(job_proc: Any) -> Any | None:
    """The ``JobContext`` of LiveKit's ``_JobProc``; ``None`` while its process is idle.

    Read in 0.12 to 1.8.
    """
    return getattr(job_proc, "_job_ctx", None)


def executor_of(server: Any, job_id: str, *, other_than: Any = None) -> Any | None:
    """LiveKit's ``JobExecutor`` that runs a job; ``None`` if this worker runs it nowhere.

    Read in 0.12 to 1.8.

    Args:
        server: The worker.
        job_id: The job.
        other_than: An executor that does not count: after a reload a job may have two.
    """
    for executor in server._proc_pool.processes:
        info = getattr(executor, "running_job", None)
        if executor is not other_than and info is not None and str(info.job.id) == job_id:
            return executor
    return None


def is_alive(executor: Any) -> bool:
    """Whether the process of a ``JobExecutor`` lives right now; a thread lives with its worker.

    LiveKit hears of a death only some time later. A process that was killed a moment ago may still
    look alive: look twice. Read in 0.12 to 1.8.
    """
    pid = getattr(executor, "pid", None)
    if pid is None:
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return not _is_zombie(pid)


def _is_zombie(pid: int) -> bool:
    """Dead, and not yet collected; where there is no /proc it cannot be told."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stat:
            return stat.read().rpartition(")")[2].split()[0] in ("Z", "X")
    except (OSError, IndexError):
        return False


def api_of(server: Any) -> Any | None:
    """The ``LiveKitAPI`` of a worker, 0.12 to 1.8; ``None`` before it runs."""
    return getattr(server, "_api", None)
