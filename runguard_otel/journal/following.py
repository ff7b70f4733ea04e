"""The calls that run on this host, read again as their files grow."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from runguard_otel.core.verdict import Clock
from runguard_otel.journal.reading import History, UnreadableError, files_in, grouped
from runguard_otel.journal.schema import Row
from runguard_otel.journal.timeline import Timeline

__all__ = ["Following"]

_SLACK_SECONDS: Final = 5.0
"""By how much the clocks of a header and of the system's process table may differ."""


class Following:
    """Looks at journals again and again; reads only what has changed, and what is over but once.

    Files may come, grow, be rotated and be removed at any time, and a folder may hold what is no
    journal: none of that is said, for the next look is a second away.

    Args:
        paths: Files, or folders, which need not be there yet.
        clock: Monotonic seconds, as the lines have them.
    """

    def __init__(self, paths: Sequence[Path], clock: Clock = time.monotonic) -> None:
        self._paths = paths
        self._clock = clock
        self._over: set[Path] = set()
        self._known: dict[Path, tuple[list[tuple[Path, int]], Timeline]] = {}

    def look(self) -> list[Timeline]:
        """The calls that run now: those that trouble first, then those that cost most."""
        calls = []
        for place, parts in grouped(files_in(self._paths, missing=lambda path: None)).items():
            if place in self._over:
                continue
            try:
                call = self._read(place, parts)
            except (UnreadableError, OSError):
                continue
            if call is None or call.ended:
                self._over.add(place)
                self._known.pop(place, None)
            elif call.history.header.get("job") or {lane.name for lane in call.lanes} - {"claims"}:
                calls.append(call)  # else: what a worker itself has to tell, which is no call
        return sorted(calls, key=lambda call: (not call.open_guards, -call.money.total))

    def _read(self, place: Path, parts: list[Path]) -> Timeline | None:
        """A call as it is now, or ``None`` if its process is gone."""
        sizes = [(path, path.stat().st_size) for path in parts]
        before, call = self._known.get(place, (None, None))
        if call is None or before != sizes:
            history = History(place.name, parts)
            if not _runs(history.header, self._clock()):
                return None
            call = Timeline.of(history)
            self._known[place] = sizes, call
        return call if _runs(call.history.header, self._clock()) else None


def _runs(header: Row, now: float) -> bool:
    """Whether the process that began this history is there, and no other one of its number."""
    age = now - float(header["t"])
    try:
        process = int(header["process"])
        if process <= 0 or age < -_SLACK_SECONDS:  # of another boot
            return False
        os.kill(process, 0)
    except PermissionError:
        pass
    except (ProcessLookupError, KeyError, ValueError, OverflowError):
        return False
    lived = _lived(process)
    return lived is None or age <= lived + _SLACK_SECONDS


def _lived(process: int) -> float | None:
    """How many seconds ago a process began, where the system says so.

    Its clock goes on while the system sleeps, unlike that of the lines: never too short.
    """
    try:
        with open(f"/proc/{process}/stat", encoding="ascii", errors="replace") as file:
            ticks = int(file.read().rpartition(")")[2].split()[19])  # starttime: see proc(5)
        return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError, AttributeError):
        return None
