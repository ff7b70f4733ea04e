"""Raises the thresholds of a voice detector and gives them back.

Detector objects are often shared: a worker prewarms one for all its sessions. So what was raised is
held per object: the first session in a storm raises it, the last one to recover restores it.
"""

from __future__ import annotations

import inspect
import threading
import weakref
from dataclasses import dataclass, field
from typing import Any, Final

__all__ = ["VADThresholds"]

_CEILING: Final = 0.95
"""Silero still hears clear speech at this threshold, and nothing above it."""
_NAMES: Final = ("activation_threshold", "deactivation_threshold")


@dataclass
class _Raised:
    before: dict[str, float]
    during: dict[str, float]
    holders: set[int] = field(default_factory=set)


class VADThresholds:
    """What is raised right now, by detector."""

    def __init__(self) -> None:
        self._raised: weakref.WeakKeyDictionary[Any, _Raised] = weakref.WeakKeyDictionary()
        self._lock = threading.Lock()

    def raise_by(self, vad: Any, amount: float, holder: int) -> bool:
        """Raise both thresholds of ``vad`` while ``holder`` needs it.

        Raising the activation threshold alone would leave the deactivation threshold where it is,
        and noise that once got over the first would still hold the segment open.

        Args:
            vad: Any ``livekit.agents.vad.VAD``; one without thresholds is left alone.
            amount: From 0 to 1.
            holder: Who needs it, for counting.

        Returns:
            Whether the thresholds are raised now.
        """
        with self._lock:
            raised = self._raised.get(vad) if vad is not None else None
            if raised is None:
                before = _thresholds(vad)
                if not before or amount <= 0:
                    return False
                during = {name: max(v, min(_CEILING, v + amount)) for name, v in before.items()}
                vad.update_options(**during)
                raised = self._raised[vad] = _Raised(before, during)
            raised.holders.add(holder)
            return True

    def release(self, vad: Any, holder: int) -> bool:
        """``holder`` no longer needs it; the last one restores what was before.

        A threshold that the application changed meanwhile is left as the application wants it.

        Returns:
            Whether the thresholds were restored.
        """
        with self._lock:
            raised = self._raised.get(vad) if vad is not None else None
            if raised is None:
                return False
            raised.holders.discard(holder)
            if raised.holders:
                return False
            del self._raised[vad]
            now = _thresholds(vad)
            ours = {n: v for n, v in raised.before.items() if now.get(n) == raised.during[n]}
            if ours:
                vad.update_options(**ours)
            return bool(ours)


def _thresholds(vad: Any) -> dict[str, float]:
    """The thresholds that ``vad`` has and lets us change."""
    update = getattr(vad, "update_options", None)
    options = getattr(vad, "_opts", None)
    if update is None or options is None:
        return {}
    known = inspect.signature(update).parameters
    values = {name: getattr(options, name, None) for name in _NAMES if name in known}
    return {name: value for name, value in values.items() if isinstance(value, int | float)}
