"""Watching a holder: is it alive? The loser of a contest must find out before it leaves.

A room whose worker crashed gets a new job while the dead job's lease still runs. If that new job
left at once, nobody would serve the room. So it watches: a renewal proves the holder alive, and a
lease that ends without one is taken over.
"""

from __future__ import annotations

from runguard_otel.claims.registry import Held, Observation
from runguard_otel.claims.state import Timing
from runguard_otel.core.verdict import Clock

__all__ = ["Standby"]


class Standby:
    """What one contender has seen of the holder.

    Args:
        timing: The lease's timing.
        limit: How long to watch at most, in seconds; 0: do not watch.
        clock: Monotonic seconds.
    """

    def __init__(self, timing: Timing, limit: float, clock: Clock) -> None:
        self._timing = timing
        self._limit = limit
        self._clock = clock
        self._began = clock()
        self._seen: Held | None = None
        self._seen_at = 0.0

    @property
    def waiting(self) -> bool:
        """Whether a holder has been seen."""
        return self._seen is not None

    def waited(self) -> float:
        """Seconds since the first look at a holder; 0 if there was none."""
        return self._clock() - self._seen_at if self._seen is not None else 0.0

    def over(self) -> bool:
        """Whether the time to watch is up."""
        return self._clock() - self._began >= self._limit

    def see(self, held: Held) -> str:
        """Take note of the holder.

        Returns:
            Why to give up, or ``""`` to go on watching. Without time to watch: ``holder_fresh`` if
            the lease was renewed within the last heartbeat, else ``in_doubt``.
        """
        if self._limit <= 0:
            fresh = held.remaining is not None and held.remaining >= self._timing.fresh
            return "holder_fresh" if fresh else "in_doubt"
        first = self._seen
        if first is None:
            self._seen, self._seen_at = held, self._clock()
        elif (held.token, held.instance, held.version) != (
            first.token,
            first.instance,
            first.version,
        ):
            return "holder_alive"
        return "holder_stayed" if self.over() else ""

    def observation(self) -> Observation | None:
        """For registries that compare no clocks: what has not changed, and for how long."""
        if self._seen is None:
            return None
        return Observation(self._seen.version, self._clock() - self._seen_at)

    def pause(self, held: Held) -> float:
        """Seconds until the next look: soon, and right after the lease end if that is sooner."""
        pause = self._timing.probe
        if held.remaining is not None:
            pause = min(pause, held.remaining + 0.01)
        return max(0.01, min(pause, self._limit - (self._clock() - self._began)))
