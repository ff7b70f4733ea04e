"""Which of a participant's tracks does a new one stand for? Several at a time are no flapping.

Four microphones at once take four slots, each of which is judged on its own. A track that comes
when another has ended takes that one's slot. A real server announces a new track up to 160 ms
before it says that the old one is gone: so a track that comes beside others is judged a moment
later, in the slot of the one that ended meanwhile, or in one of its own.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from runguard_otel.adapters.livekit.facts.room import TrackOrigin
from runguard_otel.adapters.livekit.subscription.context import Subscription
from runguard_otel.adapters.livekit.subscription.patience import PatientTimer
from runguard_otel.adapters.safety import shield
from runguard_otel.core.ports import Recorder

__all__ = ["TrackSlots"]


@dataclass(eq=False)
class _Undecided:
    subscription: Subscription
    judge: Callable[[], None]
    may_replace: tuple[Subscription, ...]
    timer: PatientTimer | None = None


class TrackSlots:
    """Gives every subscription its slot and has it judged, once.

    Args:
        recorder: Where failures of our own go.
        grace_seconds: How late the end of a track may be announced.
    """

    def __init__(self, recorder: Recorder, grace_seconds: float) -> None:
        self._recorder = recorder
        self._grace_seconds = grace_seconds
        self._lock = threading.Lock()
        self._undecided: dict[TrackOrigin, list[_Undecided]] = {}

    def begin(
        self, subscription: Subscription, live: Iterable[Subscription], judge: Callable[[], None]
    ) -> None:
        """A track was subscribed.

        Args:
            subscription: That one.
            live: The subscriptions of the same room that have not ended.
            judge: Called when its slot is known.
        """
        origin = subscription.origin
        here = [s for s in live if s.origin == origin]
        taken = {s.slot for s in here}
        subscription.slot = next(n for n in range(len(taken) + 1) if n not in taken)
        if not subscription.slot or not self._grace_seconds:
            judge()
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            judge()
            return
        with self._lock:
            line = self._undecided.setdefault(origin, [])
            # One that is undecided itself is new: its end is no reason for another new one.
            unsure = [one.subscription for one in line]
            undecided = _Undecided(subscription, judge, tuple(s for s in here if s not in unsure))
            line.append(undecided)
        undecided.timer = PatientTimer(loop, self._grace_seconds, lambda: self._stays(undecided))

    def end(self, subscription: Subscription) -> None:
        """A track is gone: the first that may have come for it takes its slot."""
        with self._lock:
            line = list(self._undecided.get(subscription.origin, ()))
        for undecided in line:
            if undecided.subscription is subscription:
                self._stays(undecided)
                return
        for undecided in line:
            if subscription in undecided.may_replace:
                undecided.subscription.slot = subscription.slot
                self._stays(undecided)
                return

    def settle(self) -> None:
        """What is known now is final."""
        with self._lock:
            left = [one for line in self._undecided.values() for one in line]
        for undecided in left:
            self._stays(undecided)

    def _stays(self, undecided: _Undecided) -> None:
        origin = undecided.subscription.origin
        with self._lock:
            line = self._undecided.get(origin, [])
            if undecided not in line:
                return
            line.remove(undecided)
            if not line:
                del self._undecided[origin]
        if undecided.timer is not None:
            undecided.timer.cancel()
        with shield(self._recorder, "Room.emit"):
            undecided.judge()
