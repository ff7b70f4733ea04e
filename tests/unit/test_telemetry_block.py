"""The shared block as memory: what is read from it, whatever stands in it."""

from __future__ import annotations

import fcntl
import mmap
import os
import random
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

from runguard_otel.telemetry.catalogue import METRICS, Kind
from runguard_otel.telemetry.hub import block as layout
from runguard_otel.telemetry.hub import wire
from runguard_otel.telemetry.hub.block import Block
from runguard_otel.telemetry.hub.reader import BlockReader, Foreign, Period
from runguard_otel.telemetry.sink import Counted, Put

pytestmark = pytest.mark.unit

LOCK = threading.RLock()
DURATION = "runguard.guard.duration"


@dataclass
class Target:
    """A worker's series that remembers what it was told."""

    kind: Kind
    total: float = 0.0
    values: list[float] = field(default_factory=list)
    spans: list[tuple[int, int, int]] = field(default_factory=list)

    def added(self, delta: float) -> None:
        self.total += delta

    def seen(self, trace: int, span: int, flags: int) -> None:
        self.spans.append((trace, span, flags))

    def recorded(self, value: float, trace: int, span: int, flags: int) -> None:
        self.values.append(value)
        if trace:
            self.spans.append((trace, span, flags))


class Worker:
    """Readers of blocks, and what they found."""

    def __init__(self) -> None:
        self.targets: dict[bytes, Target] = {}
        self.dropped = 0

    def resolve(self, name: bytes) -> Target | None:
        found = wire.parse_series(name)
        if found is None:
            return None
        return self.targets.setdefault(name, Target(METRICS[found[0]].kind))

    def drop(self) -> None:
        self.dropped += 1

    def open(self, block: Block) -> BlockReader:
        return BlockReader(os.dup(block.descriptor), self.resolve, self.drop)

    def of(self, metric: str, **attributes: str) -> Target:
        return self.targets[wire.encode_series(metric, attributes)]


@pytest.fixture
def block() -> Iterator[Block]:
    made = Block()
    yield made
    made.close()


@pytest.fixture
def worker() -> Worker:
    return Worker()


def counter(block: Block, metric: str, /, **attributes: str) -> Put:
    put = block.counter(Counted(METRICS[metric], attributes), LOCK)
    assert put is not None
    return put


def histogram(block: Block, otherwise: list[float], **attributes: str) -> Put:
    series = Counted(METRICS[DURATION], attributes)
    put = block.histogram(series, LOCK, lambda value, _: otherwise.append(value))
    assert put is not None
    return put


def ids(number: int) -> tuple[int, int]:
    """Trace and span id, as random as real ones; from one of them the other is known."""
    rng = random.Random(number)
    return rng.getrandbits(128), rng.getrandbits(64)


BELONGING = {ids(number) for number in range(10)}


def in_span(number: int, sampled: bool = True) -> object:
    context = SpanContext(*ids(number), False, TraceFlags(int(sampled)))
    return set_span_in_context(NonRecordingSpan(context))


def test_what_is_read_twice_is_counted_once(block: Block, worker: Worker) -> None:
    put, reader = counter(block, "runguard.signatures", signature="a"), worker.open(block)
    for _ in range(3):
        put(2, None)
        reader.read()
        reader.read()
    assert worker.of("runguard.signatures", signature="a").total == 6
    assert worker.dropped == 0


def test_a_series_that_is_made_late_is_found(block: Block, worker: Worker) -> None:
    reader = worker.open(block)
    for name in "abc":
        counter(block, "runguard.signatures", signature=name)(1, None)
        reader.read()
        assert worker.of("runguard.signatures", signature=name).total == 1


def test_up_and_down_stands_until_it_is_taken_back(block: Block, worker: Worker) -> None:
    put, reader = counter(block, "runguard.guards.open", guard="vad_misfire"), worker.open(block)
    for step in (1, 1, -1):
        put(step, None)
    reader.read()
    target = worker.of("runguard.guards.open", guard="vad_misfire")
    assert list(reader.standing()) == [(target, 1)]


def test_an_exemplar_is_the_latest_span(block: Block, worker: Worker) -> None:
    put, reader = counter(block, "runguard.signatures", signature="a"), worker.open(block)
    for number in (1, 2):
        put(1, in_span(number))
    reader.read()
    put(1, None)
    reader.read()
    seen = worker.of("runguard.signatures", signature="a").spans
    assert seen == [(*ids(2), 1)]


def test_an_exemplar_says_whether_its_span_is_sampled(block: Block, worker: Worker) -> None:
    put, reader = counter(block, "runguard.signatures", signature="a"), worker.open(block)
    put(1, in_span(4, sampled=False))
    reader.read()
    assert worker.of("runguard.signatures", signature="a").spans == [(*ids(4), 0)]


def test_an_exemplar_half_written_is_left_for_the_next_time(block: Block, worker: Worker) -> None:
    """Fails for a reader that does not check: a span of one trace under another's id."""
    put, reader = counter(block, "runguard.signatures", signature="a"), worker.open(block)
    put(1, in_span(1))
    at = layout.ARENA * 8
    block._map[at : at + 8] = (ids(2)[0] >> 64).to_bytes(8, "little")
    reader.read()
    assert worker.of("runguard.signatures", signature="a").spans == []
    put(1, in_span(3))
    reader.read()
    assert worker.of("runguard.signatures", signature="a").spans == [(*ids(3), 1)]


def test_durations_come_in_order_with_their_spans(block: Block, worker: Worker) -> None:
    kept: list[float] = []
    put, reader = histogram(block, kept, guard="vad_misfire"), worker.open(block)
    for round_ in range(5):  # more than once around the ring
        for n in range(50):
            put(round_ * 50 + n, in_span(7))
        reader.read()
    target = worker.of(DURATION, guard="vad_misfire")
    assert target.values == list(range(250))
    assert len(target.spans) == 250
    assert kept == []


def test_durations_beyond_the_ring_go_the_other_way_and_the_ring_serves_again(
    block: Block, worker: Worker
) -> None:
    kept: list[float] = []
    put, reader = histogram(block, kept, guard="vad_misfire"), worker.open(block)
    for n in range(layout.RING + 5):
        put(n, None)
    assert kept == [layout.RING + n for n in range(5)]
    reader.read()
    put(1, None)
    reader.read()
    assert worker.of(DURATION, guard="vad_misfire").values == [*range(layout.RING), 1]


def test_a_block_has_room_for_so_many_series_and_no_more(block: Block, worker: Worker) -> None:
    for n in range(layout.SERIES):
        counter(block, "runguard.signatures", signature=f"a{n}")
    more = Counted(METRICS["runguard.signatures"], {"signature": "one more"})
    assert block.counter(more, LOCK) is None
    reader = worker.open(block)
    reader.read()
    assert len(worker.targets) == layout.SERIES


def test_long_names_fill_the_arena_before_it_runs_over(block: Block) -> None:
    for n in range(layout.SERIES):
        attributes = {"provider": f"{n:03}" * 66, "model": "m" * 199, "component": "llm"}
        if block.counter(Counted(METRICS["runguard.cost.estimated"], attributes), LOCK) is None:
            break
    assert 50 < n < layout.SERIES
    assert block._arena <= layout.COUNTED


def test_one_series_has_one_writer(block: Block) -> None:
    """Two sums in one cell would count backwards."""
    counter(block, "runguard.signatures", signature="a")
    again = Counted(METRICS["runguard.signatures"], {"signature": "a"})
    assert block.counter(again, LOCK) is None


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.floats(0, 1e6)), max_size=60), st.data())
def test_the_worker_has_the_sum_whenever_it_looks(
    counts: list[tuple[str, float]], data: st.DataObject
) -> None:
    block, worker = Block(), Worker()
    puts = {name: counter(block, "runguard.signatures", signature=name) for name in "abcd"}
    reader = worker.open(block)
    for name, value in counts:
        puts[name](value, None)
        if data.draw(st.booleans()):
            reader.read()
    reader.read(last=True)
    for name in "abcd":
        wanted = sum(value for n, value in counts if n == name)
        found = worker.of("runguard.signatures", signature=name).total
        assert found == pytest.approx(wanted, rel=1e-12)
    reader.close()
    block.close()


# Periods


def look(reader: BlockReader) -> list[Period]:
    """As a worker does, each second."""
    reader.read()
    return reader.periods()


def test_a_period_is_seen_from_its_beginning_to_its_end(block: Block, worker: Worker) -> None:
    reader = worker.open(block)
    shared = block.begin("stream", {"provider": "deepgram", "model": "nova-3"}, began=100.0)
    assert shared is not None
    (seen,) = look(reader)
    assert (seen.kind, seen.attributes["model"], seen.began) == ("stream", "nova-3", 100.0)
    assert seen.seconds(102.5) == 2.5
    shared.amount(1.5)
    (again,) = look(reader)
    assert again is seen
    assert again.amount == 1.5
    shared.end(at=103.0)
    shared.amount(9.0)
    assert look(reader) == [seen]
    assert (seen.ended, seen.amount, seen.seconds(500.0)) == (103.0, 1.5, 3.0)
    assert look(reader) == []


def test_places_of_periods_are_used_again_after_their_end_was_read(
    block: Block, worker: Worker
) -> None:
    reader = worker.open(block)
    for _ in range(10):
        opened = [block.begin("connection", {"n": str(n)}) for n in range(layout.PERIODS)]
        assert None not in opened
        assert block.begin("connection", {}) is None
        for period in opened:
            assert period is not None
            period.end()
        assert block.begin("connection", {}) is None  # the ends were not read
        assert all(p.ended for p in look(reader))
    assert look(reader) == []


def test_what_is_open_ends_with_its_process(block: Block, worker: Worker) -> None:
    reader = worker.open(block)
    block.begin("stream", {}, began=10.0)
    block.begin("connection", {}, began=20.0)
    look(reader)
    found = reader.periods(died=25.0)
    assert [(p.kind, p.seconds(99.0)) for p in found] == [("stream", 15.0), ("connection", 5.0)]
    assert look(reader) == []


# Memory of strangers


def _shrinkable() -> int:
    descriptor = os.memfd_create("x", os.MFD_ALLOW_SEALING)
    os.ftruncate(descriptor, layout.SIZE)
    return descriptor


def _small() -> int:
    descriptor = os.memfd_create("x", os.MFD_ALLOW_SEALING)
    os.ftruncate(descriptor, 4096)
    fcntl.fcntl(descriptor, layout.F_ADD_SEALS, layout.SEAL_SHRINK | layout.SEAL_GROW)
    return descriptor


def _zeros() -> int:
    descriptor = _shrinkable()
    fcntl.fcntl(descriptor, layout.F_ADD_SEALS, layout.SEAL_SHRINK | layout.SEAL_GROW)
    return descriptor


def _regular() -> int:
    with tempfile.TemporaryFile() as file:
        file.truncate(layout.SIZE)
        return os.dup(file.fileno())


def _pipe() -> int:
    read, write = os.pipe()
    os.close(write)
    return read


@pytest.mark.parametrize("make", [_shrinkable, _small, _zeros, _regular, _pipe])
def test_a_descriptor_that_is_no_block_is_refused_and_closed(
    worker: Worker, make: Callable[[], int]
) -> None:
    """Fails without the check of the seals: what shrinks under a mapping ends the process."""
    descriptor = make()
    with pytest.raises(Foreign):
        BlockReader(descriptor, worker.resolve, worker.drop)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_a_job_cannot_shrink_its_block(block: Block) -> None:
    for size in (0, 4096, layout.SIZE * 2):
        with pytest.raises(PermissionError):
            os.ftruncate(block.descriptor, size)


def test_a_stray_write_costs_no_more_than_what_it_hit() -> None:
    """10,000 blocks, each with some random bytes: no exception, and honest cells are right.

    A cell is honest if neither its sum nor its name nor its label was written to. Fails for a
    reader that walks from one name to the next, or that trusts the number in the header.
    """
    block, honest_cells = Block(), 0
    names = [f"s{n}" for n in range(12)]
    puts = [counter(block, "runguard.signatures", signature=name) for name in names]
    puts += [counter(block, "runguard.guards.open", guard=name) for name in names[:4]]
    kept: list[float] = []
    timed = histogram(block, kept, guard="vad_misfire")
    period = block.begin("stream", {"provider": "deepgram"}, began=5.0)
    assert period is not None
    for put in puts:
        put(3, in_span(5))
    for n in range(20):
        timed(n / 1000, in_span(6))
    period.amount(2.0)
    image = bytes(block._map)
    clean = Worker()
    clean.open(block).read(last=True)
    whole = _places(block)
    for seed in range(10_000):
        rng = random.Random(seed)
        memory = bytearray(image)
        hit = _spoil(memory, rng)
        block._map[:] = bytes(memory)
        worker = Worker()
        try:
            reader = worker.open(block)
        except Foreign:
            assert any(at < 8 for at in hit)  # its first word
            continue
        for step in range(2):
            reader.read()
            reader.periods()
            if step == 0:
                for put in puts:  # as the job goes on: it does not read what was spoilt
                    put(0, None)
        reader.read(last=True)
        reader.periods(died=50.0)
        reader.close()
        for name, target in worker.targets.items():
            span = whole.get(name)
            if span is not None and target.kind is not Kind.HISTOGRAM and not hit & span:
                honest_cells += 1
                assert target.total == clean.targets[name].total, (seed, name)
        for name, span in whole.items():
            assert name in worker.targets or hit & span, (seed, name)
        for target in worker.targets.values():
            for trace, own, _ in target.spans:
                assert (trace, own) in BELONGING, seed
    assert honest_cells > 50_000
    block._map[:] = image
    block.close()


def _places(block: Block) -> dict[bytes, frozenset[int]]:
    """Which bytes make each series: its sum, its label and its name."""
    found = {}
    words = memoryview(block._map).cast("Q")
    for number in range(words[layout.SERIES_MADE]):
        label = words[layout.LABELS + number]
        place, length = (label & 0xFFFF) * 8, label >> 16 & 0xFFFF
        name = bytes(block._map[place : place + length])
        at = (layout.VALUES + number) * 8, (layout.LABELS + number) * 8
        own = {b for start in at for b in range(start, start + 8)}
        found[name] = frozenset(own | set(range(place, place + length)))
    words.release()
    return found


def _spoil(memory: bytearray, rng: random.Random) -> set[int]:
    """Write up to three runs of random bytes, most of them where something stands."""
    hit: set[int] = set()
    busy = [(0, 64), (64, 300), (1984, 2300), (4096, 5200), (8192, 8300), (10240, 12400)]
    for _ in range(rng.randint(1, 3)):
        first, end = rng.choice([*busy, (0, len(memory))])
        at, length = rng.randrange(first, end), rng.choice((1, 2, 8, 64, 500))
        length = min(length, len(memory) - at)
        memory[at : at + length] = rng.choice((rng.randbytes(length), bytes(length)))
        hit.update(range(at, at + length))
    return hit


def test_mapping_is_the_only_thing_a_closed_block_leaves(block: Block) -> None:
    """A thread that counts while the job is being taken down must not fail."""
    put = counter(block, "runguard.signatures", signature="a")
    block.close()
    put(1, None)
    assert isinstance(block._map, mmap.mmap)
