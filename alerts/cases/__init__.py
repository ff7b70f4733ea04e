"""What each alert must do over time, and what must stay silent, told in ``promtool``'s terms."""

from __future__ import annotations

from .loops import loop_cases
from .silent import SILENCES
from .state import state_cases

__all__ = ["CASES", "SILENCES"]

CASES = (*loop_cases(), *state_cases())
"""Every alert fires in one of these, at the minutes said and at no others."""
