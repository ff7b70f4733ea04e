"""Questions every hook asks the host: which job is this, and which span is its parent?

Private attributes of LiveKit are read with ``getattr`` and a fallback: they differ between minor
releases, and telemetry without a parent is better than no telemetry.
"""

from __future__ import annotations

from typing import Any

__all__ = ["agent_name", "current_job", "session_context"]


def current_job() -> Any | None:
    """The running ``JobContext``, or ``None`` outside a job (scripts, the worker process)."""
    from livekit.agents import job

    # 0.12 has another name for it
    ask: Any = getattr(job, "get_job_context", None) or vars(job)["get_current_job_context"]
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
