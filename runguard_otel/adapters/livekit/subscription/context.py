"""Which subscription is the running code serving? Known through a context variable.

``Room.emit`` sets it around the handlers of ``track_subscribed``; tasks they start inherit it. Code
that takes tracks from a queue, or runs in a thread, does not have it and is left alone.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Hashable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from runguard_otel.adapters.livekit.facts.room import TrackOrigin

__all__ = ["Subscription", "current_track", "untracked"]


@dataclass(eq=False)
class Subscription:
    """One ``track_subscribed``.

    Args:
        origin: Where the track comes from.
        report: Told once what became of it: ``opened``, ``reused`` or ``observed``.
        also_report: Told as well.
        ended: Whether the track is gone, or was subscribed again since.
        left: Whether its participant is gone as well.
        over: Whether our connection is gone as well.
        slot: Which of the origin's concurrent tracks it is, from 0; -1 where that does not matter.
        outcome: What became of it; ``None`` while that is not known.
        streams: What was opened or reused for it: the stream's key, and its recogniser.
        began: When, in monotonic seconds.
        waiting: How many handles for it do not know their stream yet.
    """

    origin: TrackOrigin
    report: Callable[[str], None]
    also_report: Callable[[str], None] | None = None
    ended: bool = False
    left: bool = False
    over: bool = False
    began: float = 0.0
    waiting: int = 0
    slot: int = -1
    outcome: str | None = None
    streams: list[tuple[Hashable, Any]] = field(default_factory=list)
    opened: list[Callable[[], bool]] = field(default_factory=list, repr=False)
    """One per STT stream that was opened for it: is it still open?"""
    readers: list[Callable[[], bool]] = field(default_factory=list, repr=False)
    """One per reader of its audio: does it still read?"""
    _unused: bool = field(default=False, repr=False)

    @property
    def in_use(self) -> bool:
        """Whether what was opened for it is still open; readers matter where there is no stream."""
        return any(still() for still in self.opened or self.readers)

    def resolve(self, outcome: str) -> None:
        """Say what became of it; only the first answer counts."""
        if self.outcome is None:
            self.outcome = outcome
            self.report(outcome)
            if self.also_report is not None:
                self.also_report(outcome)

    def unused(self) -> None:
        """No stream was opened for it in time; unless one is being waited for, that is final."""
        self._unused = True
        if not self.waiting:
            self.resolve("observed")

    def abandoned(self) -> None:
        """A handle that waited was closed before it knew."""
        self.waiting -= 1
        if self._unused:
            self.unused()


current_track: ContextVar[Subscription | None] = ContextVar("runguard_track", default=None)


@contextlib.contextmanager
def untracked() -> Iterator[None]:
    """Run what opens a real stream, so that streams inside it (adapters, tasks) stay real."""
    token = current_track.set(None)
    try:
        yield
    finally:
        current_track.reset(token)
