"""The claim of the job that is running here, for user code that wants its fencing token."""

from __future__ import annotations

from contextvars import ContextVar

from runguard_otel.core.ports import ClaimHandle

__all__ = ["current_claim", "set_current_claim"]

_current: ContextVar[ClaimHandle | None] = ContextVar("runguard_claim", default=None)


def current_claim() -> ClaimHandle | None:
    """The claim of the running job; ``None`` outside a job or when claims are off.

    Its ``token`` is for your own conditional writes: a system that remembers the highest token it
    has seen and refuses lower ones cannot be written to by a job that lost its room.
    """
    return _current.get()


def set_current_claim(claim: ClaimHandle | None) -> None:
    """Set it for this task and the tasks it starts."""
    _current.set(claim)
