"""The exceptions runguard-otel raises on purpose.

A guard that refuses something raises :class:`LoopDetectedError` or a subclass; nothing else of ours
ever reaches the host application. The subclass for rooms, ``ReconnectLoopError``, is a
``livekit.rtc.ConnectError`` as well; it is made when it is first asked for, because everything else
here needs nothing but the standard library.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from livekit import rtc

    from runguard_otel.core.verdict import Trip

__all__ = [
    "ClaimLostError",
    "LoopDetectedError",
    "ReconnectLoopError",
    "RunGuardError",
    "SettingsError",
]


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


if TYPE_CHECKING:

    class ReconnectLoopError(LoopDetectedError, rtc.ConnectError):
        """A connect that was refused because the application reconnects in a loop.

        An ``except rtc.ConnectError`` written for a failed connect catches it, too.
        """

else:

    def __getattr__(name: str) -> type[LoopDetectedError]:
        if name != "ReconnectLoopError":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from livekit import rtc

        bases = (LoopDetectedError, rtc.ConnectError)
        body = {
            "__module__": __name__,
            "__doc__": "A connect that was refused because the application reconnects in a loop.",
        }
        # Two threads may both get here; whoever is second uses what the first one made.
        return globals().setdefault(name, type(name, bases, body))
