"""Stand-ins for what cannot be on a laptop: paid providers and the LiveKit server.

Used by the demonstration and by the tests. Everything else on stage is real.
"""

from typing import Final

__all__ = ["SAMPLE_RATE"]

SAMPLE_RATE: Final = 16_000
"""Samples per second of everything on stage, mono, 16 bit."""
