"""Which subscription is the running code serving? Known through a context variable.

``Room.emit`` sets it around the handlers of ``track_subscribed``; tasks they start inherit it. Code
that takes tracks from a queue, or runs in a thread, does not have it and is left alone.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Hashable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, NamedTuple

__all__ = ["Place", "Subscription", "current_track", "serves_agent_session", "untracked"]


class Place(NamedTuple):
    """Where a track comes from; a republished track comes from the same place.

    Args:
        room: The room's name.
        own: Our own identity: two agents in one process never share anything.
        participant: The publisher's identity, which survives leaving and coming back.
        source: The track's source, as a word of the catalogue.
    """

    room: str
    own: str
    participant: str
    source: str


@dataclass(eq=False)
class Subscription:
    """One ``track_subscribed``.

    Args:
        place: Where the track comes from.
        report: Told once what became of it: ``opened``, ``reused`` or ``observed``.
        also_report: Told as well.
        ended: Whether the track is gone, or was subscribed again since.
        left: Whether its participant is gone as well.
        over: Whether our connection is gone as well.
        slot: Which of the place's concurrent tracks it is, from 0; -1 where that does not matter.
        outcome: What became of it; ``None`` while that is not known.
        streams: What was opened or reused for it: the stream's key, and its recogniser.
        waiting: How many leases for it do not know yet which stream they will be a handle on.
    """

    place: Place
    report: Callable[[str], None]
    also_report: Callable[[str], None] | None = None
    ended: bool = False
    left: bool = False
    over: bool = False
    waiting: int = 0
    slot: int = -1
    outcome: str | None = None
    streams: list[tuple[Hashable, Any]] = field(default_factory=list)
    _unused: bool = field(default=False, repr=False)

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
        """A lease that waited was closed before it knew."""
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


def serves_agent_session() -> bool:
    """Whether an ``AgentSession`` is opening this stream: it keeps one stream over all tracks.

    Newer releases say so in a context variable; in older ones, and for nodes that users override,
    the session's own frames are on the stack, because it drives the node.
    """
    recognition = sys.modules.get("livekit.agents.voice.audio_recognition")
    pipeline = getattr(recognition, "_STTPipelineContextVar", None)
    if pipeline is not None and pipeline.get(None) is not None:
        return True
    frame = sys._getframe(1)
    for _ in range(100):
        if str(frame.f_globals.get("__name__", "")).startswith("livekit.agents.voice."):
            return True
        if frame.f_back is None:
            return False
        frame = frame.f_back
    return False
