"""What a storm tells the audience: one JSON object per line, written to standard output.

A storm runs in a process of its own (and one of them starts more processes, which write to the same
pipe), so that what one does to ``livekit`` cannot disturb another.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass, field
from typing import Any

from runguard_otel.core.verdict import Trip
from runguard_otel.demo.usage import Used

__all__ = ["Event", "Report"]


@dataclass(frozen=True)
class Event:
    """One line.

    Args:
        kind: ``ready``, ``input`` (what the world did), ``note`` (what the application did),
            ``signature``, ``trip``, ``used`` (totals so far) or ``done``.
        at: Seconds since the storm began.
        text: For people.
        data: The rest.
    """

    kind: str
    at: float
    text: str = ""
    data: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, line: bytes) -> Event | None:
        """Read a line; ``None`` for anything else that ended up on standard output."""
        try:
            found = json.loads(line)
            return cls(found["kind"], float(found["at"]), found["text"], found["data"])
        except (ValueError, KeyError, TypeError):
            return None


class Report:
    """Writes events. Several processes may share the pipe: each line is one small write.

    Args:
        began: When the storm began, in ``time.monotonic()`` seconds (which all processes share).
        descriptor: Where to write.
    """

    def __init__(self, began: float | None = None, descriptor: int = 1) -> None:
        self.began = time.monotonic() if began is None else began
        self._descriptor = descriptor
        self._last: Used | None = None

    def ready(self) -> None:
        """Everything is set up: the storm begins now."""
        self.began = time.monotonic()
        self._write("ready", "")

    def input(self, text: str) -> None:
        """What the world did."""
        self._write("input", text)

    def note(self, text: str) -> None:
        """What the application did."""
        self._write("note", text)

    def signature(self, signature: str, outcome: str) -> None:
        """What the guards saw."""
        self._write("signature", f"{signature} {outcome}", signature=signature, outcome=outcome)

    def trip(self, trip: Trip) -> None:
        """A guard tripped."""
        self._write(
            "trip",
            trip.explain(),
            guard=str(trip.guard),
            signature=trip.signature,
            key=trip.signature_with_key,
            count=trip.count,
            window_seconds=trip.window_seconds,
            threshold=trip.threshold,
            mode=str(trip.mode),
            action=trip.action,
            evidence=[[e.signature, round(e.seconds_before, 2), e.detail] for e in trip.evidence],
        )

    def used(self, used: Used) -> None:
        """Totals so far; written only when they changed."""
        if used != self._last:
            self._last = used
            self._write("used", "", **used.as_dict())

    def done(self, used: Used) -> None:
        """The storm is over."""
        self._write("done", "", **used.as_dict())

    def _write(self, kind: str, text: str, **data: Any) -> None:
        at = round(time.monotonic() - self.began, 3)
        line = json.dumps({"kind": kind, "at": at, "text": text, "data": data})
        os.write(self._descriptor, line.encode() + b"\n")
