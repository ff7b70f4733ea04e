"""The claim of the job that is running here, for user code that wants its fencing token."""

from __future__ import annotations

from contextvars import ContextVar

from runguard_otel.core.ports import ClaimHandle

__all__ = ["CurrentClaim", "current_claim"]


class CurrentClaim:
    """The place for a job's claim, shared by its task and all tasks that are started from it.

    A job may claim late, from a task of its own, or again after it had given its claim back; its
    user code, which runs in other tasks, must read the newest token all the same. Setting the
    context variable anew would reach only the task that does it.

    Attributes:
        claim: The claim, ``None`` before there is one.
    """

    __slots__ = ("claim",)

    def __init__(self) -> None:
        self.claim: ClaimHandle | None = None

    @classmethod
    def of_this_job(cls) -> CurrentClaim:
        """The place of the job this runs in; made if there is none yet."""
        place = _place.get()
        if place is None:
            place = cls()
            _place.set(place)
        return place


_place: ContextVar[CurrentClaim | None] = ContextVar("runguard_claim", default=None)


def current_claim() -> ClaimHandle | None:
    """The claim of the running job; ``None`` outside a job or when claims are off.

    Its ``token`` is for your own conditional writes: a system that remembers the highest token it
    has seen and refuses lower ones cannot be written to by a job that lost its room.
    """
    place = _place.get()
    return place.claim if place is not None else None
