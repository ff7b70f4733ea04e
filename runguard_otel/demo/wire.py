"""What a storm reports: one JSON object per line, appended to a file.

A storm runs in a process of its own, so that what one does to ``livekit`` cannot disturb another;
one of them starts more processes. All of a run append to one file. Without one (a storm started by
hand) the lines go to standard output.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass, field
from typing import Any

from runguard_otel.core.verdict import Trip
from runguard_otel.demo.usage import Used

__all__ = ["EVENTS_FILE", "Event", "Report"]

EVENTS_FILE = "STAGE_EVENTS"


@dataclass(frozen=True)
class Event:
    """One line.

    Args:
        kind: ``ready``, ``input`` (what the world did), ``note`` (what the application did),
            ``signature``, ``trip``, ``used`` (a process's totals so far), ``served`` or ``done``.
        at: Seconds since its run began.
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
    """Writes events. Several processes may share the file: each line is one small append.

    Args:
        path: The file; by default the one that :data:`EVENTS_FILE` names.
        began: Zero of the time scale, in ``time.monotonic()`` seconds, which all processes share.
    """

    def __init__(self, path: str = "", began: float | None = None) -> None:
        self.began = time.monotonic() if began is None else began
        self._last: Used | None = None
        path = path or os.environ.get(EVENTS_FILE, "")
        append = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        self._descriptor = os.open(path, append, 0o600) if path else 1

    def ready(self) -> None:
        """Everything is set up: the storm begins now."""
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
            self._write("used", "", who=os.getpid(), **used.as_dict())

    def served(self, served: int, of: int) -> None:
        """How many of the user's sentences were understood, and how many there were."""
        self._write("served", "", served=served, of=of)

    def done(self, used: Used) -> None:
        """The storm is over; these are the totals of this process."""
        self.used(used)
        self._write("done", "")

    def _write(self, kind: str, text: str, **data: Any) -> None:
        at = round(time.monotonic() - self.began, 3)
        line = json.dumps({"kind": kind, "at": at, "text": text, "data": data})
        os.write(self._descriptor, line.encode() + b"\n")
