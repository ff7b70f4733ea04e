"""A look sees a job's stores in any order, and some of them late: nothing is missed for ever.

On another CPU two stores need not be seen in the order in which they were made. So here the job
writes into one block, and what it has changed since is shown to the reader's block word by word, in
an order drawn anew, with a look after each few. When all of it is to be seen, one more look, not
the last one, must find everything: a glance that takes "unchanged" for "nothing new" would not.
"""

from __future__ import annotations

import os
import random

import pytest

from runguard_otel.telemetry.catalogue import Kind
from runguard_otel.telemetry.hub import block as layout
from runguard_otel.telemetry.hub.block import Block, SharedPeriod
from runguard_otel.telemetry.hub.reader import BlockReader, Period
from runguard_otel.telemetry.sink import Put
from tests.unit.test_telemetry_block import Worker, counter, histogram, in_span

pytestmark = pytest.mark.unit

ORDERS = int(os.environ.get("SOAK_ORDERS", "400"))


class Shown:
    """A block as another CPU sees it.

    Args:
        block: The job's.
        rng: Draws the order.
    """

    def __init__(self, block: Block, rng: random.Random) -> None:
        self._block, self._rng = block, rng
        self._seen = Block()
        self._seen._map[:] = block._map[:]
        self._before = bytes(block._map)
        self.worker = Worker()
        self.reader = self.worker.open(self._seen)
        self.found: dict[int, Period] = {}
        self._takes_back()

    def show(self) -> None:
        """Let the reader see all that the job has written, bit by bit."""
        now = bytes(self._block._map)
        changed = [
            at for at in range(0, layout.SIZE, 8) if now[at : at + 8] != self._before[at : at + 8]
        ]
        self._rng.shuffle(changed)
        for at in changed:
            self._seen._map[at : at + 8] = now[at : at + 8]
            if self._rng.random() < 0.3:
                self.look()
        self.look()
        self._takes_back()

    def look(self) -> None:
        self.reader.read()
        for period in self.reader.periods():
            self.found[id(period)] = period

    def _takes_back(self) -> None:
        """What a reader writes is seen by the job before it goes on."""
        words, seen = self._block._words, self._seen._words
        words[layout.RING_READ] = seen[layout.RING_READ]
        for number in range(layout.PERIODS):
            at = layout.PERIODS_AT + number * layout.PERIOD + layout.LABEL
            if not seen[at]:
                words[at] = 0
        self._before = bytes(self._block._map)

    def close(self) -> None:
        self.reader.close()
        self._seen.close()


class Job:
    """Does what jobs do, and knows what a worker must have found of it.

    Args:
        block: Where it counts.
        rng: Draws what it does.
    """

    def __init__(self, block: Block, rng: random.Random) -> None:
        self._block, self._rng = block, rng
        self._puts: dict[str, Put] = {}
        self._timed: Put | None = None
        self._open: list[tuple[SharedPeriod, float]] = []
        self.sums: dict[str, float] = {}
        self.values: list[float] = []
        self.refused: list[float] = []
        self.ended = 0
        self.began = 0

    def step(self) -> None:
        self._rng.choice([self.count, self.count, self.time, self.begin, self.go_on, self.end])()

    def count(self) -> None:
        name = self._rng.choice("abcdef")
        if name not in self._puts:
            self._puts[name] = counter(self._block, "runguard.signatures", signature=name)
        self._puts[name](1, in_span(self._rng.randrange(10)) if self._rng.random() < 0.5 else None)
        self.sums[name] = self.sums.get(name, 0) + 1

    def time(self) -> None:
        if self._timed is None:
            self._timed = histogram(self._block, self.refused, guard="vad_misfire")
        for _ in range(self._rng.choice([1, 1, 40])):
            value = len(self.values) / 1000
            self.values.append(value)
            self._timed(value, None)

    def begin(self) -> None:
        name = {"n": str(self._rng.randrange(4))}
        period = self._block.begin("stream", name, began=1.0 + self.began)
        if period is not None:
            self.began += 1
            self._open.append((period, 0.0))

    def go_on(self) -> None:
        if self._open:
            number = self._rng.randrange(len(self._open))
            period, amount = self._open[number]
            self._open[number] = period, amount + 0.5
            period.amount(amount + 0.5)

    def end(self) -> None:
        if self._open:
            period, _ = self._open.pop(self._rng.randrange(len(self._open)))
            period.end(at=1e6)
            self.ended += 1

    @property
    def amounts(self) -> list[float]:
        return sorted(amount for _, amount in self._open)


@pytest.mark.parametrize("first", range(0, ORDERS, 100))
def test_what_can_be_seen_is_found_at_the_next_look(first: int) -> None:
    for seed in range(first, min(first + 100, ORDERS)):
        rng, block = random.Random(seed), Block()
        job, shown = Job(block, rng), Shown(block, rng)
        for _ in range(12):
            for _ in range(rng.randrange(4)):
                job.step()
            shown.show()
            targets = shown.worker.targets.values()
            sums = sorted(t.total for t in targets if t.kind is Kind.COUNTER)
            assert sums == sorted(job.sums.values()), seed
            timed = [t.values for t in targets if t.kind is Kind.HISTOGRAM]
            arrived = [value for value in job.values if value not in job.refused]
            assert timed == ([arrived] if job.values else []), seed
            found = shown.found.values()
            assert len(found) == job.began, seed
            assert sum(period.ended is not None for period in found) == job.ended, seed
            still = sorted(p.amount for p in shown.reader.periods())
            assert still == job.amounts, seed
        assert shown.worker.dropped == 0
        shown.close()
        block.close()


def test_a_look_at_a_quiet_block_is_a_few_glances() -> None:
    """What a worker of 500 jobs does 500 times a second; the figure is ``python -m bench hub``."""
    block, worker = Block(), Worker()
    put, period = counter(block, "runguard.signatures", signature="a"), block.begin("stream", {})
    assert period is not None
    histogram(block, [], guard="vad_misfire")(0.5, None)
    put(1, None)
    reader = worker.open(block)
    reader.read()
    (seen,) = reader.periods()
    done: list[str] = []

    class Watched(BlockReader):
        def _read_values(self) -> None:
            done.append("values")
            super()._read_values()

        def _read_ring(self, last: bool) -> None:
            done.append("ring")
            super()._read_ring(last)

        def _period(self, number: int) -> Period | None:
            done.append("period")
            return super()._period(number)

    reader.__class__ = Watched
    reader.read()
    assert reader.periods() == [seen]
    assert done == []
    put(1, None)
    period.amount(3.0)
    reader.read()
    reader.periods()
    assert done == ["values", "period"]
    assert seen.amount == 3.0
    reader.read(last=True)
    assert done == ["values", "period", "values", "ring"]
    reader.close()
    block.close()
