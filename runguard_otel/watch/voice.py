"""What was found is told once: by the watcher whose turn it is. Others keep it until theirs."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple, Protocol

from runguard_otel.claims.clock import boottime
from runguard_otel.core.guards.presence import Change
from runguard_otel.core.signatures import ROOM_RECONNECT, TRACK_SUBSCRIBE
from runguard_otel.core.verdict import Clock

__all__ = ["Listener", "Voice"]

_MOST_KEPT: Final = 10_000
_OF_A_PERSON: Final = (ROOM_RECONNECT, TRACK_SUBSCRIBE)


class Listener(Protocol):
    """Hears what is told."""

    def tell(self, change: Change) -> None:
        """Something happened."""

    def opened(self, change: Change) -> None:
        """A loop that lasts, of which another watcher told when it began."""


class _Kept(NamedTuple):
    at: float
    sid: str
    change: Change


class Voice:
    """Tells of changes, or keeps them as long as another watcher may be telling the same ones.

    A loop that ends is told with the words of its beginning, so that a gauge comes back to zero.

    Args:
        listener: Hears what is told.
        consider: Told of each loop of our turn, with its room's sid; may act on it.
        clock: Seconds, the clock of whoever calls :meth:`begin` and :meth:`forget_until`.
        alone: Whether it is this watcher's turn from the beginning.
    """

    def __init__(
        self,
        listener: Listener,
        consider: Callable[[str, Change], None] = lambda sid, change: None,
        *,
        clock: Clock = boottime,
        alone: bool = True,
    ) -> None:
        self._listener = listener
        self._consider = consider
        self._clock = clock
        self._turn = alone
        self._sure = True
        self._open: dict[tuple[str, str, str], Change] = {}
        self._kept: deque[_Kept] = deque()

    @property
    def tells(self) -> bool:
        """Whether what is found now is told now."""
        return self._turn and self._sure

    @property
    def kept(self) -> int:
        """How many changes may not have been told by anybody."""
        return len(self._kept)

    def tell(self, sid: str, change: Change) -> None:
        """Something was found in the room of that sid."""
        if self.tells:
            self._say(sid, change)
            return
        self._kept.append(_Kept(self._clock(), sid, change))
        if len(self._kept) > _MOST_KEPT:
            self._note(self._kept.popleft())

    def forget_until(self, at: float) -> None:
        """Another watcher has told of all that was found before."""
        while self._kept and self._kept[0].at <= at:
            self._note(self._kept.popleft())

    def begin(self, since: float) -> None:
        """Our turn begins.

        Args:
            since: Until when another watcher is known to have told.
        """
        if self._turn:
            return
        self.forget_until(since)
        self._turn = self._sure = True
        for (sid, _, _), change in list(self._open.items()):
            self._listener.opened(change)
            self._consider(sid, change)
        self._catch_up()

    def sure(self, sure: bool) -> None:
        """Whether it is certain, within our turn, that nobody else tells."""
        self._sure = sure
        if self.tells:
            self._catch_up()

    def end(self) -> None:
        """Our turn is over: what we said of loops that last is taken back."""
        if self._turn:
            self._turn, self._sure = False, True
            for change in self._open.values():
                self._listener.tell(_over(change))

    def _catch_up(self) -> None:
        while self._kept:
            kept = self._kept.popleft()
            self._say(kept.sid, kept.change)

    def _say(self, sid: str, change: Change) -> None:
        began = self._remember(sid, change)
        if change.over:
            if began is not None:
                self._listener.tell(_over(began))
            return
        self._listener.tell(change)
        if change.trip is not None:
            self._consider(sid, change)

    def _note(self, kept: _Kept) -> None:
        self._remember(kept.sid, kept.change)

    def _remember(self, sid: str, change: Change) -> Change | None:
        """Keep what is open; returns what a change ends."""
        name = change.subject.participant if change.signature in _OF_A_PERSON else ""
        if change.signature.startswith("job_claim:"):
            name = change.agent
        key = (sid, change.signature, name)
        if change.over:
            return self._open.pop(key, None)
        if change.trip is not None:
            self._open[key] = change
        return None


def _over(began: Change) -> Change:
    return began._replace(trip=None, over=True)
