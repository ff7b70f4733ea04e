"""Notices a lease that ran out behind the back of a blocked event loop."""

from __future__ import annotations

import logging
import threading

from runguard_otel.claims.keeper import ClaimKeeper
from runguard_otel.claims.state import ClaimState

__all__ = ["Watchdog"]

logger = logging.getLogger("runguard_otel")

_LONGEST_WAIT = 1.0  # seconds; a renewal moves the deadline without waking the thread


class Watchdog:
    """One daemon thread that only looks at clocks.

    Heartbeats run on the job's own loop, so that a renewal proves the agent alive. If user code
    blocks that loop, nobody there can notice that the lease ends; this thread can, and says so.
    ``ClaimKeeper.verified`` is already false then: it asks the clock.
    """

    def __init__(self) -> None:
        self._watched: dict[ClaimKeeper, bool] = {}
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def watch(self, keeper: ClaimKeeper) -> None:
        """Begin to watch; starts the thread if it does not run."""
        with self._changed:
            self._watched[keeper] = False
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="runguard-claim-watchdog", daemon=True
                )
                self._thread.start()
            self._changed.notify()

    def forget(self, keeper: ClaimKeeper) -> None:
        """Stop watching; the thread ends with the last claim."""
        with self._changed:
            self._watched.pop(keeper, None)
            self._changed.notify()

    def check(self) -> list[ClaimKeeper]:
        """The claims whose lease is over while their loop still believes in it, each once."""
        found = []
        for keeper, flagged in list(self._watched.items()):
            over = keeper.left() <= 0 and keeper.state in (ClaimState.HELD, ClaimState.UNCERTAIN)
            if over and not flagged:
                found.append(keeper)
            if flagged != over:
                self._watched[keeper] = over
        return found

    def _run(self) -> None:
        with self._changed:
            while self._watched:
                for keeper in self.check():
                    logger.error(
                        "the event loop of job %s is blocked and its claim has run out: another "
                        "worker may serve the room now",
                        keeper.who.job_id,
                    )
                left = [keeper.left() for keeper in self._watched]
                ahead = [seconds for seconds in left if seconds > 0]
                self._changed.wait(min([_LONGEST_WAIT, *(s + 0.05 for s in ahead)]))
            self._thread = None
