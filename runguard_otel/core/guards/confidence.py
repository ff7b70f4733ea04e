"""Whether a reported confidence means anything.

LiveKit's ``SpeechData.confidence`` defaults to 0.0 and many recognisers never set it. So 0.0 means
"unknown" until the same recogniser has once reported a value strictly between 0 and 1.
"""

from __future__ import annotations

import threading
from collections import OrderedDict

__all__ = ["ConfidenceRegistry"]


class ConfidenceRegistry:
    """Which recognisers (provider, model) are known to report confidences.

    Args:
        max_recognisers: How many are remembered; the oldest is forgotten first.
    """

    def __init__(self, max_recognisers: int = 256) -> None:
        self._max = max_recognisers
        self._reporting: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._reporting)

    def known(self, provider: str, model: str, confidence: float | None) -> float | None:
        """The confidence if it means something, else ``None``.

        Args:
            provider: The recogniser's vendor.
            model: The recogniser's model.
            confidence: What it reported. 1.0 is taken at its word; values outside 0..1 and NaN mean
                nothing.
        """
        if confidence is None or not 0.0 <= confidence <= 1.0:
            return None
        key = (provider, model)
        if 0.0 < confidence < 1.0:
            if key not in self._reporting:
                with self._lock:
                    self._reporting[key] = None
                    if len(self._reporting) > self._max:
                        self._reporting.popitem(last=False)
            return confidence
        if confidence == 0.0 and key not in self._reporting:
            return None
        return confidence
