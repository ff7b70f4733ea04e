"""The exceptions runguard-otel raises on purpose.

A guard that refuses something raises :class:`LoopDetectedError` or a subclass; nothing else of ours
ever reaches the host application. The LiveKit-flavoured subclass (``ReconnectLoopError``, which is
also a ``livekit.rtc.ConnectError``) lives in ``runguard_otel.adapters.agents_v1.room``, so that
this module needs nothing but the standard library.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runguard_otel.core.verdict import Trip

__all__ = ["ClaimLostError", "LoopDetectedError", "RunGuardError", "SettingsError"]


class RunGuardError(Exception):
    """Base of every exception this package raises on purpose."""


class LoopDetectedError(RunGuardError):
    """A guard has tripped, or is still open, and refuses the operation.

    Args:
        message: One sentence for people.
        trip: The evidence: guard, signature, count, window, threshold and action. ``None`` only
            when user code raises this error itself.
    """

    def __init__(self, message: str, *, trip: Trip | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.trip = trip


class ClaimLostError(RunGuardError):
    """The right to serve a room has been proven to belong to somebody else."""


class SettingsError(RunGuardError, ValueError):
    """A setting was passed to ``instrument()`` that cannot be used.

    The message names the setting and the values it takes.
    """
