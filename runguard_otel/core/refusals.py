"""Why a job may not serve its room, in words that say what to do."""

from __future__ import annotations

__all__ = ["REASONS", "explain_refusal"]

REASONS = ("holder_serving", "holder_renewed", "outranked", "registry_closed")
"""Every reason for which a job is refused its room, or asked to leave it for another agent."""


def explain_refusal(
    reason: str, *, job_id: str = "", worker: str = "", held_seconds: float = 0.0
) -> str:
    """One sentence for logs and trips; it names jobs and workers, never a room or a person.

    Args:
        reason: One of :data:`REASONS`; any other word has no sentence.
        job_id: The job that holds the claim.
        worker: The name of its worker.
        held_seconds: For how long it has held the claim; 0 if unknown.
    """
    since = f" since {_span(held_seconds)}" if held_seconds > 0 else ""
    names = [f"worker {worker}" if worker else "", f"job {job_id}" if job_id else ""]
    who = ", ".join(name for name in names if name)
    holder = f"{since} ({who})" if who else since
    if reason in ("holder_serving", "holder_renewed"):
        seen = "" if reason == "holder_serving" else "; it was seen to renew its claim"
        return (
            f"the room's agent is alive and serving{holder}{seen}. Where two agents are wanted in "
            "one room, give them different agent names"
        )
    if reason == "outranked":
        return (
            f"an agent of the same name with a newer claim is in the room{holder}: this one leaves"
        )
    if reason == "registry_closed":
        return (
            "the claim registry could not be asked, and RUNGUARD_CLAIMS_UNREACHABLE=closed says to "
            "refuse then. `runguard-otel doctor` tries the registry"
        )
    return ""


def _span(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 60 else f"{minutes / 60:.1f} h"
