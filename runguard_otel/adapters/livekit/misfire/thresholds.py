"""Raises the thresholds of a voice detector and gives them back.

Detector objects are often shared: a worker prewarms one, and every participant's session gets it.
One noisy participant must not make the others harder to hear. So a detector is raised only while
every session that hears with it is in a storm, and restored as soon as one of them recovers.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from runguard_otel.adapters.livekit.facts.models import detector_thresholds

__all__ = ["VADThresholds"]

_CEILING: Final = 0.95
"""Silero still hears clear speech at this threshold, and nothing above it."""


@dataclass
class _Raised:
    before: dict[str, float]
    during: dict[str, float]


class VADThresholds:
    """Which sessions are in a storm, and what is raised right now, by detector.

    Args:
        users: How many live sessions hear with a detector.
    """

    def __init__(self, users: Callable[[Any], int] = lambda _: 1) -> None:
        self._users = users
        self._raised: weakref.WeakKeyDictionary[Any, _Raised] = weakref.WeakKeyDictionary()
        self._holders: weakref.WeakKeyDictionary[Any, set[int]] = weakref.WeakKeyDictionary()
        self._lock = threading.Lock()

    def raise_by(self, vad: Any, amount: float, holder: int) -> bool:
        """Raise both thresholds of ``vad`` while ``holder`` needs it and none the opposite.

        Raising the activation threshold alone would leave the deactivation threshold where it is,
        and noise that once got over the first would still hold the segment open.

        Args:
            vad: Any ``livekit.agents.vad.VAD``; one without thresholds is left alone.
            amount: From 0 to 1.
            holder: Who needs it, for counting.

        Returns:
            Whether ``holder`` must release it.
        """
        users = self._users(vad)
        with self._lock:
            before = detector_thresholds(vad) if vad is not None and amount > 0 else {}
            if not before:
                return False
            holders = self._holders.setdefault(vad, set())
            holders.add(holder)
            if vad not in self._raised and len(holders) >= users:
                during = {name: max(v, min(_CEILING, v + amount)) for name, v in before.items()}
                vad.update_options(**during)
                self._raised[vad] = _Raised(before, during)
            return True

    def release(self, vad: Any, holder: int) -> bool:
        """``holder`` no longer needs it: restore what was before, for it must be heard as before.

        A threshold that the application changed meanwhile is left as the application wants it.

        Returns:
            Whether the thresholds were restored.
        """
        with self._lock:
            holders = self._holders.get(vad, set()) if vad is not None else set()
            if holder not in holders:
                return False
            holders.discard(holder)
            return self._restore(vad)

    def joined(self) -> None:
        """A session has begun: what is raised and also hears for it is restored."""
        with self._lock:
            raised = list(self._raised)
        for vad in raised:
            users = self._users(vad)
            with self._lock:
                if users > len(self._holders.get(vad, ())):
                    self._restore(vad)

    def _restore(self, vad: Any) -> bool:
        raised = self._raised.pop(vad, None)
        if raised is None:
            return False
        now = detector_thresholds(vad)
        ours = {n: v for n, v in raised.before.items() if now.get(n) == raised.during[n]}
        if ours:
            vad.update_options(**ours)
        return bool(ours)
