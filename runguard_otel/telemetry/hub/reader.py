"""The worker's end of a block: what changed since the last look. Believes nothing it reads.

A look at a block in which nothing happened is one glance at its header and values, and one each at
its ring and its periods if it has any: of a hundred jobs few count within a second, and what a look
costs is mostly memory that is in no cache. A glance says only whether to read, never what was
counted; and the last look at a block, when its process is gone, reads all of it.
"""

from __future__ import annotations

import math
import mmap
import os
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from runguard_otel.telemetry.catalogue import Kind
from runguard_otel.telemetry.hub import block as layout
from runguard_otel.telemetry.hub import wire

__all__ = ["BlockReader", "Foreign", "Period", "Target", "identity", "mapped"]

_NAME_MOST = 2048
_SEALS = layout.SEAL_SHRINK | layout.SEAL_GROW


class Foreign(Exception):
    """A descriptor that is no block of this version."""


class Target(Protocol):
    """One series of the worker, whichever jobs count it."""

    kind: Kind

    def added(self, delta: float) -> None:
        """A sum has changed by so much."""

    def seen(self, trace: int, span: int, flags: int) -> None:
        """The latest span it was counted in."""

    def recorded(self, value: float, trace: int, span: int, flags: int) -> None:
        """A histogram got one value; ``trace`` is 0 without a span."""


@dataclass(eq=False, slots=True)
class Period:
    """Something that lasts or lasted in a job process, as its worker sees it.

    One object per period, the same at every look, so that whoever prices it can remember by it how
    much it has priced. Times are ``time.monotonic()``, which all processes of a host share.

    Args:
        kind: What it is.
        attributes: What pricing needs to know.
        began: When.
        amount: What it came to so far, where time alone does not say it.
        ended: When; ``None`` while it lasts. Of a process that died: when that was noticed.
    """

    kind: str
    attributes: dict[str, str]
    began: float
    amount: float = 0.0
    ended: float | None = None

    def seconds(self, now: float) -> float:
        """How long it has lasted at ``now``."""
        return max(0.0, (now if self.ended is None else self.ended) - self.began)


class BlockReader:
    """Reads one job's block.

    Args:
        descriptor: Of the job's file; closed here, whatever happens.
        resolve: Finds the worker's series by its name in the block, or ``None``.
        dropped: Told of every piece that cannot be what a job wrote, once each.

    Raises:
        Foreign: If it is no sealed file of the right size that begins as a block does.
        OSError: If it cannot be mapped.
    """

    def __init__(
        self,
        descriptor: int,
        resolve: Callable[[bytes], Target | None],
        dropped: Callable[[], None],
    ) -> None:
        try:
            self._map = mapped(descriptor, layout.SIZE)
            self.identity = identity(descriptor)
        finally:
            os.close(descriptor)
        self._words = memoryview(self._map).cast("Q")
        self._values = memoryview(self._map).cast("d")
        self._sums = self._values[:0]  # of the series that are known
        self._resolve = resolve
        self._dropped = dropped
        self._targets: list[Target | None] = []
        self._exemplars: list[int] = []  # where each counter's stands, or 0
        self._checks: list[int] = []  # the last word of each exemplar seen
        self._last: list[float] = []
        self._doubtful: set[int] = set()  # named, but the name is not (yet) right
        self._wrong: set[int] = set()  # holds what no job writes; told once
        self._glance = slice(layout.SERIES_MADE * 8, layout.VALUES * 8)  # header and values
        self._seen: bytes | None = None  # what it showed last; nothing: read whatever it shows
        self._rings = False  # until a histogram is known its page is not touched, which makes it
        self._ring = self._words[layout.RING_READ]
        self._next = _check_at(self._ring)  # the check word of the ring's next entry
        self._stale = -1  # and what it was, while that is nothing new
        self._periods: dict[int, Period] = {}
        self._open: list[Period] = []
        self._places = range(0)  # of periods
        self._periods_at = slice(0, 0)
        self._shown: bytes | None = b""  # the periods as last seen
        if self._words[0] != layout.MAGIC:
            self.close()
            raise Foreign("another version")
        self._unfinished = self._words[layout.TAKEN] != 0  # another reader counted a part
        self._words[layout.TAKEN] = 1

    def read(self, *, last: bool = False) -> None:
        """Hand on what was counted since the last time.

        Args:
            last: The process is gone: what is not right now never will be.
        """
        words = self._words
        shown = self._map[self._glance]
        if last or shown != self._seen:
            self._places = range(min(words[layout.PERIODS_MADE], layout.PERIODS))
            end = layout.PERIODS_AT + len(self._places) * layout.PERIOD
            self._periods_at = slice(layout.PERIODS_AT * 8, end * 8)
            if last or self._doubtful or words[layout.SERIES_MADE] != len(self._targets):
                self._learn(last)
                shown = self._map[self._glance]
            # Taken before the values: what is counted meanwhile differs from it.
            self._seen = None if self._doubtful else shown
            self._read_values()
        if last or (self._rings and words[self._next] != self._stale):
            self._read_ring(last)

    def standing(self) -> Iterator[tuple[Target, float]]:
        """The up-down counters of this job that are not at zero."""
        for target, value in zip(self._targets, self._last, strict=True):
            if target is not None and target.kind is Kind.UPDOWN and value:
                yield target, value

    def periods(self, died: float | None = None) -> list[Period]:
        """What lasts at the last :meth:`read`, and what ended since the last call.

        Args:
            died: When the process was found dead: what was open ends with it.
        """
        if died is None and not self._places:
            return self._open
        shown = self._map[self._periods_at]
        if died is None and shown == self._shown:
            return self._open
        self._shown = shown
        found = [p for n in self._places if (p := self._period(n)) is not None]
        self._open = [period for period in found if period.ended is None]
        if died is not None:
            for number, period in self._periods.items():
                period.ended = max(died, period.began)
                self._words[layout.PERIODS_AT + number * layout.PERIOD] = 0
            self._periods.clear()
            self._open, self._shown = [], None
        return found

    def close(self) -> None:
        """Let go of the memory; whoever reads this block next goes on where this one stopped."""
        for number, value in enumerate(self._last):
            target = self._targets[number]
            if target is not None and target.kind is Kind.COUNTER:  # what stands is taken back
                self._values[layout.COUNTED + number] = value
        self._sums.release()
        self._words.release()
        self._values.release()
        self._map.close()

    # Inside

    def _learn(self, last: bool) -> None:
        """Find the series that are new; ``last``: whatever the header says of their number."""
        made = layout.SERIES if last else min(self._words[layout.SERIES_MADE], layout.SERIES)
        for number in range(len(self._targets), made):
            self._targets.append(None)
            self._exemplars.append(0)
            self._checks.append(0)
            before = self._values[layout.COUNTED + number] if self._unfinished else 0.0
            self._last.append(before)
            self._doubtful.add(number)
        end = layout.VALUES + len(self._targets)
        self._glance = slice(layout.SERIES_MADE * 8, end * 8)
        self._sums.release()
        self._sums = self._values[layout.VALUES : end]
        for number in sorted(self._doubtful):
            label = self._words[layout.LABELS + number]
            name = self._name(label)
            if name is not None:
                self._doubtful.discard(number)
                self._known(number, label & 0xFFFF, name)
            elif last:
                self._doubtful.discard(number)
                if label or self._values[layout.VALUES + number]:
                    self._complain(number)

    def _known(self, number: int, place: int, name: bytes) -> None:
        target = self._targets[number] = self._resolve(name)
        if target is None:
            self._complain(number)
        elif target.kind is Kind.HISTOGRAM:
            self._rings = True
        elif target.kind is Kind.COUNTER and place >= layout.ARENA + 4:
            self._exemplars[number] = place - 4

    def _name(self, label: int) -> bytes | None:
        place, length = label & 0xFFFF, label >> 16 & 0xFFFF
        end = place * 8 + length
        if not 0 < length <= _NAME_MOST or place < layout.ARENA or end > layout.COUNTED * 8:
            return None
        name = self._map[place * 8 : end]
        return name if zlib.crc32(name) == label >> 32 else None

    def _read_values(self) -> None:
        last = self._last
        for number, value in enumerate(self._sums.tolist()):
            if value != last[number]:
                self._changed(number, value, value - last[number])

    def _changed(self, number: int, value: float, delta: float) -> None:
        target = self._targets[number]
        if target is None:
            return
        if not math.isfinite(value) or (delta < 0 and target.kind is not Kind.UPDOWN):
            self._complain(number)  # and wait: the job's next count writes the right sum
            return
        self._last[number] = value
        target.added(delta)
        at = self._exemplars[number]
        if at and self._words[at + 3] != self._checks[number]:
            high, low, span, check = self._words[at : at + 4]
            self._checks[number] = check
            said = check ^ high ^ low ^ span
            if said in (layout.SAMPLED, layout.UNSAMPLED):
                target.seen(high << 64 | low, span, int(said == layout.SAMPLED))

    def _read_ring(self, last: bool) -> None:
        first = at = self._ring
        stale = -1
        while at < first + layout.RING:
            place = layout.RING_AT + at % layout.RING * layout.ENTRY
            bits, high, low, span, check = self._words[place : place + layout.ENTRY]
            if not check:
                stale = 0
                break
            decoded = check ^ bits ^ high ^ low ^ span
            number = (decoded ^ layout.SAMPLED) & 0xFF
            written = (decoded ^ layout.entry_key(number)) >> 8
            if written == at:
                if number >= len(self._targets) or number in self._doubtful:
                    self._learn(last)
                    if not last and (number >= len(self._targets) or number in self._doubtful):
                        break  # its name is not to be seen yet
                self._recorded(number, self._values[place], high << 64 | low, span)
            elif not last:
                if written == at - layout.RING:  # not written yet; else not all of it to be seen
                    stale = check
                break
            elif written != at - layout.RING:
                self._dropped()  # neither of this round nor left from the one before
            at += 1
        self._stale = stale
        if at != first:
            self._words[layout.RING_READ] = self._ring = at
            self._next = _check_at(at)

    def _recorded(self, number: int, value: float, trace: int, span: int) -> None:
        target = self._targets[number] if number < len(self._targets) else None
        if target is None or target.kind is not Kind.HISTOGRAM or not 0 <= value < math.inf:
            self._dropped()
        else:
            target.recorded(value, trace, span, 1)

    def _period(self, number: int) -> Period | None:
        at = layout.PERIODS_AT + number * layout.PERIOD
        period = self._periods.get(number)
        if period is None:
            label = self._words[at + layout.LABEL]
            name = self._name(label ^ self._words[at + layout.BEGAN]) if label else None
            parsed = wire.parse_pairs(name) if name else None
            began = self._values[at + layout.BEGAN]
            if parsed is None or not 0 < began < math.inf:
                if label:
                    self._shown = None  # its name may come to be seen
                return None
            period = self._periods[number] = Period(*parsed, began)
        period.amount = max(period.amount, self._checked(at, layout.AMOUNT))
        ended = self._checked(at, layout.ENDED)
        if ended:
            period.ended = max(ended, period.began)
            del self._periods[number]
            self._words[at + layout.LABEL] = 0  # the job may use the place again
        return period

    def _checked(self, at: int, what: int) -> float:
        """A number of a period; 0 until it is whole."""
        words = self._words
        if words[at + what] ^ words[at + layout.LABEL] != words[at + what + 1]:
            return 0.0
        value = self._values[at + what]
        return value if 0 <= value < math.inf else 0.0

    def _complain(self, number: int) -> None:
        if number not in self._wrong:
            self._wrong.add(number)
            self._dropped()


def _check_at(position: int) -> int:
    """The last word of an entry of the ring."""
    return layout.RING_AT + position % layout.RING * layout.ENTRY + layout.ENTRY - 1


def identity(descriptor: int) -> tuple[int, int]:
    """Which file it is."""
    about = os.fstat(descriptor)
    return about.st_dev, about.st_ino


def mapped(descriptor: int, size: int) -> mmap.mmap:
    """The memory of a sealed file of this size.

    Raises:
        Foreign: If it is none.
        OSError: If it cannot be mapped.
    """
    import fcntl

    try:
        seals = fcntl.fcntl(descriptor, layout.F_GET_SEALS)
    except OSError as error:
        raise Foreign("no file that can be sealed") from error
    # What could shrink under the mapping would end this process with SIGBUS.
    if seals & _SEALS != _SEALS or os.fstat(descriptor).st_size != size:
        raise Foreign("not sealed, or of another size")
    return mmap.mmap(descriptor, size)
