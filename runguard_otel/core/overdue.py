"""A state that may last so long."""

from __future__ import annotations

import math

__all__ = ["Overdue"]


class Overdue:
    """A state that may last so long. Trips once; its end re-arms it."""

    __slots__ = ("detail", "due", "limit", "since", "tripped")

    def __init__(self) -> None:
        self.since: float | None = None
        self.end()

    def begin(self, now: float, limit: float, detail: str = "") -> None:
        """The state begins, or goes on: then nothing changes."""
        if self.since is None:
            self.since, self.limit, self.detail = now, limit, detail
            self.due = now + limit if limit > 0 else math.inf

    def end(self) -> None:
        """It is over, and may begin anew."""
        self.since = None
        self.due = math.inf
        self.limit = 0.0
        self.detail = ""
        self.tripped = False

    def trip(self) -> None:
        """It has lasted too long, and this was said."""
        self.tripped = True
        self.due = math.inf
