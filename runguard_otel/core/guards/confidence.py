"""Whether a reported confidence means anything."""

from __future__ import annotations

__all__ = ["known_confidence"]


def known_confidence(reported: float | None) -> float | None:
    """The confidence if it means something, else ``None``.

    LiveKit's ``SpeechData.confidence`` defaults to 0.0: many recognisers never set it, and some set
    it for a few results only (Google's sends 0.0 for "not set"). What the same recogniser said of
    other results does not tell what its 0.0 means.

    Args:
        reported: What the recogniser said. 1.0 is taken at its word; 0.0, values outside 0..1 and
            NaN mean nothing.
    """
    return reported if reported is not None and 0.0 < reported <= 1.0 else None
