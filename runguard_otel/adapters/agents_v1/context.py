"""Questions every hook asks the host: which job is this, and which span is its parent?

Private attributes of LiveKit are read with ``getattr`` and a fallback: they differ between minor
releases, and telemetry without a parent is better than no telemetry.
"""

from __future__ import annotations

from typing import Any

__all__ = ["agent_name", "current_job", "session_closer", "session_context"]


_job: Any = None
"""LiveKit's module of that name, from the first question on: an import costs even when repeated."""


def current_job() -> Any | None:
    """The running ``JobContext``, or ``None`` outside a job (scripts, the worker process)."""
    global _job
    if _job is None:
        from livekit.agents import job

        _job = job
    # 0.12 has another name for it
    ask: Any = getattr(_job, "get_job_context", None) or _job.get_current_job_context
    try:
        return ask(required=False)
    except TypeError:  # before 1.4 there is no `required`
        try:
            return ask()
        except RuntimeError:
            return None


def agent_name() -> str:
    """LiveKit's agent name of the running job; ``""`` when unnamed or outside a job."""
    job = current_job()
    return str(getattr(getattr(job, "job", None), "agent_name", "") or "")


def session_context(session: Any) -> object | None:
    """The span context that children of ``agent_session`` use (1.2 and newer), else ``None``."""
    context: object | None = getattr(session, "_root_span_context", None)
    return context


def session_closer(session: type) -> str:
    """The method in which all ends of an ``AgentSession`` meet.

    ``aclose`` is only one of the ways a session ends; since 1.2 they all meet in ``_aclose_impl``.
    """
    return "_aclose_impl" if hasattr(session, "_aclose_impl") else "aclose"
