"""How fine the sound on stage is."""

from __future__ import annotations

from typing import Final

__all__ = ["SAMPLE_RATE"]

SAMPLE_RATE: Final = 16_000
"""Samples per second of everything on stage, mono, 16 bit."""
