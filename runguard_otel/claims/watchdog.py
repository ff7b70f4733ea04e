"""Notices a lease that ran out behind the back of a blocked event loop."""

from __future__ import annotations

import logging
import threading

from runguard_otel.claims.holder import LeaseHolder
from runguard_otel.claims.state import ClaimState

__all__ = ["Watchdog"]

logger = logging.getLogger("runguard_otel")

_LONGEST_WAIT = 1.0  # seconds; a renewal moves the deadline without waking the thread


class Watchdog:
    """One daemon thread that only looks at clocks.

    Heartbeats run on the job's own loop, so that a renewal proves the agent alive. If user code
    blocks that loop, no code there can notice that the lease ends; this thread can, and says so.
    ``LeaseHolder.verified`` is already false then: it asks the clock.
    """

    def __init__(self) -> None:
        self._watched: dict[LeaseHolder, bool] = {}
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def watch(self, holder: LeaseHolder) -> None:
        """Begin to watch; starts the thread if it does not run."""
        with self._changed:
            self._watched[holder] = False
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="runguard-claim-watchdog", daemon=True
                )
                self._thread.start()
            self._changed.notify()

    def forget(self, holder: LeaseHolder) -> None:
        """Stop watching; the thread ends with the last claim."""
        with self._changed:
            self._watched.pop(holder, None)
            self._changed.notify()

    def check(self) -> list[LeaseHolder]:
        """The claims whose lease is over while their loop still believes in it, each once."""
        found = []
        for holder, flagged in list(self._watched.items()):
            over = holder.left() <= 0 and holder.state in (ClaimState.HELD, ClaimState.UNCERTAIN)
            if over and not flagged:
                found.append(holder)
            if flagged != over:
                self._watched[holder] = over
        return found

    def _run(self) -> None:
        with self._changed:
            while self._watched:
                for holder in self.check():
                    logger.error(
                        "the event loop of job %s is blocked and its claim has run out: another "
                        "worker may serve the room now",
                        holder.who.job_id,
                    )
                left = [holder.left() for holder in self._watched]
                ahead = [seconds for seconds in left if seconds > 0]
                self._changed.wait(min([_LONGEST_WAIT, *(s + 0.05 for s in ahead)]))
            self._thread = None
