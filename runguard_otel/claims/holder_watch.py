"""Watching a holder: does it live, and does it still serve? The loser of a contest must know.

A room whose worker crashed gets a new job while the dead job's lease still runs. If that new job
left at once, the room would have no agent. So it watches: a lease that ends without a renewal is
taken over, and a holder that renews it lives.

One renewal is no proof that it serves. LiveKit may tell an agent only after five seconds that its
caller is gone; until then it renews in good faith. So does one whose event loop was blocked, before
it hears of anything. What counts is one and the same holder that renews steadily for longer, unless
a witness knows more: whoever asks the server itself.
"""

from __future__ import annotations

from math import inf

from runguard_otel.claims.registry import Held, Observation
from runguard_otel.claims.state import Timing
from runguard_otel.core.verdict import Clock

__all__ = ["HolderWatch"]

_LATE_BEAT = 1.5
"""Heartbeats without a renewal after which a holder did not run for a while."""

_FOR_EVER = 86_400.0  # seconds; longer than any lease


class HolderWatch:
    """What one contender has seen of the holder.

    Args:
        timing: The lease's timing.
        clock: Monotonic seconds.
    """

    def __init__(self, timing: Timing, clock: Clock) -> None:
        self._timing = timing
        self._clock = clock
        self._seen: Held | None = None
        self._began = 0.0
        self._steady_since = 0.0
        self._unchanged_since = 0.0
        self._answered = 0.0

    def waited(self) -> float:
        """Seconds since the first look at a holder; 0 if there was none."""
        return self._clock() - self._began if self._seen is not None else 0.0

    @property
    def lived(self) -> float:
        """When the holder last showed that it lives; minus infinity if there was none."""
        return self._unchanged_since if self._seen is not None else -inf

    @property
    def answered(self) -> float:
        """When the registry last said that somebody holds it; minus infinity if it never did."""
        return self._answered if self._seen is not None else -inf

    def blind(self) -> bool:
        """Whether nothing is known of the holder: it was never seen, or not for a whole lease."""
        return self._seen is None or self._clock() - self._answered >= self._timing.ttl

    def see(self, held: Held, *, serves: bool | None = None) -> bool:
        """Take note of the holder.

        Args:
            held: What the registry says.
            serves: What a witness says of it right now; ``None``: nothing.

        Returns:
            Whether it is known to live and to serve.
        """
        now, before = self._clock(), self._seen
        self._seen, self._answered = held, now
        if before is None:
            self._began = self._steady_since = self._unchanged_since = now
            return False
        if _mark(held) == _mark(before):
            return False
        late = now - self._unchanged_since > _LATE_BEAT * self._timing.heartbeat
        if late or held.reserved or held.token != before.token:
            self._steady_since = now
        self._unchanged_since = now
        if held.reserved or serves is False:
            return False
        return serves is True or now - self._steady_since >= self._timing.notice

    def observation(self) -> Observation | None:
        """What has not changed, and for how long on our own clock."""
        if self._seen is None:
            return None
        unchanged = self._clock() - self._unchanged_since
        return Observation(self._seen.token, self._seen.version, unchanged)

    def as_if_run_out(self) -> Observation | None:
        """As :meth:`observation`, for a holder without a caller: its lease need not run out."""
        if self._seen is None or self._seen.reserved:
            return None
        return Observation(self._seen.token, self._seen.version, _FOR_EVER)

    def pause(self, held: Held) -> float:
        """Seconds until the next look: soon, and right after the lease end if that is sooner."""
        if held.remaining is None:
            return self._timing.probe
        return max(0.01, min(self._timing.probe, held.remaining + 0.01))


def _mark(held: Held) -> tuple[int, str, str]:
    return held.token, held.instance, held.version
