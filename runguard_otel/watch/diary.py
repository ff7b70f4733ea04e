"""The journal of the server's view: a history per room, as ``timeline`` and ``replay`` read them.

A room's history has what its agents-alone policy was told, so that it can be judged again, what was
found, and what the room cost. Names are hashed as on spans. What a room came to is appended to its
file every few seconds, and no file stays open: thousands of rooms would be thousands of files.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from typing import Any, Final

from runguard_otel.core.guards.overrun import JobPolicy
from runguard_otel.core.guards.presence import Change
from runguard_otel.core.signatures import guard_of
from runguard_otel.core.verdict import Clock, Mode, Outcome, Subject
from runguard_otel.journal.book import Book, files_of, name_of
from runguard_otel.journal.record import Put, Tail, expand
from runguard_otel.journal.recorder import TapedRecorder
from runguard_otel.journal.taped import TapedPolicies
from runguard_otel.settings import Settings
from runguard_otel.watch.fleet import Fleet

__all__ = ["Diary"]

_NOT_SEEN: Final[dict[str, Any]] = {
    "session_overrun_silent_seconds": 0,
    "session_overrun_close_seconds": 0,
    "session_overrun_session_seconds": 0,
}
"""Settings of what shows in an agent only: a replay must not look for it."""


class _Nobody:
    """Hears what a taped recorder hands on; that is told elsewhere."""

    def event(self, *_: Any, **__: Any) -> None: ...

    def trip(self, *_: Any, **__: Any) -> None: ...

    def guard_opened(self, *_: Any) -> None: ...

    def guard_closed(self, *_: Any) -> None: ...

    def add(self, *_: Any, **__: Any) -> None: ...

    def observe(self, *_: Any, **__: Any) -> None: ...

    def bind(self, *_: Any, **__: Any) -> Callable[[float], None]:
        return lambda amount: None

    def internal_error(self, where: str) -> None: ...


class _Page:
    """The history of one life of a room."""

    def __init__(self, settings: Settings, sid: str, diary: Diary) -> None:
        self.lines: list[bytes] = []
        self.name, self.header = "", b""
        book = Book(
            settings, self._tape, lambda: sid, lambda: "", diary.lost, diary.release, diary.clock
        )
        self.policies = TapedPolicies(settings, book)
        self.recorder = TapedRecorder(_Nobody(), book, diary.hash_name, diary.clock)
        self.book = book

    def _tape(self) -> Put:
        return self._take

    def _take(self, head: bytes, tail: Tail) -> None:
        line = expand(head + tail[0])
        if not self.name:
            self.name = f"{name_of(json.loads(line))}-{os.getpid()}"
            self.header = line
        else:
            self.lines.append(line)


class Diary:
    """Keeps the histories of a server's rooms.

    Args:
        settings: ``journal`` and its bounds, and the thresholds of a room's agents alone.
        hash_name: A short word that groups a name, and does not tell it.
        lost: Counts lines that could not be kept.
        acts: What is done about a signature; what is not named is only observed.
        release: Ours, for whoever reads it later.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        settings: Settings,
        hash_name: Callable[[str], str],
        lost: Callable[[int], None],
        *,
        acts: Mapping[str, str],
        release: str,
        clock: Clock,
    ) -> None:
        self.hash_name, self.lost, self.release = hash_name, lost, release
        self._settings = Settings.load(settings, **_NOT_SEEN)
        self._acts = acts
        self.clock = clock
        self._files = files_of(settings, lost)
        self._pages: dict[str, _Page] = {}

    def alone(self, sid: str, name: str) -> JobPolicy:
        """The judge of agents alone in a room that begins now; it writes down what it is told."""
        page = self._pages[sid] = _Page(self._settings, sid, self)
        return page.policies.job(Subject(room=name), lambda: True, self.clock)

    def told(self, sid: str, change: Change) -> None:
        """Something was found in the room of that sid."""
        page = self._pages.get(sid)
        if page is None:
            return
        recorder, guard = page.recorder, str(guard_of(change.signature))
        mode = str(Mode.ENFORCE if change.signature in self._acts else Mode.OBSERVE)
        if change.over:
            recorder.guard_closed(guard, change.signature, mode)
            return
        recorder.event(change.signature, Outcome.OBSERVED, change.subject)
        if change.trip is not None:
            recorder.trip(change.trip)
            recorder.guard_opened(guard, change.signature, mode)

    def booked(self, sid: str, metric: str, amount: float, labels: Mapping[str, str]) -> None:
        """What a room cost was counted."""
        page = self._pages.get(sid)
        if page is not None:
            page.recorder.add(metric, amount, **labels)

    def look(self, fleet: Fleet) -> None:
        """Write what has come up since the last look; end the histories of rooms that are over."""
        for sid, page in list(self._pages.items()):
            over = sid not in fleet
            if over:
                del self._pages[sid]
                page.book.put({"t": self.clock(), "e": "end", "outcome": "clean"})
            self._write(page)

    def close(self, timeout: float = 2.0) -> None:
        """Write out what waits, within ``timeout`` seconds."""
        for page in self._pages.values():
            self._write(page)
        self._files.stop(timeout)

    def _write(self, page: _Page) -> None:
        if page.lines:
            lines, page.lines = page.lines, []
            self._files.put(page.name, [page.header, *lines])  # each time a part of its own
            self._files.close(page.name)
