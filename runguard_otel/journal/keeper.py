"""The worker's side: tapes of jobs become files; what it counts for a job itself joins them."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from runguard_otel.core.verdict import Clock
from runguard_otel.cost.lasting import Booking
from runguard_otel.journal.book import name_of, to_line
from runguard_otel.journal.files import Files
from runguard_otel.journal.record import expand
from runguard_otel.journal.schema import Row

__all__ = ["Keeper"]

BOOK_SECONDS: Final = 5.0
"""How late what an open connection or stream costs may be in the journal."""

Amounts = dict[tuple[str, tuple[tuple[str, str], ...]], float]


@dataclass
class _Job:
    name: str
    amounts: Amounts = field(default_factory=dict)
    booked: float = 0.0


class Keeper:
    """A keeper of the hub's tapes.

    Args:
        open_files: The folder; asked when the first line comes.
        clock: Monotonic seconds, as the jobs' lines have them.
    """

    def __init__(self, open_files: Callable[[], Files], clock: Clock = time.monotonic) -> None:
        self._open_files = open_files
        self._clock = clock
        self._files: Files | None = None
        self._jobs: dict[tuple[int, int], _Job] = {}
        self._by_id: dict[str, _Job] = {}
        self._lock = threading.RLock()

    def kept(self, tape: tuple[int, int], lines: list[bytes]) -> None:
        """See :class:`~runguard_otel.telemetry.hub.tape.TapeKeeper`."""
        with self._lock:
            job = self._jobs.get(tape) or self._begin(tape, lines[0])
            self._put(job, [expand(line) for line in lines])

    def lost(self, tape: tuple[int, int], number: int) -> None:
        """See :class:`~runguard_otel.telemetry.hub.tape.TapeKeeper`."""
        with self._lock:
            job = self._jobs.get(tape)
            if job is not None:
                self._row(job, {"e": "lost", "lines": number})

    def ended(self, tape: tuple[int, int], outcome: str) -> None:
        """See :class:`~runguard_otel.telemetry.hub.tape.TapeKeeper`."""
        with self._lock:
            job = self._jobs.pop(tape, None)
            if job is None:
                return
            self._book(job)
            self._row(job, {"e": "end", "outcome": outcome})
            self._by_id = {i: j for i, j in self._by_id.items() if j is not job}
            if self._files is not None:
                self._files.close(job.name)

    def booked(self, bookings: Sequence[Booking]) -> None:
        """The worker counted costs of what lasts in its jobs."""
        with self._lock:
            for booking in bookings:
                job = self._by_id.get(booking.job)
                if job is not None:
                    key = (booking.metric, tuple(booking.labels.items()))
                    job.amounts[key] = job.amounts.get(key, 0.0) + booking.amount
            now = self._clock()
            for job in self._by_id.values():
                if job.amounts and now - job.booked >= BOOK_SECONDS:
                    self._book(job)

    def close(self, timeout: float = 2.0) -> None:
        """Write out what waits, within ``timeout`` seconds."""
        with self._lock:
            files, self._files = self._files, None
        if files is not None:
            files.stop(timeout)

    def _begin(self, tape: tuple[int, int], first: bytes) -> _Job:
        header = json.loads(first)
        job = self._jobs[tape] = _Job(name_of(header))
        job.booked = self._clock()
        if header.get("job"):
            self._by_id[header["job"]] = job
        return job

    def _book(self, job: _Job) -> None:
        amounts, job.amounts, job.booked = job.amounts, {}, self._clock()
        for (metric, labels), amount in amounts.items():
            self._row(job, {"e": "count", "metric": metric, **dict(labels), "amount": amount})

    def _row(self, job: _Job, row: Row) -> None:
        self._put(job, [to_line({"t": self._clock(), **row})])

    def _put(self, job: _Job, lines: list[bytes]) -> None:
        if self._files is None:
            self._files = self._open_files()
        self._files.put(job.name, lines)
